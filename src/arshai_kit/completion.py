"""Ask a model once, until it has what it needs, or for a typed value; as a whole or told as it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Emit, Handle, Here, Join, Owner, Plan, Request, Start, Step
from arshai_kit.effects import call as calling
from arshai_kit.errors import ArshaiError, BadAnswer, Exhausted, Misuse, ServerFailed
from arshai_kit.faces import blocking, streaming
from arshai_kit.models import UNFINISHED, Ask, Asked, Hearing, Model, Prompt, is_model, thread, written
from arshai_kit.output import Mode, Wanted, wanted
from arshai_kit.records import (
    Event,
    Finished,
    Message,
    Response,
    ToolCall,
    ToolCallDelta,
    ToolRun,
    Usage,
    assistant,
    tool_result,
    user,
)
from arshai_kit.records import (
    system as system_message,
)
from arshai_kit.tools import Toolbox, ToolLike, answered, toolbox

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["complete", "extract", "request", "run", "run_tools", "stream"]

T = TypeVar("T")

_SIDE_BY_SIDE = 8
_LIMITS = {"max_rounds": 10, "max_tool_calls": None, "side_by_side": _SIDE_BY_SIDE, "eager": False}
"""How far a run may go when nobody says; an agent is told only what somebody said."""


@blocking
def complete(
    model: Model,
    prompt: Prompt,
    *,
    system: str | None = None,
    tools: Iterable[ToolLike] = (),
    output: Any = None,
) -> Plan[Response]:
    """Ask *model* once.

    *prompt* is a string, a message, a response, or a sequence of these; a response stands for the messages that its
    run added. Calls of *tools* are handed over, not answered. With an *output* type, `Response.output` has that type.

    Raises what the provider raises (`ProviderError`), and `BadAnswer` when the answer does not fit *output*.
    """
    ask = Ask(_conversation(model, prompt, system), _specs(toolbox(tools)))
    return (yield from _asked(model, ask, wanted(output)))


@blocking
def run_tools(
    model: Model,
    prompt: Prompt,
    tools: Iterable[ToolLike],
    *,
    system: str | None = None,
    output: Any = None,
    max_rounds: int = 10,
    max_tool_calls: int | None = None,
    side_by_side: int = _SIDE_BY_SIDE,
    eager: bool = False,
) -> Plan[Response]:
    """Ask *model*, answer the tools that it calls, and ask again, until it calls no more.

    Every request to the model is one of *max_rounds*. The calls of a round run at the same time, at most
    *side_by_side* of them, and their results go back in the order of the calls. With *eager*, a call that is complete
    starts while the reply still streams. Running out raises `Exhausted`, with everything so far in `partial`.
    """
    loop = Loop(model, toolbox(tools), wanted(output), max_rounds, max_tool_calls, side_by_side, eager)
    return (yield from loop.run(_conversation(model, prompt, system)))


@streaming
def stream(
    model: Any,
    prompt: Prompt,
    *args: Any,
    system: str | None = None,
    tools: Iterable[ToolLike] = (),
    output: Any = None,
    max_rounds: int = 10,
    max_tool_calls: int | None = None,
    side_by_side: int = _SIDE_BY_SIDE,
    eager: bool = False,
    **kwargs: Any,
) -> Plan[Response]:
    """What `complete` or (given tools that can be run) `run_tools` does, told as events, `Finished` last.

    *model* may be an agent, any function from a prompt to an answer: it gets *prompt*, *args* and *kwargs*.
    """
    box = toolbox(tools)
    limits = (max_rounds, max_tool_calls, side_by_side, eager)
    if not is_model(model):
        given = {"system": system, "output": output, "tools": tuple(box.values()) or None}
        given |= {name: value for name, value in zip(_LIMITS, limits, strict=True) if value != _LIMITS[name]}
        kwargs |= {name: value for name, value in given.items() if value is not None}
        response = as_response((yield from calling(_runnable(model), prompt, *args, **kwargs)))
    elif args or kwargs:
        raise Misuse(
            f"a model takes no {', '.join(kwargs) or 'further arguments'}; evolve(model, …) changes its settings"
        )
    else:
        loop = Loop(model, box, wanted(output), *limits)
        response = yield from loop.run(_conversation(model, prompt, system))
    yield from Emit((Finished(response),))
    return response


@blocking
def extract(
    model: Model,
    prompt: Prompt,
    output: TypeForm[T],
    *,
    system: str | None = None,
    corrections: int = 1,
) -> Plan[T]:
    """The value of the type *output* that *model* finds in *prompt*.

    *output* is an attrs class, a dataclass, a TypedDict, a pydantic model, a `Literal`, a union, or a list of these.

    An answer that does not fit is given back to the model with what is wrong, *corrections* times; then `BadAnswer`
    is raised, holding the text and the path of what did not fit.
    """
    said, want, total = _conversation(model, prompt, system), wanted(output), Total()
    if want is None:
        raise Misuse("extract takes the type of the answer: a class, a list of one, a Literal, a union")
    while True:
        try:
            return (yield from _asked(model, Ask((*said, *total.messages)), want)).output  # type: ignore[no-any-return]  # of type T
        except BadAnswer as error:
            last = error.partial
            if not isinstance(last, Response):
                raise
            runs = tuple([ToolRun(call, str(error), str(error)) for call in last.tool_calls])
            error.partial = total.broken(last, runs)
            if corrections <= 0 or last.finish_reason in UNFINISHED:
                raise
            corrections -= 1
            total = total.plus(last, runs).saying(user(f"That does not fit: {error}. Answer again. {want.wish()}"))
        except ArshaiError as error:
            error.partial = total.broken(error.partial)
            raise


def request(
    model: Any,
    prompt: Prompt,
    *,
    system: str | None = None,
    tools: Iterable[ToolLike] = (),
    output: Any = None,
    stream: bool = False,
) -> Request:
    """The HTTP request that `complete` or `stream` would send, without sending it; keys do not show."""
    messages = _conversation(model, prompt, system)
    if not hasattr(model, "dialect"):
        raise Misuse(f"{type(model).__name__} {model.name!r} sends no HTTP request of its own")
    want, ask = wanted(output), Ask(messages, _specs(toolbox(tools)))
    ask = ask if want is None else want.asked(ask, want.modes(model, ask)[0])
    return model.dialect.build(model, ask, stream)  # type: ignore[no-any-return]  # what has a dialect is an Endpoint


@blocking
def run(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Plan[Any]:
    """Run *function*, an agent or any other function, sync or async, as part of a run of ours."""
    return (yield from calling(_runnable(function), *args, **kwargs))


# One question


def _asked(model: Model, ask: Ask, want: Wanted | None, *hearing: Hearing) -> Plan[Response]:
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
    here = yield from Here()
    response = yield from Step("model", model.name, ask, Asked(model, ask, hearing if here.listening else None))
    ids = {call.id for call in response.tool_calls}
    return response if len(ids - {""}) == len(response.tool_calls) else _identified(response, ask)


def _identified(response: Response, ask: Ask) -> Response:
    """*response*, every call in it with an id of its own, or a result could not be paired with its call."""
    said, calls = response.message, response.tool_calls
    ids = [call.id for call in calls]
    own = [evolve(call, id="") if call.id in ids[:place] else call for place, call in enumerate(calls)]
    named = iter([_named(call, ask, place) for place, call in enumerate(own)])
    parts = tuple([next(named) if isinstance(part, ToolCall) else part for part in said.parts])
    messages = [evolve(said, parts=parts) if each is said else each for each in response.messages]
    return evolve(response, messages=tuple(messages))


def _named(call: ToolCall, ask: Ask, place: int) -> ToolCall:
    """*call*, with an id that no other of its conversation has, if the provider gave none."""
    turn = sum(message.role != "system" for message in ask.messages)
    return call if call.id else evolve(call, id=f"call_{turn}_{place}")


def _conversation(model: Any, prompt: Prompt, system: str | None) -> tuple[Message, ...]:
    if not is_model(model):
        raise Misuse(f"the first argument is a model, as openai_compatible(…) makes one, not {_shown(model)}")
    messages = thread(prompt)
    if not any(_says(part) for message in messages for part in message.parts):
        raise Misuse("the prompt is empty: there is nothing to answer")
    return (system_message(system), *messages) if system else messages


def _says(part: Any) -> bool:
    return bool(str(getattr(part, "text", "something")).strip())


def _runnable(function: Any) -> Any:
    """*function*, if it can be called."""
    if is_model(function) or not (callable(function) or hasattr(function, "plan")):
        raise Misuse(f"an agent is a function from a prompt to an answer, not {_shown(function)}")
    return function


def _shown(value: Any) -> str:
    return f"{value!r:.80}" if isinstance(value, str) else type(value).__name__


def _specs(box: Toolbox) -> tuple[Any, ...]:
    return tuple([tool.spec for tool in box.values()])


def as_response(value: Any) -> Response:
    """What an agent returned, as a response: a string becomes its text, any other value its `output`.

    >>> as_response("Hello").text, as_response(42).output
    ('Hello', 42)
    """
    match value:
        case Response():
            return value
        case str():
            return Response((assistant(value),))
        case None:
            return Response((assistant(),))
    return Response((assistant(str(value)),), output=value)


# Many questions


@frozen(eq=False, repr=False)
class Loop(Record):
    """How a model and its tools go on together."""

    model: Model
    box: Toolbox
    want: Wanted | None
    max_rounds: int
    max_tool_calls: int | None
    side_by_side: int
    eager: bool

    def run(self, said: tuple[Message, ...]) -> Plan[Response]:
        """Ask, answer calls, and ask again, until no call is left to answer."""
        if self.max_rounds < 1 or self.side_by_side < 1:
            raise Misuse("max_rounds= and side_by_side= must be at least 1")
        if self.max_tool_calls is not None and self.max_tool_calls < 0:
            raise Misuse("max_tool_calls= is a number from 0, or None for no limit")
        here, total = (yield from Here()), Total()
        for number in range(self.max_rounds):
            turn = Turn(self, here, number, Ask((*said, *total.messages), _specs(self.box)), len(total.runs))
            try:
                response = yield from turn.reply()
                runs = yield from turn.answers(response)
            except ArshaiError as error:
                error.partial = yield from turn.broken(total, error.partial)
                raise
            total = total.plus(response, runs)
            if not response.tool_calls or len(runs) < len(response.tool_calls) or turn.was_cut(response):
                return total.response(response)
            if self.max_tool_calls is not None and len(total.runs) > self.max_tool_calls:
                raise Exhausted(f"more than {self.max_tool_calls} tool calls", partial=total.response(response))
        raise Exhausted(f"no final answer in {self.max_rounds} rounds", partial=total.response(response))


class Turn:
    """One question of a loop, and the answers to the calls in its reply: what has been started is not run again."""

    def __init__(self, loop: Loop, here: Owner, number: int, ask: Ask, before: int) -> None:
        self.loop, self.here, self.number, self.ask = loop, here, number, ask
        self.left = float("inf") if loop.max_tool_calls is None else loop.max_tool_calls - before
        self.response: Response | None = None
        self.started: dict[Any, tuple[ToolCall, Handle[ToolRun]]] = {}
        self.closed: dict[Any, list[int]] = {}  # the indexes of the calls that a stream has closed, for each kind

    def reply(self) -> Plan[Response]:
        """What the model answers."""
        eager = self.loop.eager or any(tool.eager for tool in self.loop.box.values())
        hearing = (self.hear,) if eager else ()
        self.response = yield from _asked(self.loop.model, self.ask, self.loop.want, *hearing)
        return self.response

    def hear(self, events: tuple[Event, ...]) -> Plan[None]:
        """Tell *events* on, and start each call that they close, while the stream goes on."""
        yield from Emit(events)
        for event in events:
            if type(event) is ToolCallDelta and event.call is not None and self.may_start(event.index, event.call):
                call = _named(event.call, self.ask, event.index)
                indexes = self.closed.setdefault(_kind(call), [])
                if event.index not in indexes:  # else it is the same call of a stream that began anew
                    indexes.append(event.index)
                yield from self.start(call, indexes.index(event.index))

    def may_start(self, index: int, call: ToolCall) -> bool:
        """Whether *call* may run while the reply is still coming."""
        found = self.loop.box.get(call.name)
        fits = found is not None and found.function is not None and (self.loop.eager or found.eager)
        return fits and call.broken is None and index < self.left

    def start(self, call: ToolCall, count: int) -> Plan[Handle[ToolRun]]:
        """Start *call*, *count* of whose kind came before; its id is no part of its name: it is another each time."""
        key = (self.number, count, *_kind(call))
        if key not in self.started:
            plan = answered(call, self.loop.box)
            self.started[key] = call, (yield from Start(plan, key, self.here, self.loop.side_by_side))
        return self.started[key][1]

    def answers(self, response: Response, broken: str = "") -> Plan[tuple[ToolRun, ...]]:
        """The answers to the calls of *response*, in their order; *broken* says why no more are started."""
        begun: list[tuple[ToolCall, Handle[ToolRun] | str]] = []
        counts: dict[Any, int] = {}
        for place, call in enumerate(response.tool_calls):
            kind = _kind(call)
            counts[kind] = count = counts.get(kind, -1) + 1
            if (self.number, count, *kind) in self.started:
                begun.append((call, self.started[self.number, count, *kind][1]))
            elif refused := broken or self.refused(response, call, place):
                begun.append((call, refused))
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
        return ""

    def is_handed_over(self, call: ToolCall) -> bool:
        """Whether *call* is for whoever asked to answer."""
        found = self.loop.box.get(call.name)
        return not self.loop.box if found is None else found.function is None

    def was_cut(self, response: Response) -> bool:
        """Whether *response* was cut off or blocked: it asks for nothing then."""
        return response.finish_reason in UNFINISHED

    def broken(self, total: Total, partial: Any) -> Plan[Response | None]:
        """What there was when this turn failed: no call is left without its result, and what ran is not lost."""
        last = self.response or partial
        if not isinstance(last, Response) and self.started:
            last = Response((assistant(*[call for call, _ in self.started.values()]),), "error")
        runs = () if last is None else (yield from self.answers(last, "not run: the run broke off"))
        return total.broken(last, runs)


def _kind(call: ToolCall) -> tuple[str, str]:
    """What tells a call from the others of its turn."""
    return call.name, written(call)


def _ran(call: ToolCall, run: Handle[ToolRun] | str, *, safe: bool) -> ToolRun:
    """How *call* ended; an error that ends the run is raised, or told when it is *safe*: it has been raised before."""
    if isinstance(run, Handle) and run.outcome is not None and not (safe and run.outcome.error):
        ran = run.outcome.unwrap()
        return ran if ran.call is call else evolve(ran, call=call)
    told = run if isinstance(run, str) else f"not finished: {run.outcome}"
    return ToolRun(call, told, told)


@frozen(eq=False, repr=False)
class Total(Record):
    """What a run has added so far."""

    messages: tuple[Message, ...] = ()
    usage: Usage = field(factory=Usage)
    cost: Any = 0
    runs: tuple[ToolRun, ...] = ()

    def plus(self, response: Response, runs: tuple[ToolRun, ...] = ()) -> Total:
        """With one more answer of the model, and the answers to its calls."""
        cost = None if self.cost is None or response.cost is None else self.cost + response.cost
        told = [tool_result(run.call, run.result, is_error=run.error is not None) for run in runs]
        messages = (*self.messages, *response.messages, *told)
        return Total(messages, self.usage + response.usage, cost, (*self.runs, *runs))

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
