"""A thousand streams at a time against pools of 10, 100 and the default; and a process that forks under load."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any

import anyio
import pytest

from arshai_kit import Finished, aio, stream, using
from arshai_kit.models import Endpoint
from arshai_kit.scope import Limits
from tests.long.conftest import Held, Toy
from tests.long.serve import WORDS

pytestmark = pytest.mark.long

SAID = "".join(WORDS)
MANY = 1000
POOLS = (10, 100, None)
pools = pytest.mark.parametrize("pool", POOLS, ids=["10", "100", "default"])


@pytest.fixture(scope="module", autouse=True)
def _files() -> Iterator[None]:
    """Let a process have as many sockets as the test wants of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limits(pool: int | None) -> Limits:
    """The limits that let so many exchanges run at a time."""
    return Limits() if pool is None else Limits(max_connections=pool, max_connections_per_host=pool)


@pools
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thousand_streams_by_awaiting(
    toy: Toy, backend: str, pool: int | None, record_property: Callable[[str, Any], None]
) -> None:
    model, words = toy.model("slow"), []

    async def one() -> None:
        async with aio.stream(model, "Go!") as events:
            async for event in events:
                if isinstance(event, Finished):
                    words.append(event.response.text)

    async def main() -> None:
        with using(limits=limits(pool)):
            async with anyio.create_task_group() as group:
                for _ in range(MANY):
                    group.start_soon(one)

    measured(lambda: anyio.run(main, backend=backend), f"{backend}, {MANY} tasks", pool, toy, record_property)
    assert words == [SAID] * MANY


@pools
def test_a_thousand_streams_in_threads(toy: Toy, pool: int | None, record_property: Callable[[str, Any], None]) -> None:
    """Two hundred threads, five streams each."""
    model, words = toy.model("slow"), []

    def some() -> None:
        with using(limits=limits(pool)):
            for _ in range(MANY // 200):
                *_, final = stream(model, "Go!")
                assert isinstance(final, Finished)
                words.append(final.response.text)

    def all_of_them() -> None:
        threads = [threading.Thread(target=some) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    measured(all_of_them, "sync, 200 threads", pool, toy, record_property)
    assert words == [SAID] * MANY


def measured(
    act: Callable[[], None], name: str, pool: int | None, toy: Toy, record: Callable[[str, Any], None]
) -> None:
    """Do *act*, print a line of the evidence, and see that the pool was kept."""
    before, cpu, clock = Held.now(), time.process_time(), time.monotonic()
    act()
    took, wall = time.process_time() - cpu, time.monotonic() - clock
    counts, after = toy.counts(), Held.now()
    line = (
        f"{name}, pool of {pool or 'the default'}: {wall:.1f} s, {took:.2f} s of CPU, at most "
        f"{counts['most_under_way']} at a time over {counts['most_connections']} connections, "
        f"{(after.memory - before.memory) / 1024 / 1024:+.1f} MiB kept"
    )
    record("load", line)
    print(line)
    assert counts["asked"] == MANY
    assert counts["most_under_way"] <= (pool or MANY)
    assert counts["most_connections"] <= (pool or MANY) + 1  # and the one that asks for the counts
    if pool is not None:
        assert counts["most_under_way"] > pool / 2  # it was used
    assert after.threads <= before.threads


@pools
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_deadline_holds_also_in_the_queue(toy: Toy, backend: str, pool: int | None) -> None:
    """A call that waits for a connection for too long fails, typed; those that had one are answered."""
    from arshai_kit.errors import TimedOut

    model, came = evolved(toy.model("slow"), 1.0), {"answered": 0, "late": 0}

    async def one() -> None:
        try:
            async with aio.stream(model, "Go!") as events:
                async for _ in events:
                    pass
            came["answered"] += 1
        except TimedOut:
            came["late"] += 1

    async def main() -> None:
        with using(limits=limits(pool)):
            async with anyio.create_task_group() as group:
                for _ in range(300):
                    group.start_soon(one)

    began = time.monotonic()
    anyio.run(main, backend=backend)
    assert time.monotonic() - began < 20
    assert sum(came.values()) == 300
    if pool == 10:
        assert came["late"] > 0
        assert came["answered"] >= 10


def evolved(model: Endpoint, deadline: float) -> Endpoint:
    """*model*, which has so much time."""
    from arshai_kit.models import evolve

    return evolve(model, deadline=deadline)


FORKING = """
import os, sys, threading, warnings
import anyio
from arshai_kit import Finished, aio, complete, openai_compatible, run_tools, stream

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
model = openai_compatible("toy", base_url=sys.argv[1], api_key="sk-1")
tools = openai_compatible("toy", base_url=sys.argv[1].replace("slow", "tools"), api_key="sk-1")
stop, done, said = threading.Event(), [], sys.argv[2]


def double(number: int) -> int:
    return 2 * number


async def adouble(number: int) -> int:
    return 2 * number


def load():
    while not stop.is_set():
        *_, final = stream(model, "Go!")
        assert final.response.text == said
        assert len(run_tools(tools, "Go!", [double]).tool_runs) == 2
        done.append(1)


def child():
    for _ in range(3):
        assert complete(model, "Go!").text == said
        *_, final = stream(model, "Go!")
        assert final.response.text == said
        assert len(run_tools(tools, "Go!", [double]).tool_runs) == 2
        assert [run.error for run in run_tools(tools, "Go!", [adouble]).tool_runs][0]  # it is called adouble
    async def main():
        assert (await aio.complete(model, "Go!")).text == said
    anyio.run(main)
    anyio.run(main, backend="trio")


complete(model, "Go!")
threads = [threading.Thread(target=load) for _ in range(8)]
for thread in threads:
    thread.start()
children = []
for _ in range(12):
    pid = os.fork()
    if not pid:
        try:
            child()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
stop.set()
for thread in threads:
    thread.join()
assert len(done) >= 8, done
print(codes)
"""


def test_a_process_that_forks_under_load(toy: Toy) -> None:
    """Children and parent go on, each with connections of its own: no reply goes to whom it is not for."""
    command = [sys.executable, "-W", "error", "-c", dedent(FORKING), f"http://127.0.0.1:{toy.port}/slow/v1", SAID]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (f"{[0] * 12}\n", "", 0)
