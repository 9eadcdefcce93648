"""Which clients, limits, layers and tags are in force here; the only `ContextVar`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from functools import cache, partial
from inspect import iscoroutinefunction
from typing import Any, Self

from attrs import evolve, field, frozen

from arshai_kit._json import EMPTY, FrozenDict, freeze
from arshai_kit._record import Record
from arshai_kit._threads import Background, BackgroundTask, process_background, soon
from arshai_kit.effects import Call, Effect, Layer, Plan
from arshai_kit.errors import Misuse

__all__ = ["BackgroundTask", "Limits", "Scope", "background_tasks", "current", "drain", "using"]


def _limit(name: str, default: int) -> int:
    """The whole number above zero that the environment gives for *name*."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise Misuse(f"{name} is {text!r}; it must be a whole number above zero")
    return int(text)


@frozen(eq=False, repr=False)
class Limits(Record):
    """How much may be under way at a time: connections in all and to one host, and sync functions of one run."""

    max_connections: int = field(factory=lambda: _limit("ARSHAI_MAX_CONNECTIONS", 1000))
    max_connections_per_host: int = field(
        factory=lambda: _limit("ARSHAI_MAX_CONNECTIONS_PER_HOST", _limit("ARSHAI_MAX_CONNECTIONS", 1000))
    )
    max_threads: int = field(factory=lambda: _limit("ARSHAI_MAX_THREADS", min(32, 2 * (os.cpu_count() or 1))))


@cache
def default_limits() -> Limits:
    """The limits that the environment gives, read once, at the first run."""
    return Limits()


@frozen(eq=False, repr=False)
class Scope:
    """What is in force; *world*, when given, drives the runs in place of the real one (`testing`'s recordings)."""

    client: Any = None
    async_client: Any = None
    layers: tuple[Layer, ...] = ()
    limits: Limits | None = None
    tags: FrozenDict = EMPTY
    background: Background | None = None
    group: Any = None
    home: Any = None
    world: Any = None


_ENTERED_ONCE = "a using(…) is entered once; make another one"

_SCOPE: ContextVar[Scope] = ContextVar("arshai_kit.scope", default=Scope())  # noqa: B039  # a Scope cannot change


def current() -> Scope:
    """The scope in force here."""
    return _SCOPE.get()


def enter(scope: Scope) -> Token[Scope]:
    """Put *scope* in force, until `leave`."""
    return _SCOPE.set(scope)


def leave(token: Token[Scope]) -> None:
    """Put back what was in force before."""
    _SCOPE.reset(token)


def background_tasks() -> tuple[BackgroundTask, ...]:
    """What runs in the background of the innermost `using` block, or of the process."""
    return owner(current()).tasks()


def drain(timeout: float | None = None) -> Plan[tuple[BackgroundTask, ...]]:
    """Wait until nothing runs in the background, for at most *timeout* seconds; what still does."""
    return (yield from Call(owner(current()).wait, timeout))


def owner(scope: Scope) -> Background:
    """Who owns what is started in the background: the innermost block that has not ended, or the process."""
    background = scope.background
    return process_background() if background is None or background.ended else background


def _checked(layers: Any) -> tuple[Layer, ...]:
    """*layers*, none of which could fail to be in force: what approves or guards must not be passed by for a slip."""
    if isinstance(layers, Mapping) or not isinstance(layers, Iterable):
        raise Misuse(f"layers= takes a list of layers, as in layers=[{{Step: handler}}], not {type(layers).__name__}")
    given = tuple(layers)
    for layer in given:
        if not isinstance(layer, Mapping):
            raise Misuse(f"a layer is a mapping from kinds of effects to handlers, not {type(layer).__name__}")
        for kind, handler in layer.items():
            if not isinstance(kind, type) or not issubclass(kind, Effect) or kind is Effect:
                name = "Effect itself" if kind is Effect else repr(kind)
                raise Misuse(f"a layer names kinds of effects, classes like arshai_kit.effects.Step, not {name}")
            if not callable(handler):
                raise Misuse(f"what a layer has for {kind.__name__} is a function, not {type(handler).__name__}")
    return given


class using:  # noqa: N801  # reads as the statement that it makes: `with using(client=…):`
    """Change the world for a block of code: `with using(…)` or `async with using(…)`.

    *client* is an `httpx.Client` or `httpx.AsyncClient` (or of a library with the same interface); code of the other
    kind goes past it only to one that is given for it too, by a block of its own. *layers* stand around those already
    in force, innermost last, *tags* go with every step. What is started in the background inside
    the block is waited for at its end, for at most *drain* seconds: in async code write `async with`, whose loop goes
    on meanwhile and runs what the block has started.
    """

    def __init__(
        self,
        *,
        client: Any = None,
        layers: Iterable[Layer] = (),
        limits: Limits | None = None,
        tags: Mapping[str, Any] = EMPTY,
        drain: float = 5.0,
    ) -> None:
        changes: dict[str, Any] = {} if limits is None else {"limits": limits}
        if limits is not None and not isinstance(limits, Limits):
            raise Misuse(f"limits= takes a Limits(max_connections=…), not {type(limits).__name__}")
        if client is not None:
            send = getattr(client, "send", None)
            if not callable(send):
                raise Misuse(f"client= takes an httpx client or one like it, not {type(client).__name__}")
            changes["async_client" if iscoroutinefunction(send) else "client"] = client
        if not isinstance(tags, Mapping):
            raise Misuse(f"tags= takes a mapping, as in tags={{'user': 'ann'}}, not {type(tags).__name__}")
        self._layers = _checked(layers)
        self._tags = freeze(dict(tags))
        self._changes = changes
        self._drain = drain
        self._token: Any = None
        self._background = Background()
        self._group: Any = None
        self._home: Any = None

    def _enter(self) -> None:
        if self._token is not None:
            raise Misuse(_ENTERED_ONCE)
        outer = current()
        tags = freeze({**outer.tags, **self._tags})
        layers = (*outer.layers, *self._layers)
        self._token = enter(
            evolve(
                outer,
                layers=layers,
                tags=tags,
                background=self._background,
                group=self._group,
                home=self._home,
                **self._changes,
            )
        )

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            leave(self._token)
            self._background.wait(self._drain)
        finally:
            self._background.end()

    async def __aenter__(self) -> Self:
        from anyio import create_task_group
        from anyio.lowlevel import current_token

        if self._token is not None:
            raise Misuse(_ENTERED_ONCE)
        self._home = current_token().native_token
        self._group = create_task_group()
        await self._group.__aenter__()
        self._enter()
        return self

    async def __aexit__(self, *_: object) -> None:
        from anyio import Event, move_on_after

        done = Event()
        try:
            leave(self._token)
            self._background.when_done(partial(soon, self._home, done.set))
            with move_on_after(self._drain):
                await done.wait()
        finally:
            self._background.end()
            self._group.cancel_scope.cancel()
            await self._group.__aexit__(None, None, None)
