"""One provider for all laws of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.laws.provider import Provider, provider


@pytest.fixture(scope="session")
def _living() -> Iterator[Provider]:
    with provider() as living:
        yield living


@pytest.fixture(scope="session")
def toy(_living: Provider) -> Provider:
    """The provider of this session; each test says anew how it answers."""
    return _living
