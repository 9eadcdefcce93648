"""What the page on threats claims is shown by tests that are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "resilience" / "threats.md"
NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


@cache
def named_in(path: Path) -> set[str]:
    """The names of the tests in the module at *path*."""
    return {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_each_line_names_a_test_that_is_there() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    claims = [row for row in rows if row != "| threat | what happens | shown by |"]
    assert len(claims) >= 30
    for claim in claims:
        assert NAMED.search(claim.rpartition(" | ")[2]), claim


def test_every_test_that_is_named_is_there() -> None:
    named = NAMED.findall(PAGE.read_text("utf-8"))
    gone = [f"{path}::{name}" for path, name in named if name and name not in named_in(TESTS / path)]
    assert gone == []
    assert all((TESTS / path).is_file() for path, _ in named)
