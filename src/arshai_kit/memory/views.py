"""What of a conversation is sent to the model: a view makes another `Recalled` of one, and views compose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import Converter, Factory, evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.records import Message

__all__ = ["Recalled"]

MADE = -1
"""The place of a message that a view made: it is none of the conversation's."""


def _messages(messages: Iterable[Message]) -> tuple[Message, ...]:
    return tuple(messages)


def _places(places: tuple[int, ...] | None, self: Any) -> tuple[int, ...]:
    """*places*, or what can be told of them where a view of somebody else's has left messages out."""
    if places is None and self.messages is self.whole:
        return tuple(range(len(self.messages)))
    if places is not None and len(places) == len(self.messages):
        return places
    return found(self.messages, self.whole)


def found(messages: tuple[Message, ...], whole: tuple[Message, ...]) -> tuple[int, ...]:
    """The places where *messages* stand in *whole*, the latest that leave their order as it is.

    >>> from arshai_kit.records import user
    >>> found((user("b"), user("?"), user("a")), (user("a"), user("b"), user("a")))
    (1, -1, 2)
    """
    spots: dict[Message, list[int]] = {}
    for place, message in enumerate(whole):
        spots.setdefault(message, []).append(place)
    end, places = len(whole), list[int]()
    for message in reversed(messages):
        left = [place for place in spots.get(message, ()) if place < end]
        places.append(left[-1] if left else MADE)
        end = left[-1] if left else end
    return tuple(reversed(places))


@frozen(eq=False, repr=False)
class Recalled(Record):
    """What is about to be sent: the *messages* recalled of the conversation *key*, and then the *prompt*.

    *memory* keeps what a view makes of it, *version* is that of the conversation, and *whole* all of it. *places* says
    where each of *messages* stands there, -1 where a view made it; the messages at *pins* are to be kept. A view of
    your own gives `recalled.only(numbers)`, or `evolve(recalled, messages=…)`.
    """

    key: str
    messages: tuple[Message, ...] = field(default=(), converter=_messages)
    prompt: tuple[Message, ...] = field(default=(), converter=_messages)
    memory: Any = field(default=None, repr=False)
    version: int = 0
    whole: tuple[Message, ...] = field(
        default=Factory(lambda self: self.messages, takes_self=True), converter=_messages, kw_only=True, repr=False
    )
    places: tuple[int, ...] = field(
        default=None,
        converter=Converter(_places, takes_self=True),  # type: ignore[misc]  # its plugin knows plain functions only
        kw_only=True,
        repr=False,
    )
    pins: frozenset[int] = field(default=frozenset(), kw_only=True, repr=False)

    def only(self, numbers: Iterable[int]) -> Recalled:
        """This, with the messages of these *numbers* alone, in their order.

        >>> from arshai_kit.records import user
        >>> Recalled("k", (user("a"), user("b"), user("c"))).only([2, 0]).places
        (0, 2)
        """
        kept = sorted(set(numbers))
        messages = tuple([self.messages[number] for number in kept])
        return evolve(self, messages=messages, places=tuple([self.places[number] for number in kept]))
