"""Every fault in every world and mode, three runs in a row; those of memory also at full size, in a process alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.proving import proved
from tests.faults.rows import Row
from tests.faults.table import listed, parameter
from tests.faults.ways import Way

pytestmark = pytest.mark.long

EVERYWHERE = [(group, row, way) for group, row in listed() for way in row.ways]


@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize(("row", "way"), [parameter(row, way, group, way) for group, row, way in EVERYWHERE])
def test_every_fault_everywhere(row: Row, way: Way, turn: int) -> None:
    proved(row, way)


@pytest.mark.parametrize(
    ("row", "way", "group"), [parameter(row, way, group, way, group) for group, row, way in EVERYWHERE if row.memory]
)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process so")
def test_memory_is_bounded_at_full_size(row: Row, way: Way, group: str) -> None:
    """With the `max_body` that a model has by itself; the peak is that of the whole process, the server's included."""
    command = [sys.executable, "-m", "tests.faults.alone", f"{group}-{row.name}", way.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    grown, most = map(int, done.stdout.split())
    assert grown <= 2 * most
