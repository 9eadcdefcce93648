"""The three worlds that a plan can be driven in, each with somebody listening or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import pytest
from attrs import evolve, frozen

from arshai_kit.effects import Plan
from arshai_kit.faces import AsyncStream, Stream, adrive, drive
from arshai_kit.records import Event
from arshai_kit.scope import current, enter, leave

T = TypeVar("T")


@frozen
class World:
    """How a plan is driven: by blocking, or on a *backend*; told as events, or not."""

    backend: str = ""
    listening: bool = False

    @property
    def name(self) -> str:
        """What a test of it is called."""
        return f"{self.backend or 'sync'}{'-stream' if self.listening else ''}"

    def run(self, plan: Callable[[], Plan[T]]) -> T:
        """The result of the plan that *plan* makes."""
        if not self.listening:
            return self._awaited(lambda: adrive(plan())) if self.backend else drive(plan())
        kept: list[T] = []

        def keeping() -> Plan[None]:
            kept.append((yield from plan()))

        self.events(keeping)
        return kept[0]

    def events(self, plan: Callable[[], Plan[Any]]) -> list[Event]:
        """What the plan that *plan* makes tells."""
        return self._awaited(lambda: heard(plan())) if self.backend else list(Stream(plan()))

    def _awaited(self, main: Callable[[], Any]) -> Any:
        return anyio.run(main, backend=self.backend)


async def heard(plan: Plan[Any]) -> list[Event]:
    """What *plan* tells, on whatever event loop runs."""
    async with AsyncStream(plan) as events:
        return [event async for event in events]


WORLDS = tuple(World(backend, listening) for listening in (False, True) for backend in ("", "asyncio", "trio"))
BACKENDS = ("asyncio", "trio")

everywhere = pytest.mark.parametrize("world", [pytest.param(world, id=world.name) for world in WORLDS])
listening = pytest.mark.parametrize(
    "world", [pytest.param(world, id=world.name) for world in WORLDS if world.listening]
)
on_both = pytest.mark.parametrize("backend", BACKENDS)


class Watching:
    """A world that is the real one, but notes what is answered, as `testing`'s recordings do."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[str, str]] = {}

    def recorder(self) -> Callable[[str, Any, Any, BaseException | None], None]:
        """Note one answer."""
        return self._note

    def replay(self, machine: Any) -> None:
        """Leave the run to the real world."""

    def _note(self, path: str, effect: Any, value: Any, error: BaseException | None) -> None:
        kind = type(effect).__name__
        assert path not in self.seen, path
        self.seen[path] = kind, repr(error or ("" if kind in ("Now", "Random") else value))


@contextmanager
def watched() -> Iterator[Watching]:
    """Note what is asked and answered in the runs of this block."""
    watching = Watching()
    token = enter(evolve(current(), world=watching))
    try:
        yield watching
    finally:
        leave(token)
