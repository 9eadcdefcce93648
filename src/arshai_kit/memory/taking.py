"""One turn of a conversation: it is entered and what was said is loaded; what is new is added and the turn given back.

Whoever is closed in the midst of a turn may ask for nothing more, so a worker gives the turn back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any, Final

from attrs import evolve

from arshai_kit._threads import process_background, workers
from arshai_kit.effects import Effect, Emit, Handler, Plan, Random, Sleep, Step
from arshai_kit.errors import ArshaiError, Misuse, StoreUnreachable, TurnTaken
from arshai_kit.faces import drive
from arshai_kit.memory.records import Conversation, Memory
from arshai_kit.memory.renewing import renewals
from arshai_kit.records import Message, Notice
from arshai_kit.scope import current, enter, leave

__all__ = ["Turn", "drawn"]

_LATE: Final = (1.0, 10.0)
"""Who was closed while it asked for its turn may be given it so many seconds later, and gives it back again."""
_AGAIN: Final = (0.01, 0.1, 1.0, 0.0)
"""The seconds after which it is tried again to give a turn back."""


def drawn() -> Plan[str]:
    """A name that no other turn of a conversation has."""
    return f"{int((yield from Random()) * 2**53):014x}"


class _Mark(dict[type[Effect[Any]], Handler]):
    """A layer that answers nothing: it says inside of which turn whatever runs there is."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self.turn = turn


class Turn:
    """The turn *own* of the conversation *key*: taken for at most *lease* seconds; one inside of it is a part of it."""

    def __init__(self, memory: Memory, key: str, own: str, *, lease: float, name: str) -> None:
        self.memory, self.key, self.own, self.lease, self.name = memory, key, own, lease, name
        inside = any(type(each) is _Mark and each.turn.is_of(memory, key) for each in current().layers)
        self.takes = memory.enter is not None and memory.leave is not None and not inside
        self.state = "before" if not inside else "inside"
        self.renews = self.takes and getattr(memory.backend, "renews", False) is True
        self.was_asked = self.ends = self.again = False
        self.busy = RLock()  # of workers: nobody gives it back while another takes it anew

    def is_of(self, memory: Memory, key: str) -> bool:
        """Whether it is under way, in that conversation."""
        one, other = (each if each.backend is None else each.backend for each in (self.memory, memory))
        return self.state in ("taken", "inside") and self.key == key and bool(one == other)

    def begin(self, *, waits: bool) -> Plan[Conversation]:
        """All that has been said, once it is this one's turn."""
        if not self.takes:
            return _loaded((yield from self._asked("load", self.memory.load, self.key)), self.memory)
        self.state, told = "asking", False
        while True:
            pause, said = yield from self._begun()
            if not pause:
                self.state = "taken"
                self._hold()
                return _loaded(said, self.memory)
            if not waits:
                raise TurnTaken(f"a turn of {self.key!r:.80} is under way, and turns='refuse'", retry_after=pause)
            if not told:
                told = True
                yield from Emit((Notice("waiting", self.name, "turn", {"seconds": round(pause, 3)}),))
            yield from Sleep(pause)

    def _begun(self) -> Plan[tuple[float, Conversation]]:
        seconds = min(self.lease, renewals().at_once) if self.renews else self.lease
        if self.memory.begin is not None:
            begun: tuple[float, Conversation]
            begun = yield from self._asked("begin", self.memory.begin, self.key, self.own, seconds)
            return begun
        pause = yield from self._asked("enter", self.memory.enter, self.key, self.own, seconds)
        if pause:
            return pause, Conversation()
        return 0.0, (yield from self._asked("load", self.memory.load, self.key))

    def end(self, messages: tuple[Message, ...]) -> Plan[None]:
        """Add *messages*, all or none, and give the turn back."""
        if self.takes and self.memory.end is not None:
            self._let_go()
            yield from self._asked("end", self.memory.end, self.key, messages, self.own, self.own)
            self._over()
        else:
            yield from self._asked("append", self.memory.append, self.key, messages, self.own)
            yield from self.leave()

    def leave(self) -> Plan[None]:
        """Give the turn back, or stop waiting for it; where that cannot be done here, somebody else does it."""
        if self.state not in ("asking", "taken"):
            return
        self._let_go()
        try:
            yield from self._asked("leave", self.memory.leave, self.key, self.own)
            self._over()
        except ArshaiError:  # as when a deadline has passed
            self.drop()

    def drop(self) -> None:
        """Have the turn given back by somebody else: for who is closed in the midst of it; never blocks."""
        state, self.state = self.state, "over"
        if state not in ("asking", "taken"):
            return
        self._let_go()
        if self.memory.in_memory:
            with suppress(Exception):  # its time ends by itself
                self.memory.leave(self.key, self.own)  # type: ignore[misc]  # it has one
            return
        background = process_background()  # which is waited for when the process ends
        number = background.add("leave")
        held = getattr(self.memory.backend, "held", None)  # the loop of a client of asyncio is to last until then
        over = held() if callable(held) else None

        def job() -> None:
            self._left()
            if over is not None:
                over()
            background.remove(number)
            for seconds in _LATE if state == "asking" else ():
                time.sleep(seconds)
                self._left()

        workers().run(job)

    def _left(self) -> None:
        """Give it back, by a worker; an event loop that is about to end may cancel that at first."""
        for seconds in _AGAIN:
            with self.busy:
                try:
                    drive(self.memory.asked(self.memory.leave, self.key, self.own))  # type: ignore[arg-type]  # it has one
                except (StoreUnreachable, Misuse):
                    return  # its time ends by itself
                except BaseException:  # noqa: BLE001, S110  # a worker is told of no cancellation
                    pass
                else:
                    return
            time.sleep(seconds)

    def _asked(self, word: str, function: Callable[..., Any] | None, *args: Any) -> Plan[Any]:
        return (yield from Step("memory", word, self.key, lambda: self._really(function, *args)))

    def _really(self, function: Any, *args: Any) -> Plan[Any]:
        """Ask the memory itself: not a layer, nor a recording of it."""
        self.was_asked = True
        return self.memory.asked(function, *args)

    # -- renewed while it lasts --

    def _hold(self) -> None:
        if self.renews and self.was_asked and self.lease > renewals().at_once:
            renewals().hold(self, self.lease, self._renewed)

    def _renewed(self, seconds: float) -> bool:
        """Take it for so many *seconds* more, by a worker; whether that is to be done again."""
        with self.busy:
            if self.state != "taken":
                return False
            try:
                pause = drive(self.memory.asked(self.memory.enter, self.key, self.own, seconds))  # type: ignore[arg-type]  # it has one
            except BaseException:  # noqa: BLE001  # it may be taken all the same; else it is tried again in time
                pause = 0.0
            self.again = self.ends  # it may have been given back before it was taken again
            if self.state == "over":
                self._left()
            return self.state == "taken" and not pause

    def _let_go(self) -> None:
        """Have it renewed no more, for it is to be given back."""
        if self.renews:
            self.ends = True
            renewals().let_go(self)

    def _over(self) -> None:
        self.state = "over"
        if self.again:
            workers().run(self._left)

    @contextmanager
    def marked(self) -> Iterator[None]:
        """Let whatever runs in this block know that it is inside of this turn."""
        outer = current()
        token = enter(evolve(outer, layers=(*outer.layers, _Mark(self))))
        try:
            yield
        finally:
            leave(token)
            if self.state == "inside":
                self.state = "over"


def _loaded(said: Any, memory: Memory) -> Conversation:
    """What *memory* has loaded, if it is what it is to be."""
    if not isinstance(said, Conversation):
        raise Misuse(f"load of the memory {memory.name!r} gives a Conversation, not {type(said).__name__}")
    return said
