"""Ask a model once, until it has what it needs, or for a typed value; as a whole or told as it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import isasyncgen
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from arshai_kit._steps import AsyncSteps, Steps
from arshai_kit.effects import Call, Emit, Plan, Request, Step, no_effect
from arshai_kit.effects import call as calling
from arshai_kit.errors import ArshaiError, BadAnswer, Misuse
from arshai_kit.faces import blocking, streaming
from arshai_kit.models import UNFINISHED, Ask, Model, Prompt, is_model, thread, unanswered
from arshai_kit.output import wanted
from arshai_kit.records import Event, Finished, Message, Paused, Response, TextDelta, ToolRun, assistant, user
from arshai_kit.records import system as system_message
from arshai_kit.records.responses import spoken
from arshai_kit.rounds import Loop, Total, asked, specs
from arshai_kit.tools import ToolLike, toolbox

if TYPE_CHECKING:
    from decimal import Decimal

    from typing_extensions import TypeForm

__all__ = [
    "as_response",
    "complete",
    "conversation",
    "count_tokens",
    "extract",
    "request",
    "run",
    "run_tools",
    "stream",
]

T = TypeVar("T")

_EVENTS = get_args(Event)
_GENERATORS: Final = (GeneratorType, AsyncGeneratorType)

_SIDE_BY_SIDE = 8
_LIMITS = {
    "max_rounds": 10,
    "max_tool_calls": None,
    "side_by_side": _SIDE_BY_SIDE,
    "eager": False,
    "max_total_tokens": None,
    "max_cost": None,
}
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
    ask = Ask(conversation(model, prompt, system), specs(toolbox(tools)))
    return (yield from asked(model, ask, wanted(output)))


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
    max_total_tokens: int | None = None,
    max_cost: Decimal | float | str | None = None,
    side_by_side: int = _SIDE_BY_SIDE,
    eager: bool = False,
) -> Plan[Response]:
    """Ask *model*, answer the tools that it calls, and ask again, until it calls no more.

    Every request to the model is one of *max_rounds*. The calls of a round run at the same time, at most
    *side_by_side* of them, and their results go back in the order of the calls. With *eager*, a call that is complete
    starts while the reply still streams. No round begins once *max_total_tokens* are used, or *max_cost* US dollars
    spent, or nobody knows whether they are. Running out raises `Exhausted`, with everything so far in `partial`.
    """
    limits = (max_rounds, max_tool_calls, side_by_side, eager, max_total_tokens, max_cost)
    return (yield from Loop(model, toolbox(tools), wanted(output), *limits).run(conversation(model, prompt, system)))


@streaming
def stream(
    model: Any,
    prompt: Prompt | Paused,
    *args: Any,
    system: str | None = None,
    tools: Iterable[ToolLike] = (),
    output: Any = None,
    max_rounds: int = 10,
    max_tool_calls: int | None = None,
    max_total_tokens: int | None = None,
    max_cost: Decimal | float | str | None = None,
    side_by_side: int = _SIDE_BY_SIDE,
    eager: bool = False,
    **kwargs: Any,
) -> Plan[Response]:
    """What `complete` or (given tools that can be run) `run_tools` does, told as events, `Finished` last.

    *model* may be an agent, any function from a prompt to an answer: it gets *prompt*, *args* and *kwargs*. One that is
    a generator tells as it goes: a string is words of its answer, an event is passed on, any other value is its output.
    """
    box = toolbox(tools)
    limits = (max_rounds, max_tool_calls, side_by_side, eager, max_total_tokens, max_cost)
    if not is_model(model):
        given = {"system": system, "output": output, "tools": tuple(box.values()) or None}
        given |= {name: value for name, value in zip(_LIMITS, limits, strict=True) if value != _LIMITS[name]}
        kwargs |= {name: value for name, value in given.items() if value is not None}
        return _finished(_agent(model, prompt, *args, **kwargs))
    if args or kwargs:
        raise Misuse(
            f"a model takes no {', '.join(kwargs) or 'further arguments'}; evolve(model, …) changes its settings"
        )
    loop = Loop(model, box, wanted(output), *limits)
    return _finished(loop.run(conversation(model, prompt, system)))


def _finished(plan: Plan[Any]) -> Plan[Response]:
    """What *plan* gives, as a response, and told last."""
    response = as_response((yield from plan))
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
    said, want, total = conversation(model, prompt, system), wanted(output), Total()
    if want is None:
        raise Misuse("extract takes the type of the answer: a class, a list of one, a Literal, a union")
    while True:
        try:
            return (yield from asked(model, Ask((*said, *total.messages)), want)).output  # type: ignore[no-any-return]  # of type T
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
    messages = conversation(model, prompt, system)
    if not hasattr(model, "dialect"):
        raise Misuse(f"{type(model).__name__} {model.name!r} sends no HTTP request of its own")
    want, ask = wanted(output), Ask(messages, specs(toolbox(tools)))
    ask = ask if want is None else want.asked(ask, want.modes(model, ask)[0])
    return model.request(ask, stream=stream)  # type: ignore[no-any-return]  # what has a dialect is an Endpoint


@blocking
def count_tokens(
    model: Model,
    prompt: Prompt,
    *,
    system: str | None = None,
    tools: Iterable[ToolLike] = (),
) -> Plan[int]:
    """How many tokens *model* counts in what `complete` would send it, where its provider has an endpoint for that."""
    ask = Ask(conversation(model, prompt, system), specs(toolbox(tools)))
    count = getattr(model, "count", None)
    if count is None:
        raise Misuse(f"{type(model).__name__} {model.name!r} counts no tokens; Response.usage tells what a call used")
    return (yield from Step[int]("count", model.name, ask, lambda: count(ask)))


@blocking
def run(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Plan[Any]:
    """Run *function*, an agent or any other function, sync or async, as part of a run of ours."""
    return _agent(function, *args, **kwargs)


def conversation(model: Any, prompt: Any, system: str | None) -> tuple[Message, ...]:
    """What *model* is asked with *prompt*, told *system* first; an empty prompt is refused."""
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


def _agent(function: Any, /, *args: Any, **kwargs: Any) -> Plan[Any]:
    value = yield from calling(_runnable(function), *args, **kwargs)
    return (yield from _stepped(value, _called(function))) if isinstance(value, _GENERATORS) else value


def _called(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _stepped(generator: Any, name: str) -> Plan[Any]:
    """What *generator*, of the function *name*, answers: what it returns, else its last value, else its words."""
    step = (AsyncSteps if isasyncgen(generator) else Steps)(generator)
    words: list[str] = []
    last: Any = None
    while True:
        asking: Call[tuple[bool, Any]] = Call(step)
        over, value = yield from asking
        if over:
            found = last if value is None else value
            return "".join(words) if found is None else found
        match no_effect(value, name):
            case str():
                words.append(value)
                yield from Emit((TextDelta(value),))
            case Finished(response=response):
                last = response
            case _ if isinstance(value, _EVENTS):
                yield from Emit((value,))
                words += [value.text] if isinstance(value, TextDelta) else []
            case _:
                last = value


def _shown(value: Any) -> str:
    return f"{value!r:.80}" if isinstance(value, str) else type(value).__name__


def as_response(value: Any, giver: str = "the agent") -> Response:
    """What an agent, called *giver*, returned, as a response: a string becomes its text, any other value its `output`.

    >>> as_response("Hello").text, as_response(42).output
    ('Hello', 42)
    """
    match value:
        case Response():
            return value
        case str():
            return spoken(value)
        case None:
            return Response((assistant(),))
    several = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    if how := unanswered(value) or next(filter(None, map(unanswered, several)), ""):
        raise Misuse(f"{giver} gave {how}")
    return Response((assistant(str(value)),), output=value)
