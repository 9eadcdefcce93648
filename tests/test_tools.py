"""Tools: plain functions of every kind; what goes wrong is told to the model, and nothing else ends the run."""

from __future__ import annotations

import contextvars
import gc
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from enum import Enum, StrEnum
from functools import partial
from queue import SimpleQueue
from typing import Any, Literal, TypedDict
from uuid import UUID
from weakref import ref

import anyio
import anyio.lowlevel
import attrs
import pytest

from arshai_kit import (
    BackgroundFailed,
    BackgroundStarted,
    Response,
    Text,
    ToolCall,
    ToolFailed,
    ToolFinished,
    ToolProgress,
    ToolSpec,
    ToolStarted,
    assistant,
    background,
    complete,
    image,
    openai_compatible,
    run_tools,
    stream,
    tool,
    using,
)
from arshai_kit.completion import run
from arshai_kit.effects import Call, Now, Open, Plan, Request, Send, Sleep, Start, Step, side_by_side
from arshai_kit.effects import call as calling
from arshai_kit.errors import BadSchema, Misuse, NotAPlan, RunError
from arshai_kit.faces import blocking, drive
from arshai_kit.records import ToolResult, ToolRun
from arshai_kit.testing import clock, scripted
from arshai_kit.tools import Tool, answered, drain, told, toolbox
from tests.core.worlds import World, everywhere, listening

model = openai_compatible("toy", base_url="http://127.0.0.1:9/v1", api_key="")
PIXEL = image(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")


def answer(call: ToolCall, *tools: Any, world: World | None = None) -> ToolRun:
    """What is answered to *call*."""
    box = toolbox(tools)
    return (world or World()).run(lambda: answered(call, box))


def result(function: Any, /, **arguments: Any) -> str | tuple[Any, ...]:
    """What a model is told of a call of *function* that goes well."""
    made = tool(function)
    ran = answer(ToolCall("1", made.name, arguments), made)
    assert ran.error is None, ran.error
    return ran.result


def failure(function: Any, /, **arguments: Any) -> str:
    """What a model is told of a call of *function* that fails."""
    made = tool(function)
    ran = answer(ToolCall("1", made.name, arguments), made)
    assert ran.error == ran.result
    return ran.error or ""


# -- every kind of function --


def plain(a: int, b: int = 1) -> int:
    """Add two numbers.

    Args:
        a: The first.
    """
    return a + b


async def slow(a: int, b: int = 1) -> int:
    """Add two numbers, later."""
    await anyio.lowlevel.checkpoint()
    return a + b


def steps(a: int, b: int = 1) -> Iterator[int]:
    """Add two numbers, step by step."""
    yield a
    yield a + b


async def slow_steps(a: int, b: int = 1) -> AsyncIterator[int]:
    """Add two numbers, step by step, later."""
    yield a
    await anyio.lowlevel.checkpoint()
    yield a + b


def returning(a: int, b: int = 1) -> Any:
    """Tell of the way, and return."""
    yield a
    return a + b


class Adder:
    """Adds."""

    def __init__(self, a: int = 0, b: int = 1) -> None:
        self.sum = a + b

    def __call__(self, a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    def method(self, a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    @classmethod
    def of_class(cls, a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    @staticmethod
    def static(a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b


class Later:
    """Adds later."""

    async def __call__(self, a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b


def promising(a: int, b: int = 1) -> Any:
    """Return something to await."""
    return slow(a, b)


@blocking
def planned(a: int, b: int = 1) -> Plan[int]:
    """Add two numbers, as a plan of ours."""
    return (yield from Call(plain, a, b))


KINDS: tuple[tuple[str, Any], ...] = (
    ("plain", plain),
    ("slow", slow),
    ("steps", steps),
    ("slow_steps", slow_steps),
    ("returning", returning),
    ("Adder", Adder()),
    ("Later", Later()),
    ("method", Adder().method),
    ("of_class", Adder.of_class),
    ("static", Adder.static),
    ("promising", promising),
    ("planned", planned),
    ("plain", partial(plain, b=3)),
    ("plain", partial(partial(plain), b=3)),
    ("slow", partial(slow, b=3)),
    ("steps", partial(steps, b=3)),
    ("sum", tool(lambda a, b=3: a + b, name="sum")),
    ("plus", tool(plain, name="plus")),
)


@everywhere
def test_every_kind_of_function_is_a_tool(world: World) -> None:
    for name, function in KINDS:
        given = {"a": 4} if isinstance(function, partial) else {"a": 4, "b": 3}
        ran = answer(ToolCall("1", name, given), function, world=world)
        assert (name, ran.result, ran.error) == (name, "7", None)


def test_what_a_tool_says_of_itself() -> None:
    spec = tool(plain).spec
    assert (spec.name, spec.description) == ("plain", "Add two numbers.")
    assert spec.parameters["required"] == ("a",)
    assert spec.parameters["properties"]["a"] == {"type": "integer", "description": "The first."}
    assert tool(partial(plain, b=3)).spec.parameters["properties"].keys() == {"a"}
    assert tool(plain)(4, b=3) == 7


def test_a_class_is_a_tool_that_makes_one() -> None:
    @attrs.frozen
    class City:
        """A city."""

        name: str
        people: int = 1

    assert result(City, name="Oslo") == '{"name":"Oslo","people":1}'


class Unit(Enum):
    """A scale."""

    C = "celsius"


class Trip(TypedDict):
    """Where to."""

    to: str


@attrs.frozen
class Place:
    """Somewhere."""

    x: Decimal


def test_arguments_come_in_the_types_of_the_signature() -> None:
    def show(
        unit: Unit, trip: Trip, places: list[Place], ids: set[UUID], kind: Literal["a"], pair: tuple[int, str]
    ) -> str:
        return repr((unit, trip, places, len(ids), kind, pair))

    told = result(
        show,
        unit="celsius",
        trip={"to": "Rome"},
        places=[{"x": "1.5"}],
        ids=["12345678-1234-5678-1234-567812345678"],
        kind="a",
        pair=[1, "b"],
    )
    assert isinstance(told, str)
    assert "Decimal('1.5')" in told
    assert "(1, 'b'))" in told


def test_a_parameter_may_have_any_name() -> None:
    """Also those that our own functions use for themselves."""

    def odd(function: str, self: int, args: list[int], plan: str, name: str) -> str:
        return f"{function}{self}{args}{plan}{name}"

    assert result(odd, function="f", self=1, args=[2], plan="p", name="n") == "f1[2]pn"


# -- the options --


def test_options_say_what_the_function_does_not() -> None:
    made = tool(
        plain,
        name="add",
        description="Sum up.",
        timeout=3,
        eager=True,
        example=("1+1?", {"a": 1, "b": 1}),
        strict=True,
        longest=10,
    )
    spec = made.spec
    assert (made.name, spec.description, spec.strict, made.timeout, made.eager, made.longest) == (
        "add", "Sum up.", True, 3, True, 10,
    )  # fmt: skip
    assert spec.example == ("1+1?", {"a": 1, "b": 1})
    assert spec.parameters == tool(plain).spec.parameters


def test_options_of_what_is_a_tool_already_change_it() -> None:
    made = tool(tool(plain, timeout=3, eager=True), name="add", timeout=5, eager=False)
    assert (made.name, made.timeout, made.eager) == ("add", 5, False)
    assert tool(made) == made
    assert answer(ToolCall("1", "add", {"a": 1}), made).result == "2"
    assert tool(ToolSpec("sell"), description="Sell.").spec == ToolSpec("sell", "Sell.")
    assert background(made).background
    assert background(plain, name="add").name == "add"


def test_given_parameters_replace_those_of_the_signature() -> None:
    seen = []

    def anything(*args: Any, **kwargs: Any) -> str:
        """Take anything."""
        seen.append((args, kwargs))
        return "fine"

    schema = {"type": "object", "properties": {"items": {"type": "array"}}}
    made = tool(anything, parameters=schema)
    assert made.spec == ToolSpec("anything", "Take anything.", schema)
    assert answer(ToolCall("1", "anything", {"items": [1, {"a": [2]}]}), made).result == "fine"
    assert seen == [((), {"items": [1, {"a": [2]}]})]
    assert type(seen[0][1]["items"]) is list
    assert tool(partial(anything, 1), parameters=schema).spec.name == "anything"
    assert tool(tool(plain), parameters=schema).described is None
    assert tool(Adder(), parameters=schema).spec.name == "Adder"


@pytest.mark.parametrize("wrong", [42, "weather", None, {"name": "weather"}, [plain]])
def test_what_is_no_function_is_no_tool(wrong: Any) -> None:
    with pytest.raises(Misuse, match="a tool is a function"):
        tool(wrong)


def test_a_tool_needs_a_name() -> None:
    with pytest.raises(Misuse, match="name="):
        tool(lambda a: a)
    with pytest.raises(Misuse, match="name="):
        tool(lambda a: a, parameters={"type": "object"})


@pytest.mark.parametrize("wrong", ["get weather", "größe", "a.b", "a:b", "a/b", "x" * 65, "a\n"])
def test_a_name_that_providers_refuse_is_refused(wrong: str) -> None:
    for make in (
        lambda: tool(plain, name=wrong),
        lambda: tool(plain, name=wrong, parameters={"type": "object"}),
        lambda: toolbox([ToolSpec(wrong)]),
    ):
        with pytest.raises(Misuse, match=re.escape(repr(wrong)) + r".*name=…"):
            make()


@pytest.mark.parametrize("unusual", ["_", "2nd", "-", "GET-weather_2", "x" * 64, "class", "None"])
def test_a_name_may_be_unusual(unusual: str) -> None:
    call = ToolCall("1", unusual, {"a": 1})
    assert answer(call, tool(plain, name=unusual)).result == "2"


def test_what_cannot_be_described_says_which_parameter() -> None:
    def bad(good: int, wrong: Callable[[], int]) -> None: ...

    with pytest.raises(BadSchema, match=r"bad\(\): wrong: "):
        tool(bad)
    with pytest.raises(BadSchema, match="plain: what describes the tool is no JSON"):
        tool(plain, parameters={"a": object()})
    with pytest.raises(BadSchema, match="nan is not JSON"):
        tool(plain, example=("?", {"a": float("nan")}))


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"longest": 0}])
def test_limits_are_above_zero(wrong: Any) -> None:
    with pytest.raises(Misuse, match="above zero"):
        tool(plain, **wrong)


@pytest.mark.parametrize("wrong", [None, plain, "plain", {"plain": plain}, tool(plain), 3])
def test_tools_are_given_in_a_list(wrong: Any) -> None:
    with pytest.raises(Misuse, match="takes a list of functions"):
        run_tools(model, "Go!", wrong)
    with pytest.raises(Misuse, match="takes a list of functions"):
        list(stream(model, "Go!", tools=wrong))


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(Misuse, match="two tools are called 'plain'"):
        toolbox([plain, partial(plain, b=2)])
    assert list(toolbox([plain, tool(plain, name="other"), ToolSpec("third")])) == ["plain", "other", "third"]


def test_tools_may_come_from_a_generator() -> None:
    with scripted(ToolCall("1", "plain", {"a": 1}), "2"):
        assert run_tools(model, "1+1?", (each for each in [plain])).text == "2"


def test_a_description_alone_cannot_be_called() -> None:
    made = tool(ToolSpec("sell"))
    with pytest.raises(Misuse, match="only a description"):
        made()
    with pytest.raises(Misuse, match="only a description"):
        background(ToolSpec("sell"))
    assert answer(ToolCall("1", "sell"), made).error == "there is no tool 'sell'; there are: sell"


def test_what_a_tool_closes_over_is_not_kept_alive() -> None:
    class Held:
        """Something large."""

    def made() -> tuple[Tool, ref[Held]]:
        request = Held()
        return tool(lambda: str(request), name="show"), ref(request)

    kept, alive = made()
    assert alive() is not None
    del kept
    gc.collect()
    assert alive() is None


# -- what goes wrong is told --


def test_an_unknown_tool_is_told_with_those_there_are() -> None:
    assert answer(ToolCall("7", "fly"), plain, slow).error == "there is no tool 'fly'; there are: plain, slow"
    assert answer(ToolCall("7", "fly")).error == "there is no tool 'fly'; there are: none"


def test_broken_arguments_are_told() -> None:
    ran = answer(ToolCall("7", "plain", broken='{"a": 1' + "x" * 1000), plain)
    assert ran.error is not None
    assert ran.error.startswith('the arguments are no JSON object: {"a": 1xxx')
    assert len(ran.error) < 300


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "a"),
        ({"a": "many"}, "a: expected an integer, got the string 'many'"),
        ({"a": 1, "c": 2}, "'c'"),
        ({"a": None}, "a: expected an integer, got null"),
    ],
)
def test_arguments_that_do_not_fit_are_told_with_the_path(arguments: Any, why: str) -> None:
    told = failure(plain, **arguments)
    assert told.startswith("the arguments do not fit: ")
    assert why in told


def test_the_path_leads_into_the_arguments() -> None:
    def weigh(baskets: list[dict[str, int]]) -> None: ...

    assert "baskets[1].pears: expected an integer" in failure(weigh, baskets=[{}, {"pears": "two"}])


class Mute(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def raising(error: BaseException) -> Any:
    def broken() -> None:
        """Raise."""
        raise error

    return broken


@everywhere
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ValueError("no such city"), "ValueError: no such city"),
        (KeyError("city"), "KeyError: 'city'"),
        (ValueError(), "ValueError"),
        (Mute(), "Mute"),
        (Misuse("wrong use"), "Misuse: wrong use"),
        (ExceptionGroup("many", [ValueError("one")]), "ExceptionGroup: many (1 sub-exception)"),
        (StopIteration(3), "RuntimeError: "),
        (TimeoutError("late"), "TimeoutError: late"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"), "UnicodeDecodeError: "),
    ],
)
def test_what_a_tool_raises_is_told(world: World, error: Exception, why: str) -> None:
    ran = answer(ToolCall("1", "broken"), raising(error), world=world)
    assert ran.error is not None
    assert ran.error.startswith(why) or isinstance(error, StopIteration)
    assert ran.error == ran.result


def test_a_long_error_is_cut() -> None:
    told = failure(tool(raising(ValueError("x" * 5000)), longest=100))
    assert told.startswith("ValueError: xxx")
    assert told.endswith("[cut: 100 of 5,012 characters]")


class OverBudget(RunError):
    """Meant for the user."""


@everywhere
def test_an_error_meant_for_the_user_is_no_tools_result(world: World) -> None:
    with scripted((ToolCall("1", "broken"), ToolCall("2", "plain", {"a": 1}))), pytest.raises(OverBudget) as caught:
        world.run(lambda: run_tools.plan(model, "Go!", [raising(OverBudget("no more")), plain]))
    partial_answer = caught.value.partial
    assert [run.call.name for run in partial_answer.tool_runs] == ["broken", "plain"]
    assert partial_answer.tool_runs[1].result == "2"
    assert partial_answer.tool_runs[0].error == "OverBudget('no more')"
    with scripted("Then not.") as script:  # going on from there
        assert complete(model, ("Go!", partial_answer)).text == "Then not."
    told = ToolResult("1", "broken", "not finished: the run ended first", is_error=True)
    assert script.asked[0].messages[2].parts == (told,)
    results = [part.id for message in partial_answer.messages[1:] for part in message.parts]
    assert results == ["1", "2"]


@everywhere
def test_an_error_meant_for_the_user_may_stand_in_a_group(world: World) -> None:
    async def consult() -> None:
        """Ask somebody, in a task group."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked)

    async def asked() -> None:
        raise OverBudget("no more")

    inside = ExceptionGroup("many", [ValueError("one"), ExceptionGroup("more", [OverBudget("no more")])])
    for broken in (consult, raising(inside)):
        with scripted(ToolCall("1", broken.__name__)) as script, pytest.raises(OverBudget) as caught:
            world.run(lambda broken=broken: run_tools.plan(model, "Go!", [broken]))  # type: ignore[misc]
        assert len(script.asked) == 1
        assert [run.call.id for run in caught.value.partial.tool_runs] == ["1"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_ends_the_run(error: type[BaseException]) -> None:
    with scripted(ToolCall("1", "broken")), pytest.raises(error):
        run_tools(model, "Go!", [raising(error())])


# -- results --


class Colour(StrEnum):
    """A string of another kind."""

    RED = "red"


def circular() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "done"),
        ("", ""),
        ("fine", "fine"),
        (Colour.RED, "red"),
        (0, "0"),
        (False, "false"),
        (1.5, "1.5"),
        ([], "[]"),
        ((1, "a"), '[1,"a"]'),
        ({"b", "a"}, '["a","b"]'),
        ({"x": {"y": Decimal("1.10")}}, '{"x":{"y":"1.10"}}'),
        (b"\xff\xfe", '"//4="'),
        ("\ud800", "\ud800"),
        (10**40, "1" + "0" * 40),
        (Response((assistant("words"),)), "words"),
        (Response((assistant("words"),), output={"a": 1}), '{"a":1}'),
    ],
)
def test_a_result_is_told_as_text_or_json(value: Any, shown: str) -> None:
    def give() -> Any:
        return value

    assert result(give) == shown
    assert type(result(give)) is str


@pytest.mark.parametrize("value", [object(), circular(), float("nan"), {(1, 2): 3}, {"a": [object()]}, iter([1])])
def test_a_result_that_is_no_json_is_told(value: Any) -> None:
    def give() -> Any:
        return value

    assert failure(give).startswith("the tool answered with something that is not JSON: ")


def test_parts_are_results() -> None:
    assert result(lambda_of(PIXEL)) == (PIXEL,)
    assert result(lambda_of(["See:", PIXEL])) != ("See:", PIXEL)
    assert result(lambda_of([Text("See:"), PIXEL])) == (Text("See:"), PIXEL)
    assert result(tool(lambda_of([Text("abcdef"), PIXEL]), longest=3)) == (Text("abc… [cut: 3 of 6 characters]"), PIXEL)


def test_all_texts_of_a_result_together_are_cut() -> None:
    parts = [Text("ab"), PIXEL, Text("cde"), Text("fg"), Text(""), PIXEL]
    assert told(parts, 7) == tuple(parts)
    assert told(parts, 6) == (
        Text("ab"), PIXEL, Text("cde"), Text("f… [cut: 6 of 7 characters]"), PIXEL,
    )  # fmt: skip
    assert told(parts, 5) == (Text("ab"), PIXEL, Text("cde"), Text("… [cut: 5 of 7 characters]"), PIXEL)
    assert told(parts, 1) == (Text("a… [cut: 1 of 7 characters]"), PIXEL, PIXEL)


def lambda_of(value: Any) -> Any:
    def give() -> Any:
        """Give it."""
        return value

    return give


def test_a_long_result_is_cut_and_said_so() -> None:
    assert result(tool(lambda_of("x" * 20), longest=5)) == "xxxxx… [cut: 5 of 20 characters]"
    assert result(tool(lambda_of(list(range(99))), longest=5)) == "[0,1,… [cut: 5 of 288 characters]"
    assert len(result(lambda_of("x" * 200_000))) < 100_100
    assert told("abc", 3) == "abc"


# -- progress --


@listening
def test_each_value_of_a_generator_is_told_and_the_last_is_the_result(world: World) -> None:
    for function, values in ((steps, [4, 7]), (slow_steps, [4, 7]), (returning, [4])):
        call = ToolCall("1", function.__name__, {"a": 4, "b": 3})
        with scripted(call, "7"):
            events = world.events(lambda: stream.plan(model, "4+3?", tools=[function]))  # noqa: B023
        mine = [event for event in events if getattr(event, "call", None) == call and not hasattr(event, "index")]
        assert mine == [ToolStarted(call), *[ToolProgress(call, value) for value in values], ToolFinished(call, "7")]


@everywhere
def test_a_generator_of_nothing_is_done(world: World) -> None:
    def nothing() -> Iterator[int]:
        yield from ()

    async def nothing_later() -> AsyncIterator[int]:
        return
        yield 1  # what makes it a generator

    for function in (nothing, nothing_later):
        assert answer(ToolCall("1", function.__name__), function, world=world).result == "done"


@everywhere
def test_a_generator_that_raises_has_told_what_it_had(world: World) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("half way")

    async def broken_later() -> AsyncIterator[int]:
        yield 1
        raise ValueError("half way")

    for function in (broken, broken_later):
        call = ToolCall("1", function.__name__)
        assert answer(call, function, world=world).error == "ValueError: half way"
        if world.listening:
            events = world.events(lambda: answered(call, toolbox([function])))  # noqa: B023
            assert [event for event in events if hasattr(event, "call")] == [
                ToolStarted(call), ToolProgress(call, 1), ToolFailed(call, "ValueError: half way"),
            ]  # fmt: skip


# -- time --


class Forever:
    """Tools that never end until the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def sync(self) -> None:
        """Hang."""
        self.over.wait(20)

    async def later(self) -> None:
        """Hang."""
        await anyio.sleep_forever()

    def steps(self) -> Iterator[int]:
        """Hang after a step."""
        yield 1
        self.over.wait(20)

    async def later_steps(self) -> AsyncIterator[int]:
        """Hang after a step."""
        yield 1
        await anyio.sleep_forever()

    def endless(self) -> Iterator[int]:
        """Never hang, and never end."""
        while not self.over.wait(0.01):
            yield 1


@contextmanager
def forever() -> Iterator[Forever]:
    hanging = Forever()
    try:
        yield hanging
    finally:
        hanging.over.set()


@everywhere
@pytest.mark.parametrize("name", ["sync", "later", "steps", "later_steps", "endless"])
def test_a_tool_that_takes_too_long_is_told(world: World, name: str) -> None:
    with forever() as hanging:
        ran = answer(ToolCall("1", name), tool(getattr(hanging, name), timeout=0.05), world=world)
    assert ran.error is not None
    assert ran.error.startswith("TimeoutError: ")
    assert "took longer than" in ran.error


@blocking
def patient() -> Plan[str]:
    """Wait in a step, in a child, and in a call."""

    def waits() -> Plan[None]:
        yield from Sleep(1000)

    yield from Start(waits())
    yield from Step("agent", "inner", None, waits)
    return "never"


@blocking
def helped() -> Plan[Any]:
    """Start what takes long, and wait for it."""

    def waits() -> Plan[None]:
        yield from Sleep(3)

    (outcome,) = yield from side_by_side([waits()])
    return outcome.unwrap()


@blocking
def busy() -> Plan[str]:
    """Never wait long, and never end."""
    while True:
        yield from Sleep(0.01)
        yield from Call(len, "abc")


@blocking
def calls_out() -> Plan[Any]:
    """Call something that hangs."""
    with forever() as hanging:
        return (yield from Call(hanging.later).within(500))


@everywhere
@pytest.mark.parametrize("function", [patient, helped, busy, calls_out])
def test_the_time_of_a_tool_that_is_a_plan_is_bounded_too(world: World, function: Any) -> None:
    ran = answer(ToolCall("1", function.__name__), tool(function, timeout=0.05), world=world)
    assert ran.error is not None
    assert ran.error.startswith("TimeoutError: ")
    assert answer(ToolCall("1", "planned", {"a": 1}), tool(planned, timeout=10), world=world).result == "2"


def test_the_requests_of_a_tool_that_is_a_plan_end_with_its_time() -> None:
    left: list[float] = []

    def note(effect: Any, _: Any) -> Plan[Any]:
        left.append(effect.until - (yield from Now()))

    @blocking
    def asks() -> Plan[None]:
        yield from Send(Request("GET", "http://x"))
        yield from Open(Request("GET", "http://x"), until=5.0)

    with using(layers=[{Send: note, Open: note}]):
        answer(ToolCall("1", "asks"), tool(asks, timeout=7))
    assert 6 < left[0] <= 7
    assert left[1] < 0


def test_how_long_a_call_took_is_noted() -> None:
    @blocking
    def waits() -> Plan[None]:
        yield from Sleep(3)

    with clock():
        assert answer(ToolCall("1", "waits"), waits).seconds == pytest.approx(3)


# -- the world around a tool --

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@everywhere
def test_context_variables_reach_the_tools(world: World) -> None:
    def sync() -> str:
        return who.get()

    async def later() -> str:
        return who.get()

    def step() -> Iterator[str]:
        yield who.get()

    def quick() -> str:
        return who.get()

    token = who.set("ann")
    try:
        with scripted([ToolCall("", name) for name in ("sync", "later", "step", "quick")], "done"):
            tools: list[Any] = [sync, later, step, tool(quick, timeout=10)]
            plan = stream.plan if world.listening else run_tools.plan
            response = world.run(lambda: plan(model, "Who?", tools=tools))
    finally:
        who.reset(token)
    assert [ran.result for ran in response.tool_runs] == ["ann"] * 4


# -- background --


@everywhere
def test_nobody_waits_for_a_tool_in_the_background(world: World) -> None:
    began, go, ended = threading.Event(), threading.Event(), threading.Event()

    def note(text: str) -> object:
        """Note it."""
        began.set()
        go.wait(20)
        ended.set()
        return object()

    with scripted(ToolCall("1", "note", {"text": "x"}), "Noted."):
        response = world.run(lambda: run_tools.plan(model, "I like tea.", [background(note)]))
    (ran,) = response.tool_runs
    assert (ran.background, ran.error) == (True, None)
    assert ran.result == "note has been started in the background; its result will not be told here."
    assert not ended.is_set()
    go.set()
    drain(20)
    assert began.is_set()
    assert ended.is_set()


class Logged(logging.Handler):
    """Keeps what is logged, for those who wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: SimpleQueue[logging.LogRecord] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.put(record)


@listening
def test_a_failure_in_the_background_is_an_event_and_a_log_record(world: World) -> None:
    """Who sees the record finds that the event is there, too: the run ends as soon as it is written."""
    logged = Logged()
    records = []

    def note() -> None:
        raise Mute

    def wait() -> None:
        """Wait for the record."""
        records.append(logged.records.get(timeout=20))

    calls = [ToolCall("1", "note"), ToolCall("2", "wait")]
    log = logging.getLogger("arshai_kit.background")
    log.addHandler(logged)
    try:
        with scripted(calls, "Noted."):
            events = world.events(lambda: stream.plan(model, "Go!", tools=[background(note), wait]))
    finally:
        log.removeHandler(logged)
    told = [event for event in events if isinstance(event, BackgroundStarted | BackgroundFailed | ToolFailed)]
    assert told == [BackgroundStarted(calls[0]), BackgroundFailed(calls[0], "Mute")]
    assert [record.getMessage() for record in records] == ["note failed in the background"]
    assert records[0].exc_info is not None


@everywhere
def test_arguments_for_the_background_that_do_not_fit_are_told_at_once(world: World) -> None:
    call = ToolCall("1", "plain", {"a": "x"})
    ran = answer(call, background(plain), world=world)
    assert (ran.background, ran.error) == (True, ran.result)
    assert "a: expected an integer" in str(ran.result)
    if world.listening:
        events = world.events(lambda: answered(call, toolbox([background(plain)])))
        assert [type(event) for event in events if hasattr(event, "call")] == [ToolFailed]


# -- what a layer sees --


def test_a_call_is_a_step() -> None:
    steps = []

    def on_step(step: Step[Any], where: Any) -> Plan[Any]:
        steps.append((step.kind, step.name, step.input))
        return (yield from step)

    call = ToolCall("1", "plain", {"a": 1})
    with using(layers=[{Step: on_step}]):
        answer(call, plain)
    assert steps == [("tool", "plain", call)]


def test_run_calls_anything() -> None:
    assert [run(function, 4, b=3) for function in (plain, slow, planned)] == [7, 7, 7]
    assert drive(calling(Adder(), 4, b=3)) == 7


# A generator is one function, whatever thread or task performs its steps

SPOKEN: contextvars.ContextVar[str] = contextvars.ContextVar("spoken", default="nothing")


def counting() -> Iterator[str]:
    """Count, with a variable set on the way."""
    token = SPOKEN.set("one")
    yield "one"
    assert SPOKEN.get() == "one"
    SPOKEN.reset(token)
    yield SPOKEN.get()


async def counting_async() -> AsyncIterator[str]:
    """Count as a task does."""
    token = SPOKEN.set("one")
    yield "one"
    await anyio.lowlevel.checkpoint()
    assert SPOKEN.get() == "one"
    SPOKEN.reset(token)
    yield SPOKEN.get()


@everywhere
@pytest.mark.parametrize("function", [counting, counting_async])
def test_all_steps_of_a_generator_share_one_context(world: World, function: Any) -> None:
    run = answer(ToolCall("1", function.__name__, {}), function, world=world)
    assert (run.result, run.error) == ("nothing", None)


@everywhere
def test_a_generator_that_overruns_is_named_with_its_own_time(world: World) -> None:
    def endless() -> Iterator[int]:
        """Never end."""
        while True:
            yield 1
            time.sleep(0.02)

    run = answer(ToolCall("1", "endless", {}), tool(endless, timeout=0.2), world=world)
    assert run.error == "TimeoutError: endless took longer than 0.2 s"


@everywhere
def test_a_plan_that_is_not_marked_as_one_is_the_programs_mistake(world: World) -> None:
    """As a tool it ends the run, for no model can mend it; as an agent it says what to do."""

    def asks(question: str = "Hi") -> Plan[str]:
        return (yield from complete.plan(model, question)).text

    told = r"asks\(\) yields effects.*faces\.blocking"
    with scripted(ToolCall("c1", "asks", {"question": "Hi"})), pytest.raises(NotAPlan, match=told):
        world.run(lambda: run_tools.plan(model, "Hi", [asks]))
    with scripted(), pytest.raises(NotAPlan, match=told):
        world.run(lambda: run.plan(asks, "Hi"))
    with scripted("Hello"):
        assert world.run(lambda: run.plan(blocking(asks), "Hi")) == "Hello"
