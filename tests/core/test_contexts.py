"""What is in force where: context variables and `using`, in plans, functions, threads and loops."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from arshai_kit.effects import (
    Call,
    Effect,
    Emit,
    Now,
    Open,
    Plan,
    Request,
    Send,
    Sleep,
    Start,
    Step,
    Where,
    side_by_side,
)
from arshai_kit.errors import Misuse
from arshai_kit.faces import AsyncStream, Stream, adrive, drive
from arshai_kit.records import TextDelta
from arshai_kit.scope import Limits, current, default_limits, using
from tests.core.worlds import World, everywhere, on_both
from tests.transport.server import always, reply, serving

SPAN: ContextVar[str] = ContextVar("span", default="none")


def span() -> str:
    return SPAN.get()


async def async_span() -> str:
    await anyio.lowlevel.checkpoint()
    return SPAN.get()


def setting() -> Plan[None]:
    SPAN.set("the plan's")
    yield from Emit((TextDelta("set"),))
    assert SPAN.get() == "the plan's"
    yield from Emit((TextDelta("still set"),))


def test_what_a_plan_sets_does_not_show_between_its_events() -> None:
    stream = Stream(setting())
    for _ in stream:
        assert SPAN.get() == "none"
    assert SPAN.get() == "none"


@on_both
def test_what_a_plan_sets_does_not_show_between_its_events_in_async_code(backend: str) -> None:
    async def main() -> None:
        async with AsyncStream(setting()) as events:
            async for _ in events:
                assert SPAN.get() == "none"

    anyio.run(main, backend=backend)


def test_what_the_consumer_sets_later_does_not_show_in_the_plan() -> None:
    seen: list[str] = []

    def plan() -> Plan[None]:
        for _ in range(2):
            yield from Emit((TextDelta("x"),))
            seen.extend([SPAN.get(), (yield from Call(span)), (yield from Call(async_span))])

    token = SPAN.set("at the start")
    try:
        for _ in Stream(plan()):
            SPAN.set("later")
    finally:
        SPAN.reset(token)
    assert seen == ["at the start"] * 6


@everywhere
def test_functions_see_what_the_plan_that_calls_them_sees(world: World) -> None:
    def child(name: str) -> Plan[Any]:
        SPAN.set(name)
        answers = (yield from Call(span)), (yield from Call(async_span)), (yield from Call(lambda: async_span()))
        return (*answers, SPAN.get())

    def plan() -> Plan[Any]:
        SPAN.set("parent")
        alone = yield from Step("tool", "t", None, lambda: child("alone"))
        outcomes = yield from side_by_side([child("a"), child("b")])
        return [alone, *[outcome.unwrap() for outcome in outcomes], SPAN.get()]

    assert world.run(plan) == [("alone",) * 4, ("a",) * 4, ("b",) * 4, "alone"]


@everywhere
def test_what_a_function_sets_does_not_show_in_the_plan(world: World) -> None:
    async def sets_async() -> None:
        SPAN.set("the function's")

    def sets() -> None:
        SPAN.set("the function's")

    def plan() -> Plan[str]:
        yield from Call(sets)
        yield from Call(sets_async)
        yield from side_by_side([iter(Call(sets)), iter(Call(sets_async))])
        return SPAN.get()

    assert world.run(plan) == "none"


@everywhere
def test_using_reaches_whatever_a_plan_calls(world: World) -> None:
    def tags() -> dict[str, Any]:
        return dict(current().tags)

    async def async_tags() -> dict[str, Any]:
        return dict(current().tags)

    def nested() -> Any:
        return drive(iter(Call(tags)))

    async def async_nested() -> Any:
        return await adrive(iter(Call(async_tags)))

    def plan() -> Plan[Any]:
        functions = (tags, async_tags, nested, async_nested)
        outcomes = yield from side_by_side([iter(Call(function)) for function in functions])
        alone = []
        for function in functions:
            alone.append((yield from Call(function)))
        return [*alone, *[outcome.unwrap() for outcome in outcomes]]

    with using(tags={"user": "u", "depth": 1}), using(tags={"depth": 2}):
        assert world.run(plan) == [{"user": "u", "depth": 2}] * 8
    assert current().tags == {}


@everywhere
def test_layers_of_blocks_add_up_outermost_first_and_end_with_their_block(world: World) -> None:
    order: list[Any] = []

    def noting(name: str) -> Any:
        def on_now(effect: Now, where: Where) -> Plan[Any]:
            order.append((name, where.path, dict(where.tags)))
            return (yield from effect)

        return {Now: on_now}

    with using(layers=[noting("a"), noting("b")], tags={"x": (1, [2])}), using(layers=[noting("c")]):
        world.run(lambda: iter(Now()))
    world.run(lambda: iter(Now()))
    assert order == [(name, "/now#0", {"x": (1, (2,))}) for name in "abc"]


def test_a_block_is_entered_once() -> None:
    block = using()
    with block, pytest.raises(Misuse, match="once"):
        block.__enter__()


@on_both
def test_an_async_block_is_entered_once(backend: str) -> None:
    async def main() -> None:
        block = using(tags={"a": 1})
        async with block:
            assert current().tags == {"a": 1}
            with pytest.raises(Misuse, match="once"):
                await block.__aenter__()
        assert current().tags == {}

    anyio.run(main, backend=backend)


@on_both
def test_a_block_left_by_an_error_lets_the_error_pass(backend: str) -> None:
    async def main() -> None:
        async with using():
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        anyio.run(main, backend=backend)
    with pytest.raises(KeyError, match="mine"), using():
        raise KeyError("mine")


@pytest.mark.parametrize("client", [3, "httpx", object()])
def test_what_is_no_client_is_refused_at_once(client: Any) -> None:
    with pytest.raises(Misuse, match="httpx"):
        using(client=client)


def test_a_client_goes_to_the_world_that_it_fits() -> None:
    class Sync:
        def send(self) -> None: ...

    class Async:
        async def send(self) -> None: ...

    sync, other = Sync(), Async()
    with using(client=sync), using(client=other), using(limits=Limits(max_threads=3)):
        assert current().client is sync
        assert current().async_client is other
        assert current().limits == Limits(max_threads=3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layers": [{"Step": iter}]}, "kinds of effects, classes like arshai_kit.effects.Step, not 'Step'"),
        ({"layers": [{Step: iter}, {Effect: iter}]}, "not Effect itself"),
        ({"layers": [{Call[int]: iter}]}, "not arshai_kit.effects.Call"),
        ({"layers": [{int: iter}]}, "not <class 'int'>"),
        ({"layers": [{Step: "approve"}]}, "what a layer has for Step is a function, not str"),
        ({"layers": {Step: iter}}, "layers= takes a list of layers"),
        ({"layers": [iter]}, "a layer is a mapping from kinds of effects to handlers, not builtin"),
        ({"layers": iter}, "layers= takes a list of layers"),
        ({"layers": None}, "layers= takes a list of layers"),
        ({"tags": 3}, "tags= takes a mapping"),
        ({"tags": None}, "tags= takes a mapping"),
    ],
)
def test_what_could_never_be_in_force_is_refused_at_once(wrong: Any, said: str) -> None:
    with pytest.raises(Misuse) as raised:
        using(**wrong)
    assert said in str(raised.value)


@everywhere
def test_nothing_goes_past_a_client_of_the_other_world(world: World) -> None:
    """It may be the only way out, or hold the proxy, the certificates or the fake that the caller counts on."""
    import httpx

    def sending() -> Plan[Any]:
        return (yield from Send(Request("GET", server.url)))

    def opening() -> Plan[Any]:
        return (yield from Open(Request("GET", server.url)))

    other = httpx.Client() if world.backend else httpx.AsyncClient()
    with serving(always(reply())) as server, using(client=other):
        for plan in (sending, opening):
            with pytest.raises(Misuse, match=r"its (a)?sync twin.*using\(client="):
                world.run(plan)
        assert server.peers == []


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_limits_of_the_environment_are_whole_numbers_above_zero(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    for name in ("ARSHAI_MAX_CONNECTIONS", "ARSHAI_MAX_CONNECTIONS_PER_HOST", "ARSHAI_MAX_THREADS"):
        with monkeypatch.context() as patch:
            patch.setenv(name, text)
            with pytest.raises(Misuse, match=name):
                Limits()


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ARSHAI_MAX_CONNECTIONS_PER_HOST", "ARSHAI_MAX_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ARSHAI_MAX_CONNECTIONS", "7")
    limits = Limits()
    assert (limits.max_connections, limits.max_connections_per_host) == (7, 7)
    assert 2 <= limits.max_threads <= 32
    monkeypatch.setenv("ARSHAI_MAX_CONNECTIONS_PER_HOST", "3")
    monkeypatch.setenv("ARSHAI_MAX_THREADS", "5")
    assert Limits() == Limits(7, 3, 5)
    assert default_limits() is default_limits()


@everywhere
def test_children_begin_with_what_their_parent_sees_then(world: World) -> None:
    def child() -> Plan[str]:
        yield from Sleep(0.01)
        return SPAN.get()

    def plan() -> Plan[Any]:
        SPAN.set("before")
        handle = yield from Start(child())
        SPAN.set("after")
        from arshai_kit.effects import Join

        return (yield from Join((handle,)))[0].unwrap(), SPAN.get()

    assert world.run(plan) == ("before", "after")
