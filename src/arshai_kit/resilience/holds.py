"""What is reserved for a call: each request of it that follows one which may be billed is reserved for anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from arshai_kit.cost import Spend
from arshai_kit.effects import Open, Plan, Send, Where
from arshai_kit.errors import Unreachable
from arshai_kit.models import throughout
from arshai_kit.resilience.ledgers import Ticket

__all__ = ["Hold", "refuses", "tried"]

T = TypeVar("T")

_UNBILLED: Final = frozenset({503, 529})
"""Overloaded: beside 4xx the only statuses that say that nothing was done."""


class Hold:
    """What is reserved for one call: *real* is what it counts as if it ends here, *lost* whether a request of it does.

    A request that was answered by no refusal may be billed, so one more of the same call needs a reservation more.
    """

    def __init__(self, reserved: Callable[[Ticket], Plan[Spend]]) -> None:
        self.reserved = reserved
        self.ticket, self.real, self.lost = Ticket(), Spend(), False

    def begin(self) -> Plan[None]:
        """Reserve what the call needs at worst."""
        self.ticket, self.real, self.lost = Ticket(), Spend(), False
        self.real = yield from self.reserved(self.ticket)


def tried(plan: Plan[T], hold: Hold, settle: Callable[[], Plan[None]]) -> Plan[T]:
    """*plan*, in which a request that follows a lost one is made only if the budget has what that needs too."""

    def on_request(effect: Any, _: Where) -> Plan[Any]:
        if effect.request.method != "POST":  # a picture is fetched
            return (yield from effect)
        if hold.lost:
            yield from settle()
            yield from hold.begin()
        hold.lost = True
        try:
            answer = yield from effect
        except Unreachable as error:
            hold.lost = error.sent
            raise
        hold.lost = not refuses(answer.status)
        return answer

    return throughout(plan, {Send: on_request, Open: on_request})


def refuses(status: int) -> bool:
    """Whether a reply with *status* says that nothing was done.

    >>> refuses(429), refuses(503), refuses(500), refuses(200)
    (True, True, False, False)
    """
    return 400 <= status < 500 or status in _UNBILLED
