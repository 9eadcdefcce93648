"""Measure the dialects and write the page that tells it: `python -m benchmarks.evidence [--wire FOLDER] [--busy]`."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from benchmarks import dialects, recordings, server, streams
from benchmarks.__main__ import measured, report
from benchmarks.contest import Site
from benchmarks.rows import byte_code
from benchmarks.table import Line, publish

PAGE = Path(__file__).parent.parent / "docs" / "evidence" / "dialects.md"
BUSY = """
The machine was busy with other work when this was measured: the figures are provisional, to be repeated on a quiet one.
Ratios of pairs measured side by side hold up to that, absolute times do not.
"""
TEXT = """# Speed of the dialects, measured

`python -m benchmarks.evidence --wire FOLDER` measures all this and writes this page; FOLDER holds the recordings. How
to measure, and what the columns mean, is in [the page on speed](../speed.md).
{busy}
## Calls

A call, the first word and one chunk of a long stream, over real sockets, against the same written by hand with httpx
and `json`: the question is built, the text is taken out, nothing else is looked at.

{calls}
## Recorded streams, without sockets

All streamed exchanges of the recordings, bytes to events and the response, in pieces of 16 KiB and in pieces of one
event (no recording tells where the network cut it). *Bare* splits on blank lines and parses the JSON, and makes
nothing of it. The figures are how fast ours is to that: at least {aim} of its speed is the aim, measured with the
`json` of the standard library; the same with orjson, which we parse with, stands beside it. Each ratio is the median of
{pairs} alternating pairs, with quartiles; the control is the bare splitter against itself.

{bare}

What ours does besides: events for every piece of text and every call, the response with its messages, usage and state,
and all checks. A response costs much the same however short its stream is, so streams of two or three events, as those
recorded of Gemini are, show that cost, and long ones what an event costs.

## The SDKs beside it

The same bytes in pieces of 16 KiB, read by the vendors' SDKs: OpenAI's `Stream` with `ChatCompletionStreamState` and
`ResponseStreamState`, Google's chunks as its records (it puts nothing together). Streams that one of them fails on are
left out for both. Here the control is ours against itself.

{sdks}

{where}
"""


def calls(site: Site, pairs: int, tries: int) -> str:
    """The table of calls."""
    lines: list[Line] = []
    for api in (dialects.CHAT, dialects.RESPONSES, dialects.GEMINI):
        for row in dialects.rows(api):
            print(f"{row.work} …", file=sys.stderr, flush=True)
            lines += measured(row, site, pairs, tries)
    return report(lines)


def page(asked: argparse.Namespace) -> str:
    """The whole page."""
    pairs, tries = (2, 1) if asked.quick else (max(15, asked.pairs), asked.tries)
    with server.running() as address, byte_code() as environment:
        table = calls(Site(address, environment, quick=asked.quick), pairs, tries)
    recorded = recordings.streams(recordings.folder(asked.wire))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = tuple(streams.measured(recorded, asked))
    bare, sdks, where = streams.told(found, f"{sum(map(len, recorded.values()))} recorded streams")
    busy = BUSY if asked.busy else ""
    return TEXT.format(calls=table, bare=bare, sdks=sdks, where=where, busy=busy, pairs=pairs, aim=streams.AT_LEAST)


def main(given: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    parser.add_argument("--wire", type=Path, help="the folder of the recordings (ARSHAI_WIRE, else tests/wire/data)")
    parser.add_argument("--busy", action="store_true", help="say on the page that the machine was busy")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of samples a figure (15)")
    parser.add_argument("--tries", type=int, default=3, help="repeat what has a control that is off so often (3)")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--markdown", type=Path, default=PAGE, help="where to write the page")
    asked = parser.parse_args(given)
    text = page(asked)
    publish(text, asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
