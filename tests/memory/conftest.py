"""A store of every backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.memory.backends import BACKENDS, Store


@pytest.fixture(
    params=[
        pytest.param(each, id=each.name, marks=[pytest.mark.needs(part) for part in each.needs]) for each in BACKENDS
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A place where conversations are kept, of every kind."""
    with request.param.open(request, tmp_path) as opened:
        yield opened
