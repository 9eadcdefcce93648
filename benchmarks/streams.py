"""Parse the recorded streams, without sockets: `python -m benchmarks.streams [--wire FOLDER] [--json FILE] [--quick]`.

What is measured is the speed of ours, bytes to events and the response, against a bare splitter with a JSON parser,
which makes nothing of what it parses; and how many times as long the SDKs take for the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson
from attrs import asdict, evolve, frozen

from benchmarks import measure, readers, recordings
from benchmarks.measure import Ratio, Work, batch, counts, enough, median, ratio, sampler
from benchmarks.readers import Reader
from benchmarks.recordings import Recorded
from benchmarks.table import machine, markdown, measured_on, publish, readable

AT_LEAST = 0.7
JSON, ORJSON, KIT, SDK, CONTROL = "json", "orjson", "kit", "sdk", "control"
CUTS: Mapping[str, Callable[[Iterable[Recorded]], tuple[Recorded, ...]]] = {
    "16 KiB": recordings.in_pieces,
    "an event": recordings.by_event,
}
F = TypeVar("F", "Figures", "Witness")
HEAD = ("streams", "pieces", "events", "bare, `json`", "ours", "speed to `json`", "to orjson", "control", "verdict")
SDK_HEAD = ("streams", "SDK", "read by both", "ours", "SDK", "SDK, times ours", "control")


@frozen
class Figures:
    """What reading the streams of one *dialect* in *pieces* came to; the ratios are how fast ours is to the others."""

    dialect: str
    pieces: str
    streams: int
    size: int
    events: int
    bare_ns: float
    ours_ns: float
    to_json: Ratio
    to_orjson: Ratio
    control: Ratio
    pairs: int

    @property
    def verdict(self) -> str:
        """Whether the aim is reached, against the parser of the standard library."""
        if not counts(self.control):
            return "does not count: the control is off"
        return "reached" if self.to_json.median >= AT_LEAST else "MISSED"

    def cells(self) -> tuple[str, ...]:
        """The line as text, in the order of `HEAD`."""
        return (
            f"{self.dialect}: {self.streams}, {self.size / 1e6:.2f} MB",
            self.pieces,
            str(self.events),
            readable("cpu", self.bare_ns),
            readable("cpu", self.ours_ns),
            str(self.to_json),
            str(self.to_orjson),
            f"{self.control.median:.2f}",
            self.verdict,
        )


@frozen
class Witness:
    """What an SDK took for the streams that both it and ours can read; *lost* are those that it cannot."""

    dialect: str
    sdk: str
    streams: int
    lost: int
    ours_ns: float = 0
    sdk_ns: float = 0
    times: Ratio | None = None
    control: Ratio | None = None

    def cells(self) -> tuple[str, ...]:
        """The line as text, in the order of `SDK_HEAD`."""
        read = f"{self.streams}; it fails on {self.lost}" if self.lost else str(self.streams)
        if self.times is None or self.control is None:
            return (self.dialect, self.sdk, read, "-", "-", "-", "-")
        ours, theirs = readable("cpu", self.ours_ns), readable("cpu", self.sdk_ns)
        return (self.dialect, self.sdk, read, ours, theirs, str(self.times), f"{self.control.median:.2f}")


def work(jobs: Sequence[tuple[Reader, Recorded]]) -> Work:
    """The work of reading each stream with its reader."""

    def act() -> None:
        for read, stream in jobs:
            read(stream)

    return batch(act)


def rounds(works: Mapping[str, Work], pairs: int, *, quick: bool) -> tuple[Mapping[str, Any], ...]:
    """*pairs* rounds of one sample for each of *works*."""
    times = 1 if quick else enough(next(iter(works.values())))
    for each in works.values():
        each(1)
    return measure.taken({name: sampler(each, times) for name, each in works.items()}, pairs)


def against_bare(streams: Mapping[str, Sequence[Recorded]], pieces: str, pairs: int, *, quick: bool) -> Figures:
    """Ours against a bare splitter with a JSON parser."""
    cut = {dialect: CUTS[pieces](each) for dialect, each in streams.items()}
    every = [stream for each in cut.values() for stream in each]
    ours = [(readers.kit(dialect), each) for dialect in cut for each in cut[dialect]]
    bare = work([(readers.bare(json.loads), each) for each in every])
    fast = work([(readers.bare(orjson.loads), each) for each in every])
    taken = rounds({JSON: bare, ORJSON: fast, KIT: work(ours), CONTROL: bare}, pairs, quick=quick)
    return Figures(
        next(iter(streams)) if len(streams) == 1 else "all",
        pieces,
        len(every),
        sum(len(each.body) for each in every),
        sum(1 for each in every for _ in readers.events(each.pieces)),
        median(taken, JSON),
        median(taken, KIT),
        ratio(taken, JSON, KIT),
        ratio(taken, ORJSON, KIT),
        ratio(taken, CONTROL, JSON),
        pairs,
    )


def against_sdk(dialect: str, streams: Sequence[Recorded], pairs: int, *, quick: bool) -> Witness:
    """Ours against the SDK, where that is installed."""
    version = readers.installed(dialect)
    if not version:
        return Witness(dialect, f"{readers.SDKS[dialect]}: not installed", 0, 0)
    cut = recordings.in_pieces(streams)
    kit, sdk = readers.kit(dialect), readers.sdk(dialect)
    readable = [each for each in cut if kit(each)]
    both = [each for each in readable if takes(sdk, each)]
    ours, theirs = work([(kit, each) for each in both]), work([(sdk, each) for each in both])
    taken = rounds({KIT: ours, SDK: theirs, CONTROL: ours}, pairs, quick=quick)
    found = Witness(dialect, f"{readers.SDKS[dialect]} {version}", len(both), len(readable) - len(both))
    times, control = ratio(taken, SDK, KIT), ratio(taken, CONTROL, KIT)
    return evolve(found, ours_ns=median(taken, KIT), sdk_ns=median(taken, SDK), times=times, control=control)


def takes(read: Reader, stream: Recorded) -> bool:
    """Whether *read* comes to the end of *stream*."""
    try:
        read(stream)
    except Exception:  # noqa: BLE001  # whatever an SDK fails with, it fails
        return False
    return True


def measured(streams: Mapping[str, Sequence[Recorded]], asked: argparse.Namespace) -> Iterator[Figures | Witness]:
    """All figures; a run whose control is off is done again."""
    pairs, tries = (2, 1) if asked.quick else (max(2, asked.pairs), max(1, asked.tries))
    groups = [*[{name: each} for name, each in streams.items() if each], streams]
    for group in groups:
        for pieces in CUTS:
            print(f"{', '.join(group)} in pieces of {pieces} …", file=sys.stderr, flush=True)
            yield settled(partial(against_bare, group, pieces, pairs, quick=asked.quick), tries)
    for dialect, each in streams.items():
        if each:
            print(f"{dialect}, the SDK …", file=sys.stderr, flush=True)
            yield settled(partial(against_sdk, dialect, each, pairs, quick=asked.quick), tries)


def settled(measure: Callable[[], F], tries: int) -> F:
    """What *measure* gives once its control is right, or the last of so many *tries*."""
    found = measure()
    while tries > 1 and found.control is not None and not counts(found.control):
        found, tries = measure(), tries - 1
    return found


def told(found: Sequence[Figures | Witness], what: str) -> tuple[str, str, str]:
    """The two tables, and where and when *what* was measured."""
    bare = markdown(HEAD, [each.cells() for each in found if isinstance(each, Figures)])
    sdks = markdown(SDK_HEAD, [each.cells() for each in found if isinstance(each, Witness)])
    return bare, sdks, measured_on(f"commit {commit()}", what)


def commit() -> str:
    """What is measured."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607  # the git that whoever measures uses
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return said.stdout.strip() or "unknown"


def as_json(found: Sequence[Figures | Witness]) -> str:
    """All figures, for other programs."""
    return json.dumps(
        {"machine": dict(machine()), "commit": commit(), "rows": [asdict(each) for each in found]}, indent=2
    )


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--wire", type=Path, help="the folder of the recordings (ARSHAI_WIRE, else tests/wire/data)")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of samples a figure (15)")
    parser.add_argument("--tries", type=int, default=3, help="repeat what has a control that is off so often (3)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit code says nothing about speed, which depends on the machine."""
    asked = arguments(given)
    streams = recordings.streams(recordings.folder(asked.wire))
    if asked.quick:
        streams = {dialect: each[:4] for dialect, each in streams.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SDKs warn of what they did not expect, which would be most of the output
        found = tuple(measured(streams, asked))
    text = "\n\n".join(told(found, f"{sum(map(len, streams.values()))} recorded streams"))
    publish(f"{text}\n", asked)
    if asked.json:
        asked.json.write_text(as_json(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
