"""Every row of the table, once: in the one way that its name draws, so that all ways are taken."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.proving import proved
from tests.faults.rows import Row
from tests.faults.table import chosen, listed, named, parameter
from tests.faults.ways import WAYS


@pytest.mark.parametrize("row", [parameter(row, chosen(row), group) for group, row in listed()])
def test_every_fault_ends_in_time_typed_with_nothing_lost(row: Row) -> None:
    proved(row, chosen(row))


def test_every_way_is_taken() -> None:
    taken = Counter(chosen(row) for row in named().values())
    assert set(taken) == set(WAYS)
    assert min(taken.values()) > 0
