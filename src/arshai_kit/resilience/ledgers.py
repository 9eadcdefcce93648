"""What was spent and what is reserved: the state that budgets share, in this process."""

from __future__ import annotations

from decimal import Decimal
from threading import RLock
from typing import Any, ClassVar, Final, TypeAlias
from weakref import WeakKeyDictionary

from arshai_kit.cost import Spend
from arshai_kit.errors import Misuse
from arshai_kit.resilience.forks import free_in_forks

__all__ = ["Account", "Key", "Ledger", "Ticket"]

Key: TypeAlias = tuple[int, str]
"""The day, counted since 1970 (0 without one), and what the tag says."""

_KEPT: Final = 7
"""Days that a ledger remembers."""


class Ticket:
    """The right to one call: what is reserved for it, until it is settled."""

    __slots__ = ("account", "closed", "shared", "wanted")

    def __init__(self) -> None:
        self.account: Account | Key | None = None
        self.shared = ""
        self.wanted = Spend()
        self.closed = False


class Account:
    """What one holder of a budget has spent and reserved, and of which thresholds somebody was told.

    Money that nobody knows is *unknown* apart: it takes the ceiling away from nothing that is known.
    """

    __slots__ = ("reserved", "spent", "told", "unknown")

    def __init__(self) -> None:
        self.spent = Spend()
        self.reserved = Spend()
        self.unknown = False
        self.told: frozenset[float] = frozenset()

    def forked(self) -> Account:
        """That of a forked child, for which its parent's calls have reserved nothing."""
        copy = Account()
        copy.spent, copy.unknown, copy.told = self.spent, self.unknown, self.told
        return copy


class Ledger:
    """What was spent and what is reserved, in this process; threads and tasks share it."""

    in_memory: ClassVar[bool] = True

    def __init__(self) -> None:
        self._lock = RLock()  # a plan may be freed, and leave, while this very thread holds it
        self._accounts: dict[Key, Account] = {}
        self._runs: WeakKeyDictionary[Any, dict[Key, Account]] = WeakKeyDictionary()
        self._day = 0
        free_in_forks(self)

    def __repr__(self) -> str:
        return f"Ledger({len(self._accounts) + len(self._runs)})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise Misuse("a budget is not pickled: its copy would have a ceiling of its own")

    def forked(self) -> None:
        """Be that of a forked child, where none of its parent's calls is; what they settle there, they do not here."""
        self._lock = RLock()
        for accounts in (self._accounts, *self._runs.values()):
            accounts.update({key: account.forked() for key, account in accounts.items()})

    def reserve(self, ticket: Ticket, key: Key, run: Any, wanted: Spend, most: Spend) -> tuple[Spend, Spend] | None:
        """Reserve *wanted* for *ticket*, if that stays within *most*; else what is left, and what was spent.

        A money of `None` in *most* is no ceiling, and so is a negative number of tokens. What is not known is not
        counted, here and by `settle`; that there is such, `held` says.
        """
        wanted = _counted(wanted)
        with self._lock:
            account = self._account(key, run)
            taken = account.spent + account.reserved
            then = taken + wanted
            if (0 <= most.tokens < then.tokens) or _over(then.money, most.money):
                return most - taken, account.spent
            if not ticket.closed:
                ticket.account, ticket.wanted = account, wanted
                account.reserved = account.reserved + wanted
            return None

    def settle(self, ticket: Ticket, real: Spend) -> Spend:
        """Put *real* in place of what *ticket* has reserved; what was spent until now. Once only."""
        with self._lock:
            account, first = ticket.account, not ticket.closed
            ticket.closed = True
            if not isinstance(account, Account):
                return Spend()
            if first:
                account.reserved = account.reserved - ticket.wanted
                account.spent = account.spent + _counted(real)
                account.unknown |= real.money is None
            return account.spent

    def abandon(self, ticket: Ticket, real: Spend) -> None:
        """As `settle`, for a plan that is being closed: it never waits for anything."""
        self.settle(ticket, real)

    def tell(self, key: Key, run: Any, reached: frozenset[float]) -> tuple[float, ...]:
        """Those thresholds *reached* that nobody was told of, lowest first; from now on somebody is."""
        with self._lock:
            account = self._account(key, run)
            new = sorted(reached - account.told)
            account.told |= reached
            return tuple(new)

    def untell(self, key: Key, run: Any, thresholds: frozenset[float]) -> None:
        """Nobody was told of *thresholds* after all."""
        with self._lock:
            self._account(key, run).told -= thresholds

    def held(self, key: Key, run: Any = None) -> tuple[Spend, Spend]:
        """What was spent, its money `None` if a part of that is not known, and what is reserved."""
        with self._lock:
            account = (self._accounts if run is None else self._runs.get(run, {})).get(key) or Account()
            spent = Spend(account.spent.tokens, None) if account.unknown else account.spent
            return spent, account.reserved

    def last_day(self) -> int:
        """The last day on which somebody asked."""
        return self._day

    def _account(self, key: Key, run: Any) -> Account:
        accounts = self._accounts if run is None else self._runs.setdefault(run, {})
        if run is None and key[0] > self._day:  # once a day: there may be an account for each request
            self._day = key[0]
            for old in [each for each in accounts if each[0] < key[0] - _KEPT]:
                del accounts[old]
        if key not in accounts:
            accounts[key] = Account()
        return accounts[key]


def _counted(spend: Spend) -> Spend:
    return Spend(spend.tokens) if spend.money is None else spend


def _over(money: Decimal | None, most: Decimal | None) -> bool:
    return most is not None and money is not None and money > most
