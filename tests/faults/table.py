"""The table of all faults: the rows of every module here, and which way CI runs each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any
from zlib import crc32

import pytest

import tests.faults
from tests.faults.rows import Row
from tests.faults.ways import Way

__all__ = ["chosen", "groups", "listed", "named", "parameter"]


@cache
def groups() -> Mapping[str, tuple[Row, ...]]:
    """The rows of each module that has some."""
    names = sorted(each.name for each in iter_modules(tests.faults.__path__))
    quiet = [name for name in names if not name.startswith(("test_", "table", "alone"))]
    found = {name: getattr(import_module(f"tests.faults.{name}"), "ROWS", ()) for name in quiet}
    return {name: tuple(rows) for name, rows in found.items() if rows}


@cache
def named() -> Mapping[str, Row]:
    """All rows, by their groups and names, each of which is given once."""
    rows = {f"{group}-{row.name}": row for group, row in listed()}
    assert len(rows) == len(listed()), "two rows of a group have one name"
    return rows


def chosen(row: Row) -> Way:
    """The one way in which CI runs *row*: always the same, and over the table each of them."""
    return row.ways[crc32(row.name.encode()) % len(row.ways)]


def listed() -> Sequence[tuple[str, Row]]:
    """All rows, each with the name of its group."""
    return [(group, row) for group, rows in groups().items() for row in rows]


def parameter(row: Row, way: Way, group: str, *more: Any) -> Any:
    """*row*, run this *way*, as a parameter of a test."""
    marks = [pytest.mark.needs(*row.needs)]
    marks += [pytest.mark.xfail(strict=True, reason=row.wrong)] if row.wrong else []
    return pytest.param(row, *more, id=f"{group}-{row.name}-{way.name}", marks=marks)
