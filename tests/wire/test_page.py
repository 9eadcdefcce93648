"""The page that tells how the recordings are read holds what the tests hold, and what they count."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.wire import page

TABLES = (page.exceptions, page.clients, page.loops, page.why)
TEXT = page.PAGE.read_text("utf-8")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_the_page_holds_the_tables_of_the_tests(table: page.Table) -> None:
    assert table() in TEXT


def test_the_page_tells_of_the_recordings_that_there_are(wire: Path) -> None:
    """All of it but when and where they were last read."""
    found = re.search(r"^`pytest [^`]*`, (.*): every test passed", TEXT, re.MULTILINE)
    assert found is not None
    assert page.text(list(page.conversations(wire)), found[1]) == TEXT
