"""A process that forks children which ingest, and kills them: `python -m tests.retrieval.nursery FOLDER SEED TRIALS`.

It imports all once, and ingests nothing itself, so that no thread of its own is lost in a fork.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve

from arshai_kit.chunking import Chunking, chunking
from arshai_kit.documents import parse
from arshai_kit.errors import ArshaiError, StoreFull
from arshai_kit.index import Index, sqlite_index
from arshai_kit.retrieval import ingest
from arshai_kit.testing import hashed_embedder
from tests.retrieval.kept import everything, folder

EMBEDDER = hashed_embedder(dimensions=32)
LONG, SHORT = (chunking(size=size, by="characters", how="sentence") for size in (60, 30))
WORDS = "rain wind snow hail fog sun cloud storm river lake".split()


def text(seed: int) -> str:
    """Some sentences."""
    words = random.Random(seed)
    return " ".join([f"{' '.join(words.choices(WORDS, k=4)).capitalize()}." for _ in range(12)])


def before() -> dict[str, str]:
    """What the folder holds first."""
    return {f"{number:02}.md": text(number) for number in range(12)}


def after(place: Path) -> None:
    """Change the folder: some are gone, some longer, some new, the others as they were."""
    for number in range(3):
        (place / f"{number:02}.md").unlink()
    changed = {f"{number:02}.md": f"{text(number + 100)} {text(number)}" for number in range(3, 8)}
    folder(place, changed | {f"new{number}.md": text(number + 200) for number in range(4)})


def forked(work: Callable[[], object]) -> int:
    """The process that does *work*, and ends."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        work()
        code = 0
    except ArshaiError as error:
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(code)


def done(pid: int) -> int:
    """How the process *pid* ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def taken(file: Path, place: Path, chunker: Chunking, told: int | None = None) -> None:
    """Ingest *place*; before and after each write, a byte goes to *told*."""
    index = sqlite_index(file, synchronous="normal")
    if told is not None:
        index = evolve(index, upsert=telling(index.upsert, told), delete=telling(index.delete, told))
    report = ingest(index, place, embedder=EMBEDDER, chunker=chunker, batch=7, ahead=3, similar=None)
    if report.notices:
        print(*report.notices, flush=True)


def telling(function: Any, told: int) -> Any:
    """*function*, which says when it begins and when it is done."""

    def call(*args: Any) -> Any:
        os.write(told, b"<")
        found = function(*args)
        os.write(told, b">")
        return found

    return call


def killed(file: Path, place: Path, after_bytes: int) -> bool:
    """Kill an ingest some time after it told so many bytes; whether it was still there to be killed."""
    hears, tells = os.pipe()
    pid = forked(lambda: taken(file, place, LONG, tells))
    os.close(tells)
    heard = 0
    while heard < after_bytes and (data := os.read(hears, after_bytes - heard)):
        heard += len(data)
    os.kill(pid, signal.SIGKILL)
    os.close(hears)
    return done(pid) == -signal.SIGKILL


def written(index: Index[Any]) -> str:
    """All that is in *index*, as text."""
    found = everything(index)
    lines = []
    for own, each in sorted(found.items()):
        assert each.vector is not None
        lines.append(f"{own} {each.text!r} {each.vector.data.hex()} {each.fields!r}")
    return "\n".join(lines)


def held(file: Path) -> str:
    """All that is in *file*, read by another process."""
    out = file.with_suffix(".txt")
    assert done(forked(lambda: out.write_text(written(sqlite_index(file)), "utf-8"))) == 0
    return out.read_text("utf-8")


def clean(base: Path, name: str, place: Path, chunker: Chunking) -> str:
    """What one clean ingest of *place* gives."""
    file = base / f"clean-{name}.sqlite"
    assert done(forked(lambda: taken(file, place, chunker))) == 0
    return held(file)


def kills(base: Path, seed: int, trials: int) -> None:
    """Kill ingests at random; whatever was done before, the one that is not killed gives what a clean one gives."""
    first = folder(base / "first", before())
    start = base / "start.sqlite"
    assert done(forked(lambda: taken(start, first, LONG))) == 0
    after(first)
    wanted = clean(base, "after", first, LONG)
    count = 0
    for trial in range(trials):
        chance = random.Random(seed + trial)
        file = base / f"trial{trial}.sqlite"
        for part in base.glob("start.sqlite*"):
            (base / part.name.replace("start", f"trial{trial}")).write_bytes(part.read_bytes())
        for _ in range(chance.randint(1, 3)):
            count += killed(file, first, chance.randint(0, 30))
        assert done(forked(lambda: taken(file, first, LONG))) == 0  # noqa: B023  # it is done in this round
        assert held(file) == wanted, trial
    print(f"killed {count}")


def rivals(base: Path, trials: int) -> None:
    """Two at once: alike, the index is what one gives; unlike, one more of either makes it so."""
    place = folder(base / "rivals", before())
    one, other = clean(base, "long", place, LONG), clean(base, "short", place, SHORT)
    for trial in range(trials):
        for name, second in (("same", LONG), ("unlike", SHORT)):
            file = base / f"rivals-{name}{trial}.sqlite"
            pids = [forked(lambda: taken(file, place, each)) for each in (LONG, second)]  # noqa: B023
            assert [done(pid) for pid in pids] == [0, 0]
            if second is LONG:
                assert held(file) == one
            for chunker, wanted in ((LONG, one), (SHORT, other)):
                assert done(forked(lambda: taken(file, place, chunker))) == 0  # noqa: B023
                assert held(file) == wanted


def full(base: Path) -> None:
    """A file that may not grow any more is a full disk; with room again, the next one gives what one gives."""
    place, file = folder(base / "full", before()), base / "full.sqlite"
    wanted = clean(base, "full", place, LONG)

    def without_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (180_000, resource.RLIM_INFINITY))
        try:
            taken(file, place, LONG)
        except StoreFull:
            return
        raise AssertionError("there was room")

    assert done(forked(without_room)) == 0
    assert held(file) != wanted
    assert done(forked(lambda: taken(file, place, LONG))) == 0
    assert held(file) == wanted


if __name__ == "__main__":
    parse(text(0).encode(), "a.md")  # what tells languages is loaded once
    base, kind, seed, trials = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if kind == "kills":
        kills(base, seed, trials)
    elif kind == "full":
        full(base)
    else:
        rivals(base, trials)
