"""Plain functions, described so that a model can ask for them; what goes wrong is told to the model, not raised."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from inspect import getdoc, isasyncgen, isgenerator
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from attrs import evolve, field, frozen

from arshai_kit._json import dumps
from arshai_kit._record import Record
from arshai_kit._steps import AsyncSteps, Steps
from arshai_kit._threads import BackgroundTask
from arshai_kit.effects import (
    Call,
    Emit,
    Now,
    Open,
    Plan,
    Send,
    Sleep,
    Spawn,
    Start,
    Step,
    Where,
    intercept,
    no_effect,
    planned,
)
from arshai_kit.errors import ArshaiError, BadSchema, Misuse
from arshai_kit.faces import blocking
from arshai_kit.models import wrapped
from arshai_kit.records import (
    Audio,
    BackgroundFailed,
    BackgroundStarted,
    File,
    Image,
    Part,
    Response,
    Text,
    ToolCall,
    ToolFailed,
    ToolFinished,
    ToolProgress,
    ToolRun,
    ToolSpec,
    ToolStarted,
)
from arshai_kit.scope import background_tasks
from arshai_kit.scope import drain as draining

if TYPE_CHECKING:
    from arshai_kit.schema import Described

__all__ = [
    "Answering",
    "BackgroundTask",
    "Tool",
    "ToolLike",
    "Toolbox",
    "answered",
    "background",
    "background_tasks",
    "drain",
    "tool",
    "toolbox",
]

drain = blocking(draining)

T = TypeVar("T")

_PARTS = (Text, Image, File, Audio)
_LONGEST = 100_000
_A_TICK = 0.001  # a timer may ring so much early, by the clock that tells the time of day
_NAME = re.compile("[a-zA-Z0-9_-]{1,64}")  # what all providers take


@frozen(eq=False, repr=False)
class Tool(Record):
    """A function that a model may ask for.

    *timeout* is the longest that a call may take and *longest* the most characters that the model is told of its
    result. *eager* lets a call start while the reply that asks for it still streams; nobody waits for a *background*
    tool. Without a *function*, calls are handed over to whoever asked. A call of one that *ends* the loop is the last
    thing that happens in it, unless it fails.
    """

    spec: ToolSpec
    function: Callable[..., Any] | None = None
    timeout: float | None = None
    eager: bool = False
    background: bool = False
    longest: int = _LONGEST
    ends: bool = False
    described: Described | None = field(default=None, repr=False, eq=False)

    @property
    def name(self) -> str:
        """What the model calls it."""
        return self.spec.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        if self.function is None:
            raise Misuse(f"{self.name} is only a description: it has no function to call")
        return self.function(*args, **kwargs)


ToolLike: TypeAlias = Callable[..., Any] | Tool | ToolSpec
Toolbox: TypeAlias = Mapping[str, Tool]


def tool(
    function: ToolLike,
    *,
    name: str = "",
    description: str = "",
    parameters: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    eager: bool | None = None,
    example: tuple[str, Mapping[str, Any]] | None = None,
    strict: bool | None = None,
    longest: int | None = None,
) -> Tool:
    """*function* as a tool: what is not given comes from its signature and its docstring, or stays as it is.

    *example* is a question and the arguments that answer it, for small models that need to be shown. *parameters*
    replaces the JSON Schema of the signature; the arguments are then handed over as they come.

    >>> def add(a: int, b: int = 1) -> int:
    ...     "Add two numbers."
    ...     return a + b
    >>> tool(add).spec.name, tool(add).spec.parameters["required"]
    ('add', ('a',))
    """
    made = _tool(function, name, parameters)
    if (timeout is not None and not timeout > 0) or (longest is not None and longest < 1):
        raise Misuse(f"{made.name}: timeout= and longest= are above zero")
    said = _given(name=name, description=description, parameters=parameters, example=example, strict=strict)
    try:
        spec = evolve(made.spec, **said)
    except (TypeError, ValueError) as error:
        raise BadSchema(f"{made.name}: what describes the tool is no JSON: {error}") from error
    if not _NAME.fullmatch(spec.name):
        raise Misuse(
            f"no model can be given a tool called {spec.name!r}: name it by at most 64 of a-z, A-Z, 0-9, _ and -, "
            "as tool(function, name=…)"
        )
    described = made.described if parameters is None else None
    return evolve(made, spec=spec, described=described, **_given(timeout=timeout, eager=eager, longest=longest))


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None and value != ""}


def _tool(function: ToolLike, name: str, parameters: Mapping[str, Any] | None) -> Tool:
    """*function*, described by itself."""
    if isinstance(function, Tool):
        return function
    if isinstance(function, ToolSpec):
        return Tool(function)
    if not callable(function):
        raise Misuse(f"a tool is a function, not {type(function).__name__}")
    if parameters is None:
        found = _described(function, name)
        return Tool(ToolSpec(found.name, found.description, found.parameters), function, described=found)
    inner: Any = function
    while isinstance(inner, partial):
        inner = inner.func
    called = name or getattr(inner, "__name__", type(inner).__name__)
    if not called.isidentifier() and not name:
        raise Misuse(f"{called} has no name that a model could ask by; give it one: tool(function, name=…)")
    return Tool(ToolSpec(called, getdoc(inner) or ""), function)


def _described(function: Callable[..., Any], name: str) -> Described:
    if type(function) is FunctionType and function.__closure__ is None:
        return _described_once(function, name)
    from arshai_kit.schema import describe

    return describe(function, name=name)


@lru_cache(maxsize=1024)
def _described_once(function: Callable[..., Any], name: str) -> Described:
    """What stands at the top of a module stays; what holds the state of a request is not kept alive here."""
    from arshai_kit.schema import describe

    return describe(function, name=name)


def background(function: ToolLike, **options: Any) -> Tool:
    """*function* as a tool that nobody waits for: the model is told that it has started, and that is all.

    When it fails, the stream tells so by `BackgroundFailed`, and the logger `arshai_kit.background` has the traceback.
    """
    made = tool(function, **options)
    if made.function is None:
        raise Misuse(f"{made.name} is only a description: there is no function to start in the background")
    return evolve(made, background=True)


def toolbox(tools: Iterable[ToolLike]) -> Toolbox:
    """*tools* by their names, in their order; two of one name are refused.

    >>> toolbox([len, len])
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: two tools are called 'len'; give one of them another name: tool(function, name=…)
    """
    if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
        raise Misuse(f"tools= takes a list of functions, as [weather], or () for none, not {type(tools).__name__}")
    box: dict[str, Tool] = {}
    for each in tools:
        made = tool(each)
        if made.name in box:
            way = "tool(handoff(…), name=…)" if made.ends else "tool(function, name=…)"
            raise Misuse(f"two tools are called {made.name!r}; give one of them another name: {way}")
        box[made.name] = made
    return box


# Answering a call


class _Told(Exception):  # not an error of ours: words for the model
    """What the model did wrong, in words that it can act on."""


def answered(call: ToolCall, box: Toolbox, note: str = "") -> Plan[ToolRun]:
    """The answer to *call*: whatever goes wrong becomes its result; *note* is told before it."""
    return (yield from Step("tool", call.name, call, Answering(call, box, note)))


@frozen(eq=False, repr=False)
class Answering(Record):
    """How the plan of a tool's step is made: the answer to *call*; *note* is what the model is told before it."""

    call: ToolCall
    box: Toolbox
    note: str = ""
    wraps: tuple[Callable[[Plan[ToolRun]], Plan[ToolRun]], ...] = ()

    def __call__(self) -> Plan[ToolRun]:
        """The answer itself."""
        plan = _answered(self.call, self.box, self.note)
        for wrap in self.wraps:
            plan = wrap(plan)
        return plan

    def wrapped(self, wrap: Callable[[Plan[ToolRun]], Plan[ToolRun]]) -> Answering:
        """The same, wrapped once more."""
        return evolve(self, wraps=(*self.wraps, wrap))


def _answered(call: ToolCall, box: Toolbox, note: str) -> Plan[ToolRun]:
    began = yield from Now()
    found = box.get(call.name)
    in_background, longest = (False, _LONGEST) if found is None else (found.background, found.longest)
    if not in_background:
        yield from Emit((ToolStarted(call),))
    spent: list[Response] = []
    try:
        result = _after(note, (yield from _result(call, found, box, spent)))
    except Exception as error:  # noqa: BLE001  # whatever the tool does
        if (ending := _ending(error)) is not None:
            raise ending  # noqa: B904  # as it is; out of a group, it alone
        why = note + _cut(_blamed(error), longest)
        yield from Emit((ToolFailed(call, why),))
        spent += _lost(error, found)
        return ToolRun(call, why, why, (yield from Now()) - began, in_background, **_used(spent))
    if not in_background:
        yield from Emit((ToolFinished(call, result),))
    return ToolRun(call, result, None, (yield from Now()) - began, in_background, **_used(spent))


def _lost(error: Exception, found: Tool | None) -> list[Response]:
    """What an agent used that failed, as *error* tells it; nobody knows it if that is of a kind that cannot."""
    if isinstance(error, ArshaiError):
        return [error.partial] if isinstance(error.partial, Response) else []
    asked = found is not None and getattr(found.function, "is_agent", False) is True
    return [Response(())] if asked and type(error) is not _Told else []


def _used(spent: list[Response]) -> dict[str, Any]:
    """What an agent used, if one was called."""
    return {"usage": spent[0].usage, "cost": spent[0].cost} if spent else {}


def _after(note: str, result: str | tuple[Part, ...]) -> str | tuple[Part, ...]:
    if not note:
        return result
    return note + result if isinstance(result, str) else (Text(note), *result)


def _ending(error: BaseException) -> ArshaiError | None:
    """*error*, or the first one in a group of errors, that no model may be told."""
    if isinstance(error, BaseExceptionGroup):
        return next((ending for each in error.exceptions if (ending := _ending(each)) is not None), None)
    return error if isinstance(error, ArshaiError) and error.ends_run else None


def _result(call: ToolCall, found: Tool | None, box: Toolbox, spent: list[Response]) -> Plan[str | tuple[Part, ...]]:
    """What the model is told; what an agent answered is added to *spent*."""
    if found is None or found.function is None:
        raise _Told(f"there is no tool {call.name!r}; there are: {', '.join(box) or 'none'}")
    args, kwargs = _fitting(call, found)
    if not found.background:
        value = yield from _called(call, found, args, kwargs)
        spent += [value] if isinstance(value, Response) else []
        return told(value, found.longest)
    yield from Emit((BackgroundStarted(call),))  # before it can fail
    yield from Spawn(
        found.name, lambda: _called(call, found, args, kwargs), lambda error: BackgroundFailed(call, _blamed(error))
    )
    return f"{found.name} has been started in the background; its result will not be told here."


def _blamed(error: Exception) -> str:
    """What went wrong, for a model to read; some errors cannot even say that."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001  # whatever the tool's own error does
        words = ""
    return words if type(error) is _Told else f"{type(error).__name__}: {words}".removesuffix(": ")


def _fitting(call: ToolCall, found: Tool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of *call*, as the types that the function wants."""
    from arshai_kit.schema import Misfit, arguments, structured

    if call.broken is not None:
        raise _Told(f"the arguments are no JSON object: {call.broken[:200]}")
    if found.described is None:
        return (), structured(call.arguments, dict[str, Any])
    try:
        return arguments(found.described, call.arguments)
    except Misfit as misfit:
        raise _Told(f"the arguments do not fit: {misfit}") from misfit


def _called(call: ToolCall, found: Tool, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Plan[Any]:
    """What the function gives: of a generator, the last value or what it returns."""
    until = None if found.timeout is None else (yield from Now()) + found.timeout
    plan = planned(found.function)
    if plan is not None:
        made = plan(*args, **kwargs)
        return (yield from made if until is None else _until(made, until))
    asking: Call[Any] = Call(found.function, *args, **kwargs)  # type: ignore[arg-type]  # it has a function: _result saw to it
    value = yield from asking.within(found.timeout)
    return (yield from _progress(call, found, value, until)) if isgenerator(value) or isasyncgen(value) else value


def _until(plan: Plan[T], until: float) -> Plan[T]:
    """*plan*, whose requests, calls and waits end at *until*, those of its steps and of what it starts too."""

    def bounded(effect: Any, _: Where) -> Plan[Any]:
        seconds = until - (yield from Now())
        if type(effect) is Sleep and effect.seconds > seconds:
            yield from Sleep(seconds)
            seconds = 0.0
        if seconds <= 0:
            raise TimeoutError("it took too long")
        match effect:
            case Send() | Open():
                effect = evolve(effect, until=min(effect.until, until))
            case Call():
                effect = effect.within(seconds if effect.seconds is None else min(seconds, effect.seconds))
            case Start():
                effect = evolve(effect, plan=_until(effect.plan, until))
            case Step(make_plan=make):
                effect = evolve(effect, make_plan=wrapped(make, lambda plan: _until(plan, until)))
        return (yield from effect)

    return intercept(plan, dict.fromkeys((Send, Open, Call, Sleep, Start, Step), bounded))


def _progress(call: ToolCall, found: Tool, steps: Any, until: float | None) -> Plan[Any]:
    """The last value of *steps*, or what it returns; each value is told as it comes."""
    step: Call[tuple[bool, Any]] = Call((AsyncSteps if isasyncgen(steps) else Steps)(steps))
    last: Any = None
    while True:
        left = None if until is None else until - (yield from Now())
        if left is not None and left <= 0:
            raise _overran(found)
        try:
            over, value = yield from step.within(left)
        except TimeoutError as error:
            if until is None or (yield from Now()) < until - _A_TICK:
                raise
            raise _overran(found) from error
        if over:
            return last if value is None else value
        last = no_effect(value, found.name)
        yield from Emit((ToolProgress(call, value),))


def _overran(found: Tool) -> TimeoutError:
    return TimeoutError(f"{found.name} took longer than {found.timeout:g} s")


def told(value: Any, longest: int = _LONGEST) -> str | tuple[Part, ...]:
    """*value* as a model is told it: text and parts as they are, what an agent answered, anything else as JSON.

    >>> told({"celsius": 21}), told("fine"), told("too long", 3)
    ('{"celsius":21}', 'fine', 'too… [cut: 3 of 8 characters]')
    """
    if isinstance(value, Response):
        value = value.text if value.output is None else value.output
    if isinstance(value, _PARTS):
        value = (value,)
    if isinstance(value, list | tuple) and value and all(isinstance(each, _PARTS) for each in value):
        return _shortened(value, longest)
    return _cut(str.__str__(value) if isinstance(value, str) else _written(value), longest)


def _shortened(parts: Sequence[Part], longest: int) -> tuple[Part, ...]:
    """*parts*, with at most *longest* characters of text in all of them; what is no text stays."""
    total, end = sum([len(part.text) for part in parts if type(part) is Text]), 0
    kept: list[Part] = []
    for part in parts:
        if type(part) is not Text:
            kept.append(part)
            continue
        start, end = end, end + len(part.text)
        if end <= longest:
            kept.append(part)
        elif start <= longest:
            kept.append(evolve(part, text=part.text[: longest - start] + _saying_so(longest, total)))
    return tuple(kept)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + _saying_so(longest, len(text))


def _saying_so(longest: int, total: int) -> str:
    return f"… [cut: {longest:,} of {total:,} characters]"


def _written(value: Any) -> str:
    if value is None:
        return "done"
    from arshai_kit.schema import unstructured

    try:
        return dumps(unstructured(value)).decode()
    except (TypeError, ValueError) as error:
        raise _Told(f"the tool answered with something that is not JSON: {error}") from error
