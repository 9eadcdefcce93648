"""A child that asks a server of too much, and prints by how many bytes the answer made it grow; run by a test."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from arshai_kit.errors import BadReply
from tests.badinput.ways import Way, model_at


def peak() -> int:
    """The most bytes that this process has ever had in memory."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def main(address: str, backend: str, row: str) -> None:
    """Ask for *row*, as a whole and as a stream."""
    ways = [Way(mode, backend) for mode in ("complete", "stream")]
    for way in ways:
        assert way.ask(model_at(f"{address}/small")).error is None
    before = peak()
    for way in ways:
        error = way.ask(model_at(f"{address}/{row}")).error
        assert isinstance(error, BadReply), error
        assert "max_body=" in str(error)
        del error
        gc.collect()  # an error and the frames that it came through hold each other
    print(peak() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
