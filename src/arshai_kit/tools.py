"""Plain functions, described so that a model can ask for them; what goes wrong is told to the model, not raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from inspect import isasyncgen, isgenerator
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve, field, frozen

from arshai_kit._drive import blocking
from arshai_kit._json import dumps, freeze
from arshai_kit._record import Record
from arshai_kit._threads import BackgroundTask
from arshai_kit.effects import Call, Emit, Now, Plan, Spawn, Step
from arshai_kit.errors import ArshaiError, Misuse
from arshai_kit.records import (
    Audio,
    BackgroundFailed,
    BackgroundStarted,
    File,
    Image,
    Part,
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

_PARTS = (Text, Image, File, Audio)


@frozen(eq=False, repr=False)
class Tool(Record):
    """A function that a model may ask for.

    *timeout* is the longest that a call may take and *longest* the most characters that the model is told of its
    result. *eager* lets a call start while the reply that asks for it still streams; nobody waits for a *background*
    tool. Without a *function*, calls are handed over to whoever asked.
    """

    spec: ToolSpec
    function: Callable[..., Any] | None = None
    timeout: float | None = None
    eager: bool = False
    background: bool = False
    longest: int = 100_000
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
    eager: bool = False,
    example: tuple[str, Mapping[str, Any]] | None = None,
    strict: bool | None = None,
    longest: int = 100_000,
) -> Tool:
    """*function* as a tool: what is not given comes from its signature and its docstring.

    *example* is a question and the arguments that answer it, for small models that need to be shown. *parameters*
    replaces the JSON Schema of the signature; the arguments are then handed over as they come.

    >>> def add(a: int, b: int = 1) -> int:
    ...     "Add two numbers."
    ...     return a + b
    >>> tool(add).spec.name, tool(add).spec.parameters["required"]
    ('add', ('a',))
    """
    if isinstance(function, Tool):
        return function
    if isinstance(function, ToolSpec):
        return Tool(function)
    described = None if parameters is not None else _described(function)
    spec = ToolSpec(
        name or (described.name if described else getattr(function, "__name__", "")),
        description or (described.description if described else (function.__doc__ or "").strip()),
        described.parameters if described else parameters,
        None if example is None else (example[0], freeze(example[1])),
        strict,
    )
    if not spec.name or spec.name == "<lambda>":
        raise Misuse("a tool needs a name: tool(function, name=…)")
    return Tool(spec, function, timeout, eager, longest=longest, described=described)


def _described(function: Callable[..., Any]) -> Described:
    if type(function) is FunctionType:
        return _described_once(function)
    from arshai_kit.schema import describe

    return describe(function)


@lru_cache(maxsize=1024)
def _described_once(function: Callable[..., Any]) -> Described:
    from arshai_kit.schema import describe

    return describe(function)


def background(function: ToolLike, **options: Any) -> Tool:
    """*function* as a tool that nobody waits for: the model is told that it has started, and that is all.

    When it fails, the stream tells so by `BackgroundFailed`, and the logger `arshai_kit.background` has the traceback.
    """
    return evolve(tool(function, **options), background=True)


def toolbox(tools: Iterable[ToolLike]) -> Toolbox:
    """*tools* by their names, in their order; two of one name are refused.

    >>> toolbox([len, len])
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: two tools are called 'len'; give one of them another name: tool(function, name=…)
    """
    box: dict[str, Tool] = {}
    for each in tools:
        made = tool(each)
        if made.name in box:
            raise Misuse(f"two tools are called {made.name!r}; give one of them another name: tool(function, name=…)")
        box[made.name] = made
    return box


# Answering a call


class _Told(Exception):  # not an error of ours: words for the model
    """What the model did wrong, in words that it can act on."""


def answered(call: ToolCall, box: Toolbox) -> Plan[ToolRun]:
    """The answer to *call*: whatever goes wrong becomes its result."""
    return (yield from Step("tool", call.name, call, lambda: _answered(call, box)))


def _answered(call: ToolCall, box: Toolbox) -> Plan[ToolRun]:
    began = yield from Now()
    in_background = call.name in box and box[call.name].background
    yield from Emit((BackgroundStarted(call) if in_background else ToolStarted(call),))
    try:
        result = yield from _result(call, box)
    except Exception as error:
        if isinstance(error, ArshaiError) and error.ends_run:
            raise
        told = str(error) if isinstance(error, _Told) else f"{type(error).__name__}: {error}"
        yield from Emit((ToolFailed(call, told),))
        return ToolRun(call, told, told, (yield from Now()) - began, in_background)
    if not in_background:
        yield from Emit((ToolFinished(call, result),))
    return ToolRun(call, result, None, (yield from Now()) - began, in_background)


def _result(call: ToolCall, box: Toolbox) -> Plan[str | tuple[Part, ...]]:
    found = box.get(call.name)
    if found is None or found.function is None:
        raise _Told(f"there is no tool {call.name!r}; there are: {', '.join(box) or 'none'}")
    args, kwargs = _fitting(call, found)
    if not found.background:
        return (yield from _called(call, found, args, kwargs))
    yield from Spawn(
        found.name, lambda: _called(call, found, args, kwargs), lambda error: BackgroundFailed(call, _blamed(error))
    )
    return f"{found.name} has been started in the background; its result will not be told here."


def _blamed(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _fitting(call: ToolCall, found: Tool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of *call*, as the types that the function wants."""
    if call.broken is not None:
        raise _Told(f"the arguments are no JSON object: {call.broken[:200]}")
    if found.described is None:
        return (), dict(call.arguments)
    from arshai_kit.schema import Misfit, arguments

    try:
        return arguments(found.described, call.arguments)
    except Misfit as misfit:
        raise _Told(f"the arguments do not fit: {misfit}") from misfit


def _called(
    call: ToolCall, found: Tool, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Plan[str | tuple[Part, ...]]:
    plan = getattr(found.function, "plan", None)
    if plan is not None:
        return told((yield from plan(*args, **kwargs)), found.longest)
    until = None if found.timeout is None else (yield from Now()) + found.timeout
    asking: Call[Any] = Call(found.function, *args, **kwargs)  # type: ignore[arg-type]  # it has a function: _result saw to it
    value = yield from asking.within(found.timeout)
    if isgenerator(value) or isasyncgen(value):
        value = yield from _progress(call, value, until)
    return told(value, found.longest)


def _progress(call: ToolCall, steps: Any, until: float | None) -> Plan[Any]:
    """The last value of *steps*, or what it returns; each value is told as it comes."""
    step: Any = _next_async if isasyncgen(steps) else _next
    last: Any = None
    while True:
        left = None if until is None else max(0.001, until - (yield from Now()))
        asking: Call[tuple[bool, Any]] = Call(step, steps)
        over, value = yield from asking.within(left)
        if over:
            return last if value is None else value
        last = value
        yield from Emit((ToolProgress(call, value),))


def _next(steps: Any) -> tuple[bool, Any]:
    try:
        return False, next(steps)
    except StopIteration as stop:
        return True, stop.value


async def _next_async(steps: Any) -> tuple[bool, Any]:
    try:
        return False, await anext(steps)
    except StopAsyncIteration:
        return True, None


def told(value: Any, longest: int = 100_000) -> str | tuple[Part, ...]:
    """*value* as a model is told it: text and parts as they are, anything else as JSON.

    >>> told({"celsius": 21}), told("fine"), told("too long", 3)
    ('{"celsius":21}', 'fine', 'too… [cut: 3 of 8 characters]')
    """
    if isinstance(value, _PARTS):
        return (value,)
    if isinstance(value, list | tuple) and value and all(isinstance(each, _PARTS) for each in value):
        return tuple(value)
    text = value if isinstance(value, str) else _written(value)
    return text if len(text) <= longest else f"{text[:longest]}… [cut: {longest:,} of {len(text):,} characters]"


def _written(value: Any) -> str:
    if value is None:
        return "done"
    from arshai_kit.schema import unstructured

    try:
        return dumps(unstructured(value)).decode()
    except (TypeError, ValueError) as error:
        raise _Told(f"the tool answered with something that is not JSON: {error}") from error
