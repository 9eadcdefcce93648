"""What of a conversation is sent to the model: a view makes another `Recalled` of one, and views compose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from attrs import Converter, Factory, evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.completion import run
from arshai_kit.effects import Plan
from arshai_kit.errors import Misuse
from arshai_kit.faces import drive
from arshai_kit.memory.tokens import Count, estimated, total
from arshai_kit.memory.turns import hands_over, may_hand_over, turns
from arshai_kit.records import Message

__all__ = ["Composed", "Pinned", "Recalled", "View", "Windowed", "composed", "pinned", "windowed"]

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

    *memory* keeps what a view makes of it, *version* is that of the conversation, *whole* all of it, and *given* the
    prompt as it came. *places* says where each of *messages* stands in the whole, -1 where a view made it; the messages
    at *pins* are to be kept. A view of your own gives `recalled.only(numbers)`, or `evolve(recalled, messages=…)`: as
    many messages stand where those before them stood, others where their equals do.
    """

    key: str
    messages: tuple[Message, ...] = field(default=(), converter=_messages)
    prompt: tuple[Message, ...] = field(default=(), converter=_messages)
    memory: Any = field(default=None, repr=False)
    version: int = 0
    whole: tuple[Message, ...] = field(
        default=Factory(lambda self: self.messages, takes_self=True), converter=_messages, kw_only=True, repr=False
    )
    given: tuple[Message, ...] = field(
        default=Factory(lambda self: self.prompt, takes_self=True), converter=_messages, kw_only=True, repr=False
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

    def behind(self, made: Message | None) -> Recalled:
        """This, with *made*, which a view has to say, after what the system says first."""
        if made is None:
            return self
        first = next((n for n, each in enumerate(self.messages) if each.role != "system"), len(self.messages))
        messages = (*self.messages[:first], made, *self.messages[first:])
        return evolve(self, messages=messages, places=(*self.places[:first], MADE, *self.places[first:]))

    def past(self) -> tuple[tuple[int, ...], ...]:
        """The turns of *messages*, but for one that the prompt goes on with."""
        found = turns((*self.messages, *self.prompt))
        return tuple([turn for turn in found if turn[-1] < len(self.messages)])

    def turns(self) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
        """The turns of *messages* that a view may leave out, and the numbers of what it has to keep.

        That is what the system says, every turn with a pin, the turn that the prompt goes on with, and the latest in
        which one agent handed the conversation to another: it tells whose turn it is.
        """
        past = self.past()
        hands = [
            turn
            for which in (hands_over, may_hand_over)  # of the surest, the latest; and the latest of any
            for turn in [turn for turn in past if any(which(self.messages[number]) for number in turn)][-1:]
        ]
        pinned_ = [turn for turn in past if any(self.places[number] in self.pins for number in turn)]
        free = tuple([turn for turn in past if turn not in hands and turn not in pinned_])
        left_out = {number for turn in free for number in turn}
        return free, tuple([number for number in range(len(self.messages)) if number not in left_out])


View: TypeAlias = Callable[[Recalled], Any]
"""What makes another `Recalled` of one: a function, sync or async, or one of these."""


@frozen(eq=False, repr=False)
class Windowed(Record):
    """A view: the latest turns alone, as many as *most_turns* and *most_tokens* allow."""

    most_turns: int | None = None
    most_tokens: int | None = None
    count: Count = field(default=estimated, repr=False)

    def __call__(self, recalled: Recalled) -> Recalled:
        """The latest turns of *recalled*."""
        free, kept = recalled.turns()
        latest = free if self.most_turns is None else free[max(0, len(free) - self.most_turns) :]
        if self.most_tokens is not None:
            said = [recalled.messages[number] for number in kept]
            latest = self._fitting(recalled, latest, self.most_tokens - total((*said, *recalled.prompt), self.count))
        return recalled.only((*kept, *[number for turn in latest for number in turn]))

    def _fitting(self, recalled: Recalled, free: tuple[tuple[int, ...], ...], left: int) -> tuple[tuple[int, ...], ...]:
        """The latest of *free* that fit into the tokens that are *left*, without a gap."""
        for start, turn in zip(range(len(free), 0, -1), reversed(free), strict=True):
            left -= total([recalled.messages[number] for number in turn], self.count)
            if left < 0:
                return free[start:]
        return free

    def plan(self, recalled: Recalled) -> Plan[Recalled]:
        """What calling it does, as a plan."""
        return self(recalled)
        yield  # it asks the world for nothing


def windowed(*, turns: int | None = None, tokens: int | None = None, count: Count = estimated) -> Windowed:
    """A view: the latest *turns* of the past, and of these the latest that with the prompt take at most *tokens*.

    A turn is left out whole, so no call is ever split from its result. Kept, whatever they take, are what the system
    says, pinned turns, the turn that the prompt goes on with, and that of the latest hand-off. *count* is one of
    `arshai_kit.memory.tokens`; the agent's own instructions and tools are not counted.

    >>> from arshai_kit.records import assistant, user
    >>> said = (user("Hi"), assistant("Hello!"), user("Rain?"), assistant("No."))
    >>> [message.text for message in windowed(turns=1)(Recalled("k", said)).messages]
    ['Rain?', 'No.']
    """
    for name, most in (("turns", turns), ("tokens", tokens)):
        if most is not None and (type(most) is not int or most < 0):
            raise Misuse(f"{name}= is how many are kept at most, a whole number, not {most!r}")
    if turns is None and tokens is None:
        raise Misuse("windowed() takes turns=, tokens=, or both: how much of the past is sent")
    return Windowed(turns, tokens, count)


@frozen(eq=False, repr=False)
class Pinned(Record):
    """A view: the turns of some messages are kept by all views after it."""

    which: Callable[[Message], bool] | int

    def __call__(self, recalled: Recalled) -> Recalled:
        """*recalled*, with more pins."""
        which = self.which
        if isinstance(which, int):
            more = {place for place in recalled.places if 0 <= place < which}
        else:
            both = zip(recalled.places, recalled.messages, strict=True)
            more = {place for place, message in both if place != MADE and which(message)}
        return evolve(recalled, pins=recalled.pins | more)

    def plan(self, recalled: Recalled) -> Plan[Recalled]:
        """What calling it does, as a plan."""
        return self(recalled)
        yield  # it asks the world for nothing


def pinned(which: Callable[[Message], bool] | int) -> Pinned:
    """A view: the views after it keep the turns in which a message is one of *which*.

    *which* is how many messages from the beginning of the conversation, or a pure function that tells.

    >>> from arshai_kit.records import assistant, user
    >>> said = (user("No nuts!"), assistant("Noted."), user("Hi"), assistant("Hello!"), user("Rain?"), assistant("No."))
    >>> view = composed(pinned(lambda message: "nuts" in message.text), windowed(turns=1))
    >>> [message.text for message in view(Recalled("k", said)).messages]
    ['No nuts!', 'Noted.', 'Rain?', 'No.']
    """
    if not callable(which) and (type(which) is not int or which < 0):
        raise Misuse(f"pinned() takes how many messages, or a function that tells which, not {which!r}")
    return Pinned(which)


@frozen(eq=False, repr=False)
class Composed(Record):
    """A view: *views*, one after the other."""

    views: tuple[View, ...]

    def __call__(self, recalled: Recalled) -> Recalled:
        """What the last of the views makes of *recalled*."""
        return drive(self.plan(recalled))

    def plan(self, recalled: Recalled) -> Plan[Recalled]:
        """What calling it does, as a plan."""
        for view in self.views:
            recalled = viewed((yield from run.plan(view, recalled)), view)
        return recalled


def viewed(made: Any, view: View) -> Recalled:
    """*made*, which *view* has given, if it is what a view gives."""
    if not isinstance(made, Recalled):
        name = getattr(view, "__name__", type(view).__name__)
        raise Misuse(f"the view {name} gives a Recalled, made of the one that it is given, not {type(made).__name__}")
    return made


def composed(*views: View) -> Composed:
    """A view: *views*, one after the other; of none, what is recalled as it is.

    First what cleans (`redacted`), then what makes something of the whole conversation (`facts`, `summarised`), last
    what leaves out (`relevant`, `windowed`): a view sees what those before it have left.
    """
    for view in views:
        if not callable(view):
            raise Misuse(f"composed() takes views, functions from a Recalled to another, not {type(view).__name__}")
    return Composed(tuple([inner for view in views for inner in (view.views if type(view) is Composed else (view,))]))
