"""How a model and its tools go on together: questions, calls and their answers, until no call is left to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.approvals import asking, carried_out, runnable
from arshai_kit.effects import Emit, Handle, Here, Join, Owner, Plan, Random, Start, Step
from arshai_kit.errors import ApprovalNeeded, ArshaiError, Exhausted, Misuse, RestartRefused, ServerFailed
from arshai_kit.models import UNFINISHED, Ask, Asked, Hearing, Model, written
from arshai_kit.output import Mode, Wanted
from arshai_kit.records import (
    Event,
    Message,
    Notice,
    Paused,
    Response,
    ToolCall,
    ToolCallDelta,
    ToolRun,
    Usage,
    assistant,
    tool_result,
)
from arshai_kit.tools import Toolbox

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["Loop", "Resumed", "Total", "asked", "specs"]


_WAITING: Final = frozenset({"queued", "in_progress"})
"""What providers that work in the background say of a response that is none yet."""
_UNFINISHED: Final = "not finished: the run ended first"
"""What a model is told of a call that ended the run, should the run go on: not why, for that is not its business."""


# One question


def asked(model: Model, ask: Ask, want: Wanted | None, *hearing: Hearing) -> Plan[Response]:
    """One answer of *model*, typed if a type is wanted; a way of asking that it refuses gives way to the next."""
    if want is None:
        return (yield from _step(model, ask, *hearing))
    refusals: list[ArshaiError] = []
    for mode in want.modes(model, ask):
        try:
            return (yield from _typed(model, ask, want, mode, *hearing))
        except ArshaiError as error:
            if not want.is_refused(error):
                raise
            refusals.append(error)
            if sum(isinstance(each, ServerFailed) for each in refusals) > 1:
                break  # that is no refusal: the server is down
    raise refusals[0]


def _typed(model: Model, ask: Ask, want: Wanted, mode: Mode, *hearing: Hearing) -> Plan[Response]:
    return want.typed((yield from _step(model, want.asked(ask, mode), want.hearing(ask, mode), *hearing)), ask, mode)


def _step(model: Model, ask: Ask, *hearing: Hearing) -> Plan[Response]:
    """The answer of *model*; when somebody listens, *hearing* hears what it tells, the first of them first."""
    here, naming = (yield from Here()), _Naming(ask)
    named = (naming.hear,) if ask.tools else ()  # nobody calls what is not offered, and words pass faster without
    heard = (*named, *hearing) if here.listening else None
    try:
        response = yield from Step("model", model.name, ask, Asked(model, ask, heard))
    except ArshaiError as error:
        if isinstance(error.partial, Response):
            error.partial = naming.named(error.partial)
        raise
    return naming.named(response)


class _Naming:
    """Sees that every call of an answer has an id of its own, the same in what is told and in the answer.

    Without, a result could not be paired with its call. An id that is made up has nine letters and digits: the least
    that all providers take, and all that some do.
    """

    __slots__ = ("_ask", "_places", "_told")

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._places: dict[str, int] = {}  # whose each id is
        self._told: dict[int, tuple[ToolCall, ToolCall]] = {}  # as each call came, and with which id it was told

    def hear(self, events: tuple[Event, ...]) -> Plan[None]:
        """Tell *events*, their calls with the ids that the answer has."""
        told = list(events)
        for at, event in enumerate(events):
            if type(event) is Notice and event.kind == "restarted":
                self._places.clear()
                self._told.clear()
            elif type(event) is ToolCallDelta and event.call is not None:
                call = self._called(event.call, event.index)
                self._told[event.index] = event.call, call
                told[at] = event if call is event.call else evolve(event, call=call)
        yield from Emit(tuple(told))

    def named(self, response: Response) -> Response:
        """*response*, every call in it with an id of its own."""
        calls = response.tool_calls
        if len({call.id for call in calls} - {""}) == len(calls):
            return response
        left = [self._told[index] for index in sorted(self._told)]  # of one that was cut, some may be lacking
        own = []
        for place, call in enumerate(calls):
            at = next((at for at, (came, _) in enumerate(left) if came == call), None)
            own.append(self._called(call, place) if at is None else left.pop(at)[1])
        said, named = response.message, iter(own)
        parts = tuple([next(named) if isinstance(part, ToolCall) else part for part in said.parts])
        messages = [evolve(said, parts=parts) if each is said else each for each in response.messages]
        return evolve(response, messages=tuple(messages))

    def _called(self, call: ToolCall, place: int) -> ToolCall:
        """*call*, with an id of its own if it has none, or that of another *place*."""
        key, number = call.id, 0
        while not key or self._places.setdefault(key, place) != place:
            turn = sum(message.role != "system" for message in self._ask.messages) + number
            key, number = f"call{turn:03}{place:02}", number + 1
        return call if key == call.id else evolve(call, id=key)


def specs(box: Toolbox) -> tuple[Any, ...]:
    """The tools of *box*, as a model sees them."""
    return tuple([tool.spec for tool in box.values()])


# Many questions


@frozen(eq=False, repr=False)
class Resumed(Record):
    """A run that was *paused*, and what has been *decided* about its calls, by their ids."""

    paused: Paused
    decided: Mapping[str, ToolCall | str]


@frozen(eq=False, repr=False)
class Loop(Record):
    """How a model and its tools go on together; a call that *waits* for a decision ends it by `ApprovalNeeded`."""

    model: Model
    box: Toolbox
    want: Wanted | None
    max_rounds: int
    max_tool_calls: int | None
    side_by_side: int
    eager: bool
    max_total_tokens: int | None = None
    max_cost: Decimal | float | str | None = None
    waits: Callable[[ToolCall], bool] | None = None

    def run(self, said: tuple[Message, ...], resumed: Resumed | None = None) -> Plan[Response]:
        """Ask, answer calls, and ask again, until no call is left to answer; a *resumed* one begins in the middle."""
        most = self.checked()
        here, total, first = (yield from Here()), Total.until(resumed), 0 if resumed is None else resumed.paused.round
        for number in range(first, max(self.max_rounds, first + 1)):
            turn = Turn(self, here, number, Ask((*said, *total.messages), specs(self.box)), len(total.runs), resumed)
            resumed = None
            try:
                response = yield from turn.reply()
                runs = yield from turn.answers(response)
                if turn.waiting:
                    raise (yield from turn.paused(said, total, runs))
            except ArshaiError as error:
                error.partial = yield from turn.broken(total, error.partial)
                raise
            total = total.plus(response, runs)
            if len(runs) < len(response.tool_calls) or turn.is_last(response, runs):
                return total.response(response)
            if bound := self.reached(total, most):
                raise Exhausted(bound[1], bound=bound[0], partial=total.response(response))
        why = f"no final answer in {self.max_rounds} rounds"
        raise Exhausted(why, bound="max_rounds", partial=total.response(response))

    def checked(self) -> Decimal | None:
        """The most that the run may cost, exactly; bounds that bound nothing are refused."""
        for name in ("max_rounds", "side_by_side"):
            most = getattr(self, name)
            if not isinstance(most, int) or most < 1:
                raise Misuse(f"{name}= is a whole number and must be at least 1, not {most!r}")
        for name in ("max_tool_calls", "max_total_tokens"):
            most = getattr(self, name)
            if most is not None and not (isinstance(most, int | float) and most >= 0):
                raise Misuse(f"{name}= is a number from 0, or None for no limit")
        return None if self.max_cost is None else _dollars(self.max_cost)

    def reached(self, total: Total, most: Decimal | None) -> tuple[str, str] | None:
        """The bound that lets no further round begin, and why; a count that nobody knows bounds nothing."""
        calls, tokens = self.max_tool_calls, self.max_total_tokens
        if calls is not None and len(total.runs) > calls:
            return "max_tool_calls", f"more than {calls} tool calls"
        if tokens is not None and not total.usage.reported:
            return "max_total_tokens", f"max_total_tokens={tokens}, but the provider does not say how many it used"
        if tokens is not None and total.usage.total_tokens >= tokens:
            return "max_total_tokens", f"{total.usage.total_tokens:,} of {tokens:,} tokens used, and no final answer"
        if most is not None and total.cost is None:
            why = "but nobody knows what a reply cost: arshai_kit.cost.priced(model, …) tells"
            return "max_cost", f"max_cost={most}, {why}"
        if most is not None and total.cost >= most:
            return "max_cost", f"{total.cost} of {most} US dollars spent, and no final answer"
        return None


class Turn:
    """One question of a loop, and the answers to the calls in its reply: what has been started is not run again."""

    def __init__(
        self, loop: Loop, here: Owner, number: int, ask: Ask, before: int, resumed: Resumed | None = None
    ) -> None:
        self.loop, self.here, self.number, self.ask = loop, here, number, ask
        self.left = float("inf") if loop.max_tool_calls is None else loop.max_tool_calls - before
        self.response: Response | None = None if resumed is None else resumed.paused.reply
        self.decided = {} if resumed is None else resumed.decided
        self.done = {} if resumed is None else {run.call.id: run for run in resumed.paused.runs}
        self.waiting: tuple[ToolCall, ...] = ()
        self.started: dict[Any, tuple[ToolCall, Handle[ToolRun]]] = {}
        self.closed: dict[Any, list[int]] = {}  # the indexes of the calls that a stream has closed, for each kind

    def reply(self) -> Plan[Response]:
        """What the model answers."""
        if self.response is not None:
            return self.response
        eager = self.loop.eager or any(tool.eager for tool in self.loop.box.values())
        hearing = (self.hear,) if eager and self.here.early and self.loop.waits is None else ()
        self.response = yield from asked(self.loop.model, self.ask, self.loop.want, *hearing)
        return self.response

    def hear(self, events: tuple[Event, ...]) -> Plan[None]:
        """Tell *events* on, and start each call that they close, while the stream goes on."""
        if self.started and any(type(event) is Notice and event.kind == "restarted" for event in events):
            raise RestartRefused("tools had been called while it answered")
        yield from Emit(events)
        for event in events:
            if type(event) is ToolCallDelta and event.call is not None and self.may_start(event.index, event.call):
                indexes = self.closed.setdefault(_kind(event.call), [])
                if event.index not in indexes:  # else it is the same call of a stream that began anew
                    indexes.append(event.index)
                yield from self.start(event.call, indexes.index(event.index))

    def may_start(self, index: int, call: ToolCall) -> bool:
        """Whether *call* may run while the reply is still coming."""
        found = self.loop.box.get(call.name)
        if found is None or found.function is None or found.ends:
            return False
        return (self.loop.eager or found.eager) and call.broken is None and index < self.left

    def start(self, call: ToolCall, count: int) -> Plan[Handle[ToolRun]]:
        """Start *call*, *count* of whose kind came before; its id is no part of its name: it is another each time."""
        key = (self.number, count, *_kind(call))
        if key not in self.started:
            decision = self.decided.get(call.id, call)
            plan = carried_out(call, decision, self.loop.box)
            self.started[key] = call, (yield from Start(plan, key, self.here, self.loop.side_by_side))
        return self.started[key][1]

    def answers(self, response: Response, broken: str = "") -> Plan[tuple[ToolRun, ...]]:
        """The answers to the calls of *response*, in their order; *broken* says why no more are started."""
        begun: list[tuple[ToolCall, Handle[ToolRun] | ToolRun | str]] = []
        counts: dict[Any, int] = {}
        for place, call in enumerate(response.tool_calls):
            kind = _kind(call)
            counts[kind] = count = counts.get(kind, -1) + 1
            if (self.number, count, *kind) in self.started:
                begun.append((call, self.started[self.number, count, *kind][1]))
            elif call.id in self.done:
                begun.append((call, self.done[call.id]))
            elif refused := broken or self.refused(response, call, place):
                begun.append((call, refused))
            elif self.must_wait(call):
                self.waiting = (*self.waiting, call)
            elif not self.is_handed_over(call):
                begun.append((call, (yield from self.start(call, count))))
        yield from Join(tuple([handle for _, handle in begun if isinstance(handle, Handle)]))
        return tuple([_ran(call, run, safe=bool(broken)) for call, run in begun])

    def refused(self, response: Response, call: ToolCall, place: int) -> str:
        """Why *call* is not run, if it is not."""
        if self.is_handed_over(call):
            return ""
        if self.was_cut(response):
            return f"not run: the reply ended with {response.finish_reason!r}"
        if place >= self.left:
            return f"not run: only {self.loop.max_tool_calls} tool calls are allowed"
        if self.loop.want is not None and call.name == self.loop.want.called(self.ask):
            return "not taken: it came with calls of tools; answer again, now that you know their results"
        if self.ends(call) and any(self.ends(each) for each in response.tool_calls[:place]):
            return "not done: of such calls, the first of a reply counts"
        return ""

    def must_wait(self, call: ToolCall) -> bool:
        """Whether somebody has to decide about *call* first."""
        waits = self.loop.waits
        return waits is not None and call.id not in self.decided and runnable(call, self.loop.box) and waits(call)

    def ends(self, call: ToolCall) -> bool:
        """Whether *call*, unless it fails, is to be the last of the loop."""
        found = self.loop.box.get(call.name)
        return found is not None and found.ends

    def is_last(self, response: Response, runs: tuple[ToolRun, ...]) -> bool:
        """Whether nothing is asked after *response*, whose calls have been answered by *runs*."""
        ended = any(run.error is None and self.ends(run.call) for run in runs)
        return ended or not response.tool_calls or self.was_cut(response)

    def paused(self, said: tuple[Message, ...], total: Total, runs: tuple[ToolRun, ...]) -> Plan[ApprovalNeeded]:
        """What ends a loop, asked *said*, whose calls wait for a decision; the others of this turn are done."""
        for call in self.waiting:
            yield from asking(call)
        key = f"{int((yield from Random()) * 2**53):014x}"
        names = ", ".join([repr(call.name) for call in self.waiting])
        before, reply = total.response(Response(())), self.response or Response(())
        paused = Paused("", said, before, reply, self.waiting, runs, round=self.number, id=key)
        return ApprovalNeeded(f"the run waits for a person to decide about its calls of {names}", paused=paused)

    def is_handed_over(self, call: ToolCall) -> bool:
        """Whether *call* is for whoever asked to answer."""
        found = self.loop.box.get(call.name)
        return not self.loop.box if found is None else found.function is None

    def was_cut(self, response: Response) -> bool:
        """Whether *response* was cut off or blocked, or is still in the making: it asks for nothing then."""
        waits = response.finish_reason == "other" and response.raw_finish_reason in _WAITING
        return waits or response.finish_reason in UNFINISHED

    def broken(self, total: Total, partial: Any) -> Plan[Response | None]:
        """What there was when this turn failed: no call is left without its result, and what ran is not lost."""
        last = self.response or partial
        if not isinstance(last, Response) and self.started:
            last = Response((assistant(*[call for call, _ in self.started.values()]),), "error")
        runs = () if last is None else (yield from self.answers(last, "not run: the run broke off"))
        return total.broken(last, runs)


def _dollars(money: Any) -> Decimal:
    from decimal import Decimal  # only for who bounds the cost

    try:
        most = Decimal(str(money))
    except ArithmeticError:
        most = Decimal("NaN")
    if most.is_nan() or most < 0:
        raise Misuse(f"max_cost= is a number of US dollars, or None for no limit, not {money!r}")
    return most


def _kind(call: ToolCall) -> tuple[str, str]:
    """What tells a call from the others of its turn."""
    return call.name, written(call)


def _ran(call: ToolCall, run: Handle[ToolRun] | ToolRun | str, *, safe: bool) -> ToolRun:
    """How *call* ended; an error that ends the run is raised, or told when it is *safe*: it has been raised before."""
    if isinstance(run, ToolRun):
        return run
    if isinstance(run, Handle) and run.outcome is not None and not (safe and run.outcome.error):
        ran = run.outcome.unwrap()
        if ran.call is call:
            return ran
        return evolve(ran, call=call if _kind(ran.call) == _kind(call) else evolve(ran.call, id=call.id))
    if isinstance(run, str):
        return ToolRun(call, run, run)
    error = None if run.outcome is None else run.outcome.error
    return ToolRun(call, _UNFINISHED, _UNFINISHED if error is None else repr(error))


@frozen(eq=False, repr=False)
class Total(Record):
    """What a run has added so far."""

    messages: tuple[Message, ...] = ()
    usage: Usage = field(factory=Usage)
    cost: Any = 0
    runs: tuple[ToolRun, ...] = ()

    @classmethod
    def until(cls, resumed: Resumed | None) -> Total:
        """What a run that is *resumed* had added, until the reply whose calls were to be decided."""
        if resumed is None:
            return cls()
        before = resumed.paused.before
        return cls(before.messages, before.usage, before.cost, before.tool_runs)

    def plus(self, response: Response, runs: tuple[ToolRun, ...] = ()) -> Total:
        """With one more answer of the model, and the answers to its calls, for which agents may have been asked."""
        cost = None if self.cost is None or response.cost is None else self.cost + response.cost
        usage = self.usage + response.usage
        for run in runs:
            if run.usage is not None:
                cost = None if cost is None or run.cost is None else cost + run.cost
                usage = usage + run.usage
        told = [tool_result(run.call, run.result, is_error=run.error is not None) for run in runs]
        messages = (*self.messages, *response.messages, *told)
        return Total(messages, usage, cost, (*self.runs, *runs))

    def saying(self, message: Message) -> Total:
        """With something said to the model."""
        return evolve(self, messages=(*self.messages, message))

    def response(self, last: Response) -> Response:
        """*last*, standing for the whole run."""
        return evolve(last, messages=self.messages, usage=self.usage, cost=self.cost, tool_runs=self.runs)

    def broken(self, last: Any, runs: tuple[ToolRun, ...] = ()) -> Response | None:
        """All before, and what there is of the *last* reply, if there is any: so far a run got that failed."""
        if isinstance(last, Response):
            said = [message for message in last.messages if message.parts]
            return self.plus(evolve(last, messages=said), runs).response(last)
        return self.response(Response((), "error")) if self.messages else None
