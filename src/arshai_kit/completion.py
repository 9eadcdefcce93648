"""Ask a model once, until it has what it needs, or for a typed value; as a whole or told as it happens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve, field, frozen

from arshai_kit._drive import blocking, streaming
from arshai_kit._record import Record
from arshai_kit.effects import Emit, Handle, Here, Join, Owner, Plan, Start, Step, Where, intercept
from arshai_kit.effects import call as calling
from arshai_kit.errors import ArshaiError, BadAnswer, Exhausted, Misuse
from arshai_kit.models import Ask, Model, Prompt, is_model, thread
from arshai_kit.output import Wanted, wanted
from arshai_kit.records import (
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

_ENDS_WITH_CALLS = frozenset({"tool_calls", "stop", "other"})
_SIDE_BY_SIDE = 8


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
    ask = Ask(_conversation(prompt, system), _specs(toolbox(tools)))
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
    return (yield from loop.run(_conversation(prompt, system)))


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
    if not is_model(model):
        given = {"system": system, "output": output, "tools": tuple(box.values()) or None}
        kwargs |= {name: value for name, value in given.items() if value is not None}
        response = as_response((yield from calling(model, prompt, *args, **kwargs)))
    elif args or kwargs:
        raise Misuse(
            f"a model takes no {', '.join(kwargs) or 'further arguments'}; evolve(model, …) changes its settings"
        )
    else:
        loop = Loop(model, box, wanted(output), max_rounds, max_tool_calls, side_by_side, eager)
        response = yield from loop.run(_conversation(prompt, system))
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
    messages, want = _conversation(prompt, system), wanted(output)
    while True:
        try:
            return (yield from _asked(model, Ask(messages), want)).output  # type: ignore[no-any-return]  # of type T
        except BadAnswer as error:
            if corrections <= 0 or error.partial is None:
                raise
            corrections -= 1
            messages = (
                *messages,
                *_correctable(error.partial),
                user(f"That does not fit: {error}. Answer again, correctly."),
            )


def request(
    model: Any,
    prompt: Prompt,
    *,
    system: str | None = None,
    tools: Iterable[ToolLike] = (),
    output: Any = None,
    stream: bool = False,
) -> Any:
    """The HTTP request that `complete` or `stream` would send, without sending it; keys do not show."""
    if not hasattr(model, "dialect"):
        raise Misuse(f"{type(model).__name__} {getattr(model, 'name', '')!r} sends no HTTP request of its own")
    want = wanted(output)
    ask = Ask(_conversation(prompt, system), _specs(toolbox(tools)))
    return model.dialect.build(model, ask if want is None else want.asked(ask, want.modes(model)[0]), stream)


run = blocking(calling)


# One question


def _asked(model: Model, ask: Ask, want: Wanted | None) -> Plan[Response]:
    """One answer of *model*, typed if a type is wanted; a way of asking that it refuses gives way to the next."""
    if want is None:
        return (yield from _step(model, ask))
    *rest, last = want.modes(model)
    for mode in rest:
        try:
            return want.typed((yield from want.watched(_step(model, want.asked(ask, mode)))), mode)
        except ArshaiError as error:
            if not want.is_refused(error):
                raise
    return want.typed((yield from want.watched(_step(model, want.asked(ask, last)))), last)


def _step(model: Model, ask: Ask) -> Plan[Response]:
    here = yield from Here()
    return (yield from Step("model", model.name, ask, lambda: model.ask(ask, stream=here.listening)))


def _conversation(prompt: Prompt, system: str | None) -> tuple[Message, ...]:
    messages = thread(prompt)
    if not any(part for message in messages for part in message.parts if getattr(part, "text", True)):
        raise Misuse("the prompt is empty: there is nothing to answer")
    return messages if system is None else (system_message(system), *messages)


def _specs(box: Toolbox) -> tuple[Any, ...]:
    return tuple([tool.spec for tool in box.values()])


def _correctable(response: Response) -> tuple[Message, ...]:
    """The messages of *response* in a form that can go back: no call is left without its result."""
    calls = [tool_result(call, "This does not fit.", is_error=True) for call in response.tool_calls]
    return (*response.messages, *calls)


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
        here = yield from Here()
        total, calls = Total(), 0
        for number in range(self.max_rounds):
            try:
                response = yield from self._round(here, (*said, *total.messages), number)
            except ArshaiError as error:
                error.partial = total.with_partial(error.partial)
                raise
            total = total.plus(response)
            if not self._goes_on(response):
                return total.response(response)
            runs = yield from self._answers(here, response.tool_calls, number, calls)
            calls += len(response.tool_calls)
            total = total.with_runs(runs)
            if len(runs) < len(response.tool_calls):
                return total.response(response)
            if self.max_tool_calls is not None and calls > self.max_tool_calls:
                raise Exhausted(f"more than {self.max_tool_calls} tool calls", partial=total.response(response))
        if self.max_rounds < 1:
            raise Misuse("max_rounds must be at least 1")
        raise Exhausted(f"no final answer in {self.max_rounds} rounds", partial=total.response(response))

    def _goes_on(self, response: Response) -> bool:
        """Whether there are calls that can be answered here: a reply that was cut off or blocked asks for nothing."""
        calls = response.tool_calls
        return (
            bool(calls)
            and bool(self.box)
            and response.finish_reason in _ENDS_WITH_CALLS
            and any(map(self._runs, calls))
        )

    def _runs(self, call: ToolCall) -> bool:
        found = self.box.get(call.name)
        return found is None or found.function is not None

    def _round(self, here: Owner, said: tuple[Message, ...], number: int) -> Plan[Response]:
        plan = _asked(self.model, Ask(said, _specs(self.box)), self.want)
        if not here.listening or not (self.eager or any(tool.eager for tool in self.box.values())):
            return (yield from plan)
        early: dict[Any, tuple[ToolCall, Handle[ToolRun]]] = {}
        try:
            return (yield from intercept(plan, {Emit: self._starting(here, number, early)}))
        except ArshaiError as error:
            if early:
                error.partial = yield from _with_early(error.partial, early)
            raise

    def _starting(self, here: Owner, number: int, early: dict[Any, tuple[ToolCall, Handle[ToolRun]]]) -> Any:
        """Start each call that a stream has closed, while the stream goes on."""
        seen: dict[Any, int] = {}

        def on_emit(effect: Emit, _: Where) -> Plan[None]:
            yield effect
            for event in effect.events:
                if type(event) is ToolCallDelta and event.call is not None and self._is_eager(event.call):
                    key = _key(number, event.call, seen)
                    early[key] = event.call, (yield from self._started(here, key, event.call))

        return on_emit

    def _is_eager(self, call: ToolCall) -> bool:
        found = self.box.get(call.name)
        return found is not None and found.function is not None and (self.eager or found.eager)

    def _started(self, here: Owner, key: Any, call: ToolCall) -> Plan[Handle[ToolRun]]:
        return (yield from Start(answered(call, self.box), key, here, self.side_by_side))

    def _answers(self, here: Owner, calls: tuple[ToolCall, ...], number: int, before: int) -> Plan[tuple[ToolRun, ...]]:
        """The answers to *calls*, in their order; what was started early is found again, not run again."""
        seen: dict[Any, int] = {}
        most = len(calls) if self.max_tool_calls is None else max(0, self.max_tool_calls - before)
        handles = []
        for call in calls[:most]:
            key = _key(number, call, seen)
            if self._runs(call):
                handles.append((yield from self._started(here, key, call)))
        outcomes = yield from Join(tuple(handles))
        over = f"not run: only {self.max_tool_calls} tool calls are allowed"
        return (*[outcome.unwrap() for outcome in outcomes], *[ToolRun(call, over, over) for call in calls[most:]])


def _key(number: int, call: ToolCall, seen: dict[Any, int]) -> Any:
    """What tells a call from the others of its run; never its id, which differs when the same is asked again."""
    same = (call.name, call.arguments, call.broken)
    seen[same] = seen.get(same, -1) + 1
    return (number, seen[same], *same)


def _with_early(partial: Any, early: dict[Any, tuple[ToolCall, Handle[ToolRun]]]) -> Plan[Response]:
    """*partial*, with the results of the calls that had been started before the stream broke."""
    outcomes = yield from Join(tuple([handle for _, handle in early.values()]))
    runs = tuple([outcome.unwrap() for outcome in outcomes])
    before = partial if isinstance(partial, Response) else Response((assistant(*[call for call, _ in early.values()]),))
    results = tuple([tool_result(run.call, run.result, is_error=run.error is not None) for run in runs])
    return evolve(before, messages=(*before.messages, *results), tool_runs=(*before.tool_runs, *runs))


@frozen(eq=False, repr=False)
class Total(Record):
    """What a run has added so far."""

    messages: tuple[Message, ...] = ()
    usage: Usage = field(factory=Usage)
    cost: Any = 0
    runs: tuple[ToolRun, ...] = ()

    def plus(self, response: Response) -> Total:
        """With one more answer of the model."""
        cost = None if self.cost is None or response.cost is None else self.cost + response.cost
        return Total((*self.messages, *response.messages), self.usage + response.usage, cost, self.runs)

    def with_runs(self, runs: tuple[ToolRun, ...]) -> Total:
        """With the answers to its calls."""
        told = [tool_result(run.call, run.result, is_error=run.error is not None) for run in runs]
        return evolve(self, messages=(*self.messages, *told), runs=(*self.runs, *runs))

    def response(self, last: Response) -> Response:
        """*last*, standing for the whole run."""
        return evolve(last, messages=self.messages, usage=self.usage, cost=self.cost, tool_runs=self.runs)

    def with_partial(self, partial: Any) -> Any:
        """What a failed run had: all before, and the *partial* reply if there is one."""
        if isinstance(partial, Response):
            return evolve(self.plus(partial).response(partial), tool_runs=(*self.runs, *partial.tool_runs))
        return (
            Response(self.messages, "error", None, self.usage, self.cost, tool_runs=self.runs)
            if self.messages
            else None
        )
