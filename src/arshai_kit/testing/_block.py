"""A block of code in which another scope is in force, entered by `with` or by `async with`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import Token
from types import TracebackType
from typing import Any, Self

from attrs import evolve

from arshai_kit.effects import Layer
from arshai_kit.errors import Misuse
from arshai_kit.scope import Scope, current, enter, leave

__all__ = ["Block"]


class Block(ABC):
    """Changes the scope for the code inside it; what is inside says how, and what there is to do at the end."""

    def __init__(self) -> None:
        self._tokens: list[Token[Scope]] = []

    @abstractmethod
    def _changes(self, outer: Scope) -> dict[str, Any]:
        """What is different inside."""

    def _end(self, *, failed: bool) -> None:  # noqa: B027  # most have nothing to do
        """What to do when the block has ended, *failed* if by an exception."""

    def _instead(self, outer: Scope, layer: Layer) -> tuple[Layer, ...]:
        """The layers inside: *layer*, of this block, instead of that of a block of the same kind around it."""
        others = [each for each in outer.layers if not any(self._is_like(handler) for handler in each.values())]
        return (*others, layer)

    def _is_like(self, handler: Any) -> bool:
        """Whether *handler* is of another block of this kind."""
        return type(getattr(handler, "__self__", None)) is type(self)

    def __enter__(self) -> Self:
        if self._tokens:
            raise Misuse(f"this block ({type(self).__name__}) is entered once; make another one")
        outer = current()
        self._tokens.append(enter(evolve(outer, **self._changes(outer))))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(self._tokens[0])
        self._end(failed=error is not None)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
