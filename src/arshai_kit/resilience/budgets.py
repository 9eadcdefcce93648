"""A ceiling in tokens and money, enforced before the call: the worst case is reserved, what was used is settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypeVar

from attrs import evolve, field, frozen

from arshai_kit._flight import is_async
from arshai_kit._record import Record
from arshai_kit.cost import Pricing, Spend, cost, dollars, known
from arshai_kit.effects import Call, Emit, Here, Layer, Now, Plan, Start, Step, Where, intercept
from arshai_kit.errors import (
    ArshaiError,
    CircuitOpen,
    Misuse,
    OverBudget,
    OverLimit,
    ProviderError,
    StoreUnreachable,
    Unreachable,
)
from arshai_kit.models import Ask, Asked, is_model
from arshai_kit.records import Notice, Response, Usage
from arshai_kit.resilience.around import AgentAround, Around, asking, named, wrappable
from arshai_kit.resilience.holds import Hold, refuses, tried
from arshai_kit.resilience.ledgers import Key, Ledger, Ticket
from arshai_kit.resilience.worst_cases import estimated, unseen, worst
from arshai_kit.scope import current, enter, leave

__all__ = ["Alert", "Budget", "Budgeted", "Ledger", "Terms", "budgeted"]

T = TypeVar("T")

WorstCase: TypeAlias = Spend | Usage | Callable[[Ask], Spend | Usage]
_DAY: Final = 86_400
_UNSENT: Final = (Misuse, OverBudget, OverLimit, StoreUnreachable, CircuitOpen)
"""Who raises one of these has sent nothing."""


@frozen(eq=False, repr=False)
class Alert(Record):
    """What a function of yours is told when a *threshold* of a budget is reached: 1.0 also when it first refuses
    what an unused one would have allowed.

    *tag* is whose budget it is, *spent* what that has used so far.
    """

    name: str
    threshold: float
    spent: Spend
    tag: str = ""


def _tokens(value: Any) -> Any:
    if value is not None and (type(value) is not int or value < 0):
        raise Misuse(f"tokens= is a number of tokens from 0, or None for no ceiling, not {value!r}")
    return value


def _thresholds(value: Iterable[float]) -> tuple[float, ...]:
    found = tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(each, int | float) and 0 < each <= 1 for each in found):
        raise Misuse(f"thresholds= are parts of the ceiling, above 0 and up to 1, not {value!r}")
    return tuple(sorted(found))


@frozen(eq=False, repr=False)
class Budget(Record):
    """A ceiling in US dollars (*money*), in *tokens*, or both: for good, or *per* run or day (UTC).

    With *by_tag*, each value of that tag (`using(tags={"user": "ann"})`) has the whole ceiling for itself; what has no
    such tag shares one. The function *alert* is given an `Alert` when one of *thresholds* is reached, once each.
    """

    money: Decimal | None = field(default=None, converter=dollars, kw_only=True)
    tokens: int | None = field(default=None, converter=_tokens, kw_only=True)
    per: Literal["run", "day"] | None = field(default=None, kw_only=True)
    by_tag: str = field(default="", kw_only=True)
    alert: Callable[[Alert], Any] | None = field(default=None, kw_only=True)
    thresholds: tuple[float, ...] = field(default=(0.5, 0.8, 1.0), converter=_thresholds, kw_only=True)
    name: str = field(default="budget", kw_only=True)
    ledger: Ledger = field(factory=Ledger, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.money is None and self.tokens is None:
            raise Misuse("a budget has a ceiling: Budget(money=…), Budget(tokens=…), or both")
        if self.per not in ("run", "day", None):
            raise Misuse(f"per= is 'run', 'day', or None for good, not {self.per!r}")
        if not isinstance(self.by_tag, str):
            raise Misuse(f"by_tag= is the name of a tag, not {self.by_tag!r}")
        if not (self.alert is None or callable(self.alert)):
            raise Misuse(f"alert= is a function of an Alert, not {type(self.alert).__name__}")
        if not isinstance(self.ledger, Ledger):
            raise Misuse(f"ledger= is a Ledger() or a RedisLedger(…), not {type(self.ledger).__name__}")

    @property
    def most(self) -> Spend:
        """The ceiling, as a ledger takes it."""
        return Spend(-1 if self.tokens is None else self.tokens, self.money)

    def spent(self, tag: str = "", *, day: int | None = None) -> Spend:
        """What was spent, by the holder of *tag*; per day, on the last one on which it was used, or on *day*."""
        return self._held(tag, day)[0]

    def reserved(self, tag: str = "", *, day: int | None = None) -> Spend:
        """What calls that are under way have reserved."""
        return self._held(tag, day)[1]

    def _held(self, tag: str, day: int | None) -> tuple[Spend, Spend]:
        if self.per == "run":
            raise Misuse("what a run has spent is known in that run alone: its response has .usage and .cost")
        if self.per != "day":
            day = 0  # others in the same ledger may have days
        return self.ledger.held((self.ledger.last_day() if day is None else day, tag))

    def fits(self, wanted: Spend) -> bool:
        """Whether *wanted* would fit if nothing were spent."""
        over = self.money is not None and wanted.money is not None and wanted.money > self.money
        return not over and (self.tokens is None or wanted.tokens <= self.tokens)

    def reached(self, spent: Spend) -> frozenset[float]:
        """The thresholds that *spent* has reached."""
        parts = [Decimal(spent.tokens) / self.tokens] if self.tokens else []
        parts += [spent.money / self.money] if self.money and spent.money is not None else []
        return frozenset([each for each in self.thresholds if parts and max(parts) >= Decimal(str(each))])


@frozen(eq=False, repr=False)
class Held(Record):
    """Whose ceiling a call is under: a key in the ledger, and the run if each has its own."""

    key: Key
    run: Any = None

    @property
    def tag(self) -> str:
        """What the tag of the budget says here."""
        return self.key[1]


class AgentRun:
    """One call of an agent: it has a ceiling of its own, if each run has."""


@frozen(eq=False, repr=False)
class Terms(Record):
    """How a budget is kept around calls: whose *prices*, what if one is *unknown*, how the worst case is found."""

    budget: Budget
    prices: Pricing
    unknown: Literal["refuse", "allow"] = "refuse"
    worst_case: Any = None
    estimate: Callable[[Ask], int | None] = estimated

    def around(self, make_plan: Callable[[], Plan[T]], name: str) -> Plan[T]:  # noqa: ARG002  # each call has its own
        """What *make_plan*'s plan gives, each model call in it, or in runs that it starts, under the budget."""
        run = AgentRun() if self.budget.per == "run" else None
        outer = current()
        layer: Layer = {Step: lambda effect, where: self._on_step(effect, where, run)}
        token = enter(evolve(outer, layers=(*outer.layers, layer)))
        try:
            return (yield from self._watched(make_plan(), run))
        finally:
            leave(token)

    def _watched(self, plan: Plan[T], run: Any) -> Plan[T]:
        """*plan*, with the calls of models in it, in its steps and in what it starts, under the budget."""

        def on_step(effect: Step[Any], where: Where) -> Plan[Any]:
            if effect.kind != "model":
                make = effect.make_plan
                effect = evolve(effect, make_plan=lambda: self._watched(make(), run))
            return (yield from self._on_step(effect, where, run))

        def on_start(effect: Start[Any], _: Where) -> Plan[Any]:
            return (yield from evolve(effect, plan=self._watched(effect.plan, run)))

        return intercept(plan, {Step: on_step, Start: on_start})

    def _on_step(self, effect: Step[Any], _where: Where, run: Any) -> Plan[Any]:
        if effect.kind != "model" or not isinstance(effect.input, Ask):
            return (yield from effect)
        made = effect.make_plan
        if isinstance(made, Asked):
            return (yield from evolve(effect, make_plan=evolve(made, model=Budgeted(made.model, self, run))))
        return (yield from self.kept(effect.name, effect.input, lambda: iter(effect), effect.name, run))

    def kept(
        self, model: Any, ask: Ask, make_plan: Callable[[], Plan[Response]], name: str, run: Any = None
    ) -> Plan[Response]:
        """The answer of the plan that *make_plan* makes, if the budget has what that needs at worst."""
        at = yield from Now()
        held = yield from self._held(at, run)
        hold = Hold(lambda ticket: self._reserved(ticket, held, model, ask, at, name))
        try:
            yield from hold.begin()
            try:
                response = yield from tried(make_plan(), hold, lambda: self._settled(hold, held, name))
            except Exception as error:
                hold.real = self._of_broken(error, hold, model, at)
                yield from self._settled(hold, held, name)
                raise
            hold.real = self._of(response, hold.real, model, at)
            yield from self._settled(hold, held, name)
            return response
        finally:
            self.budget.ledger.abandon(hold.ticket, hold.real)  # of a cancelled call, the worst; else it is settled

    def _held(self, at: float, run: Any) -> Plan[Held]:
        budget = self.budget
        tag = str(current().tags.get(budget.by_tag, "")) if budget.by_tag else ""
        if budget.per == "run" and run is None:
            run = (yield from Here()).run
        return Held((int(at // _DAY) if budget.per == "day" else 0, tag), run if budget.per == "run" else None)

    def _reserved(self, ticket: Ticket, held: Held, model: Any, ask: Ask, at: float, name: str) -> Plan[Spend]:
        """Reserve the worst case, which is the answer; refuse when there is not enough left."""
        budget, wanted = self.budget, self._worst(model, ask, at)
        if isinstance(wanted, str):
            yield from self._refused(held, None, None, name, wanted)
        else:

            def reserve() -> tuple[Spend, Spend] | None:
                return budget.ledger.reserve(ticket, held.key, held.run, wanted, budget.most)

            refused = yield from asking(budget.ledger, reserve)
            if refused is None:
                return wanted
            left, spent = refused
            if budget.fits(wanted):  # else the call is too large, and the budget not used up
                full = frozenset([each for each in budget.thresholds if each >= 1])
                yield from self._alerted(held, spent, full, name)
            why = f"{_said(wanted, budget)} may be needed, and {_said(left, budget)} is left"
            yield from self._refused(held, wanted, left, name, why)
        raise AssertionError("a refusal raises")  # pragma: no cover

    def _worst(self, model: Any, ask: Ask, at: float) -> Spend | str:
        """The most that the call may use, or why nobody knows."""
        given = _worst_case(self.worst_case(ask)) if callable(self.worst_case) else self.worst_case
        if isinstance(given, Usage):
            given = Spend(given.total_tokens, cost(given, model, self.prices, at=at))
        if given is None:
            went_in = _counted(self.estimate(ask))
            if went_in is None:
                return "nobody knows how much a file with only an address holds: pass estimate= or worst_case="
            if field := unseen(model, ask):
                return f"nobody knows how much {field} in extra= brings along: pass worst_case="
            given = worst(model, ask, went_in, self.prices, at)
            if given is None:
                return "nothing bounds the answer: set max_tokens= of the model, or pass worst_case="
        if given.money is None and self.budget.money is not None:
            if self.unknown == "refuse":
                return "nobody knows its price: pass prices=, install the extra 'prices', or pass unknown='allow'"
            given = Spend(given.tokens)
        return given

    def _refused(self, held: Held, wanted: Spend | None, left: Spend | None, name: str, why: str) -> Plan[NoReturn]:
        of_whom = f" of {held.tag!r}" if held.tag else ""
        words = f"{self.budget.name}{of_whom} refuses to ask {name}: {why}"
        yield from Emit(
            (Notice("budget", name, words, {"budget": self.budget.name, "tag": held.tag, "refused": True}),)
        )
        raise OverBudget(words, wanted=wanted, left=left)

    def _settled(self, hold: Hold, held: Held, name: str) -> Plan[None]:
        ticket, real = hold.ticket, hold.real

        def settle() -> Spend:
            return self.budget.ledger.settle(ticket, real)

        spent = yield from asking(self.budget.ledger, settle)
        if reached := self.budget.reached(spent):
            yield from self._alerted(held, spent, reached, name)

    def _alerted(self, held: Held, spent: Spend, reached: frozenset[float], name: str) -> Plan[None]:
        """Tell of those thresholds of which nobody was told; an alert that fails takes no answer away."""
        budget = self.budget

        def tell() -> tuple[float, ...]:
            return budget.ledger.tell(held.key, held.run, reached)

        left = deque((yield from asking(budget.ledger, tell)))
        try:
            while left:
                yield from self._alert(held, spent, left[0], name)
                left.popleft()
        finally:
            if left and budget.ledger.in_memory:  # the call was cancelled: the next one tells
                budget.ledger.untell(held.key, held.run, frozenset(left))

    def _alert(self, held: Held, spent: Spend, threshold: float, name: str) -> Plan[None]:
        budget = self.budget
        words = f"{budget.name}: {threshold:.0%} reached, {_said(spent, budget)} of {_said(budget.most, budget)}"
        data: Mapping[str, Any] = {"budget": budget.name, "tag": held.tag, "threshold": threshold}
        yield from Emit((Notice("budget", name, words, data),))
        if budget.alert is not None:
            try:
                yield from Call(_telling(budget.alert, Alert(budget.name, threshold, spent, held.tag)))
            except Exception as error:  # noqa: BLE001  # whatever their function does
                failed = f"{budget.name}: its alert failed: {type(error).__name__}"
                yield from Emit((Notice("budget", name, failed, {"budget": budget.name}),))

    def _of(self, response: Response, wanted: Spend, model: Any, at: float) -> Spend:
        """What *response* used; of what it does not say, the worst."""
        usage, money = response.usage, cost(response, model, self.prices, at=at)
        if money is None and self.budget.money is not None:
            money = wanted.money
        tokens = max(usage.total_tokens, usage.input_tokens + usage.output_tokens) if usage.reported else wanted.tokens
        return Spend(tokens, money)

    def _of_broken(self, error: Exception, hold: Hold, model: Any, at: float) -> Spend:
        """What a call used that failed: nothing if it was refused, what it says that it used, else the worst."""
        wanted = hold.real
        if isinstance(error, _UNSENT):
            return wanted if hold.lost else Spend()  # of a fallback, another one may have been asked before
        status = error.status if isinstance(error, ProviderError) else None
        partial = error.partial if isinstance(error, ArshaiError) else None
        if isinstance(partial, Response) and partial.usage.reported and partial.usage.output_tokens:
            return self._of(partial, wanted, model, at)
        refused = (status is not None and refuses(status)) or (isinstance(error, Unreachable) and not error.sent)
        return Spend() if refused and partial is None else wanted


def _telling(alert: Callable[[Alert], Any], told: Alert) -> Callable[[], Any]:
    """*alert*, told so; it is part of keeping count, for which there is time also when a deadline has passed."""

    async def alerting() -> Any:
        return await alert(told)

    return alerting if is_async(alert) else lambda: alert(told)


def _worst_case(value: Any) -> Spend | Usage:
    if not isinstance(value, Spend | Usage):
        raise Misuse(f"worst_case= answers a Spend or a Usage, not {type(value).__name__}")
    return value


def _counted(size: Any) -> int | None:
    if size is not None and (type(size) is not int or size < 0):
        raise Misuse(f"estimate= answers a number of tokens from 0, or None, not {size!r}")
    return size


def _said(spend: Spend, budget: Budget) -> str:
    """*spend* in the units of *budget*.

    >>> _said(Spend(1200, "0.5"), Budget(tokens=5000, money=1))
    '1,200 tokens and 0.5 US dollars'
    """
    tokens = [f"{spend.tokens:,} tokens"] if budget.tokens is not None else []
    money = [f"{spend.money.normalize():f} US dollars"] if budget.money is not None and spend.money is not None else []
    return " and ".join([*tokens, *money])


@frozen(eq=False, repr=False)
class Budgeted(Around):
    """A model that is asked only as far as a budget allows."""

    terms: Terms
    run: Any = None

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The answer of the model; `OverBudget` when its worst case does not fit into what is left."""
        return self.terms.kept(self.model, ask, lambda: self.model.ask(ask, stream=stream), self.name, self.run)


def budgeted(
    model_or_agent: Any,
    budget: Budget,
    *,
    prices: Pricing | None = None,
    unknown: Literal["refuse", "allow"] = "refuse",
    worst_case: WorstCase | None = None,
    estimate: Callable[[Ask], int | None] = estimated,
) -> Any:
    """*model_or_agent*, whose calls are made only as far as *budget* allows; around an agent, all model calls in it.

    Before a call its worst case is reserved: what goes in by *estimate*, what comes out by `max_tokens`, in money by
    *prices* (see `arshai_kit.cost`). What does not fit is refused with `OverBudget`, and so is what nothing bounds or
    nobody knows the price of, unless *worst_case* says it (a `Spend`, a `Usage` or a function of the `Ask`) or
    `unknown="allow"` counts such calls by what the provider says that they cost.
    """
    if not isinstance(budget, Budget):
        raise Misuse(f"budgeted takes a Budget(money=…, tokens=…), not {type(budget).__name__}")
    if unknown not in ("refuse", "allow"):
        raise Misuse(f"unknown= is 'refuse' or 'allow', not {unknown!r}")
    if not (worst_case is None or callable(worst_case) or isinstance(worst_case, Spend | Usage)):
        raise Misuse(f"worst_case= is a Spend, a Usage, or a function of the Ask, not {type(worst_case).__name__}")
    if not callable(estimate):
        raise Misuse(f"estimate= is a function of the Ask, not {type(estimate).__name__}")
    terms = Terms(budget, known(prices), unknown, worst_case, estimate)
    inner = wrappable(model_or_agent, "budgeted")
    if budget in _kept_in(inner):
        raise Misuse(f"{named(inner)} is asked under this budget already: its calls would count twice")
    return Budgeted(inner, terms) if is_model(inner) else AgentAround(inner, terms)


def _kept_in(value: Any) -> Iterator[Budget]:
    """The budgets that *value*, a model or an agent, has around it, or around those that it asks."""
    terms = getattr(value, "terms", None) or getattr(value, "policy", None)
    if isinstance(terms, Terms):
        yield terms.budget
    for inner in (getattr(value, "model", None), getattr(value, "agent", None), *getattr(value, "models", ())):
        if is_model(inner) or isinstance(value, AgentAround):
            yield from _kept_in(inner)
