"""Every place where conversations are kept, so that one contract can be held against all of them.

A backend opens a `Store` for one test. Another backend is one more line in `BACKENDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from attrs import frozen

from arshai_kit.memory import Memory, in_memory, redis_memory, sqlite_memory

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


@contextmanager
def _in_redis(request: pytest.FixtureRequest, _folder: Path) -> Iterator[Store]:
    server = request.getfixturevalue("redis_server")
    memories: list[Memory] = []

    def made(**how: Any) -> Memory:
        memories.append(redis_memory(server.url, **how))
        return memories[-1]

    with closing(server.client()) as client:
        own = f"{uuid4().hex}:"

        def scan() -> bytes:
            found = [(key, client.hgetall(key), client.pttl(key)) for key in client.scan_iter(f"{own}*")]
            return repr(found).encode() if found else b""

        def fresh() -> Memory:
            return redis_memory(client, prefix=uuid4().hex)

        yield Store(
            lambda: made(prefix=f"{own}memory"), fresh, lambda most: made(prefix=f"{own}small", max_bytes=most), scan
        )
        for memory in memories:
            memory.backend.close()


@contextmanager
def _sqlite(_request: pytest.FixtureRequest, folder: Path) -> Iterator[Store]:
    with ExitStack() as stack:

        def opened(name: str, **how: Any) -> Memory:
            memory = sqlite_memory(folder / name, synchronous="normal", patience=120.0, **how)
            stack.callback(memory.backend.close)
            return memory

        def scan() -> bytes:
            return b"".join([path.read_bytes() for path in folder.glob("memory.db*")])

        numbers = count()
        yield Store(
            lambda: opened("memory.db"),
            lambda: opened(f"fresh-{next(numbers)}.db"),
            lambda limit: opened("small.db", max_bytes=limit),
            scan,
        )


BACKENDS: list[Backend] = [
    Backend("in_memory", _in_process),
    Backend("sqlite", _sqlite),
    Backend("redis", _in_redis, ("redis",)),
]
