"""hypothesis if it is installed; if not, whoever wants a strategy is told how to get it."""

from __future__ import annotations

from typing import Any, NoReturn

from arshai_kit.errors import need

__all__ = ["DrawFn", "SearchStrategy", "st"]


class _Absent:
    """Stands where hypothesis would."""

    def __getattr__(self, _: str) -> NoReturn:
        need("hypothesis", "test")


try:
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ImportError:
    st = _Absent()  # type: ignore[assignment]  # it refuses everything
    DrawFn = SearchStrategy = Any  # type: ignore[assignment,misc]  # nothing is ever drawn
