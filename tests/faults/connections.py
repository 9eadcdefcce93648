"""Connections that are not made, break, end too soon, fall silent, drip, lead elsewhere, or died while idle."""

from __future__ import annotations

from arshai_kit.errors import StreamIncomplete, TimedOut, Unreachable
from tests.badinput.ways import chunk, sent
from tests.faults.rows import Answers, Fails, Row
from tests.faults.server import CLOSE, LEAVE, RESET, STALL, hello, says, then
from tests.transport.server import eventually

WORDS = sent(chunk({"role": "assistant"}), chunk({"content": "Hel"}), chunk({"content": "lo"}), end=False)
BROKE = Fails(Unreachable, "connection to .* broke before it answered", requests=3)

BREAKING = (
    Row("reset before headers for ever", ((RESET,),), BROKE, reused=1),
    Row("reset before headers once", ((RESET,), hello), Answers(requests=2)),
    Row(
        "close without a finish",
        ((WORDS, CLOSE),),
        Fails(StreamIncomplete, "ended before the provider said", "Hello"),
        only="stream",
    ),
)
SILENT = (
    Row(
        "stalled headers",
        ((STALL,),),
        Fails(TimedOut, "told nothing for"),
        options={"timeout": 0.25},
    ),
)
IDLE = (
    Row(
        "closed while idle",
        (then(says("one"), LEAVE), hello),
        Answers(requests=2),
        times=2,
        between=lambda server: eventually(lambda: any(line.closed_by == "us" for line in server.lines)),
    ),
)
ROWS = (*BREAKING, *SILENT, *IDLE)
