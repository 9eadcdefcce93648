"""Every index does what plain Python does, whatever it is asked, on every backend there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.index.contract import BACKENDS, Backend, Model, Place, operations
from tests.index.kinds import Kinds


@pytest.fixture(params=[pytest.param(each, id=each.name, marks=pytest.mark.needs(*each.needs)) for each in BACKENDS])
def backend(request: pytest.FixtureRequest) -> Backend:
    assert isinstance(request.param, Backend)
    return request.param


@pytest.fixture
def place(backend: Backend, tmp_path: Path) -> Iterator[Place]:
    with backend.open(tmp_path) as opened:
        yield opened


@settings(settings.get_profile("few"))
@given(done=st.lists(operations(), max_size=14))
def _behaves(place: Place, backend: Backend, done: list[tuple[Any, ...]]) -> None:
    model = Model(place.fresh(Kinds), backend)
    for name, *args in done:
        getattr(model, name)(*args)
    model.check()


def test_an_index_is_what_it_is_in_plain_python(place: Place, backend: Backend) -> None:
    """Any operations, on ids, texts and fields of any letters, by two who have it open."""
    _behaves(place, backend)
