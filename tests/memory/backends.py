"""Every place where conversations are kept, so that one contract can be held against all of them.

A backend opens a `Store` for one test. Another backend is one more line in `BACKENDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from arshai_kit.memory import Memory, in_memory

__all__ = ["BACKENDS", "Backend", "Store"]


@frozen
class Store:
    """One place where conversations are kept, for one test.

    *memory* gives a handle on it, as another process would have one if it is *shared*, else the same. *small* gives a
    memory of its own that keeps at most so many bytes of a conversation. *fresh* gives an empty memory elsewhere.
    *scan* gives all that the place holds, as bytes, however it is kept: what was forgotten must not be in it.
    """

    memory: Callable[[], Memory]
    fresh: Callable[[], Memory]
    small: Callable[[int], Memory]
    scan: Callable[[], bytes]
    shared: bool = True


@frozen
class Backend:
    """How to *open* a place of its kind in a folder, and what a test of it needs."""

    name: str
    open: Callable[[pytest.FixtureRequest, Path], AbstractContextManager[Store]]
    needs: tuple[str, ...] = ()


@contextmanager
def _in_process(_request: pytest.FixtureRequest, _folder: Path) -> Iterator[Store]:
    memory = in_memory()

    def scan() -> bytes:
        store: Any = memory.backend
        everything = [(key, kept.messages, kept.ids, kept.notes) for key, kept in store._kept.items()]
        return repr((everything, list(store._turns._lines))).encode(errors="surrogatepass")

    yield Store(lambda: memory, in_memory, lambda limit: in_memory(max_bytes=limit), scan, shared=False)


BACKENDS: list[Backend] = [Backend("in_memory", _in_process)]
