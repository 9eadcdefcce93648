"""What the tests of the command line share: a provider on the loopback, and a folder with tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.server import Provider, providing
from tests.cli.shell import TOOLS


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with tools in it."""
    (tmp_path / "mytools.py").write_text(TOOLS, "utf-8")
    return tmp_path
