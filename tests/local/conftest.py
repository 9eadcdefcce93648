"""One model for all tests here: loading it takes longer than most of them."""

from __future__ import annotations

import pytest

from arshai_kit.local import LocalModel, local


@pytest.fixture(scope="session")
def model() -> LocalModel:
    """The shipped model, its prose repeatable."""
    return local(seed=7, context=1024)
