"""Asking once, in a loop, as it happens: what goes on, what ends a run, and that no history is left half told."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from arshai_kit import (
    Finished,
    Message,
    Response,
    StepFinished,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolFinished,
    ToolSpec,
    ToolStarted,
    Usage,
    aio,
    assistant,
    complete,
    evolve,
    extract,
    image,
    openai,
    openai_compatible,
    request,
    run_tools,
    stream,
    system,
    tool,
    tool_result,
    user,
    using,
)
from arshai_kit.completion import count_tokens, run
from arshai_kit.effects import Emit, Plan, Step
from arshai_kit.effects import call as calling
from arshai_kit.errors import Exhausted, Misuse, ProviderError, RateLimited, StreamIncomplete
from arshai_kit.faces import blocking
from arshai_kit.models import Ask, Capabilities, retold
from arshai_kit.records import Event, Notice, ToolResult
from arshai_kit.testing import scripted
from tests.core.worlds import World, everywhere, listening
from tests.laws.provider import provider, whole
from tests.laws.wired import wired
from tests.transport.server import Peer, serving

model = openai_compatible("toy", base_url="http://127.0.0.1:9/v1", api_key="", retry=None)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def adding(key: str, a: int = 1, b: int = 2) -> ToolCall:
    return ToolCall(key, "add", {"a": a, "b": b})


def looped(world: World, prompt: Any, tools: Any, **options: Any) -> Response:
    """What a run in *world* answers, told as events or not."""
    asking: Callable[..., Plan[Response]] = stream.plan if world.listening else run_tools.plan
    return world.run(lambda: asking(model, prompt, tools=tools, **options))


def paired(messages: Sequence[Message]) -> bool:
    """Whether every call in *messages* is followed by its result, and every result has its call."""
    open_: list[str] = []
    for message in messages:
        if message.role == "tool":
            for part in message.parts:
                assert isinstance(part, ToolResult)
                if part.id not in open_:
                    return False
                open_.remove(part.id)
        elif open_:
            return False
        open_ += [call.id for call in message.tool_calls]
    return not open_


# -- one question --


@everywhere
def test_complete_asks_once_and_hands_calls_over(world: World) -> None:
    with scripted((Text("Let me see."), adding("1"))) as script:
        response = world.run(lambda: complete.plan(model, "1+2?", tools=[add]))
    assert (response.text, response.tool_calls, response.tool_runs) == ("Let me see.", (adding("1"),), ())
    assert script.asked[0].tools == (tool(add).spec,)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Hi", (user("Hi"),)),
        (user("Hi"), (user("Hi"),)),
        (["Hi", "there"], (user("Hi"), user("there"))),
        (("Hi", assistant("Yes?"), ("a", [user("b")])), (user("Hi"), assistant("Yes?"), user("a"), user("b"))),
        (("Hi", Response((assistant("Yes?"),)), "And?"), (user("Hi"), assistant("Yes?"), user("And?"))),
        ((each for each in ["Hi"]), (user("Hi"),)),
        (user(image(b"GIF89a")), (user(image(b"GIF89a")),)),
        (
            [assistant(adding("1")), tool_result(adding("1"), "")],
            (assistant(adding("1")), tool_result(adding("1"), "")),
        ),
    ],
)
def test_a_prompt_is_what_was_said(prompt: Any, said: tuple[Message, ...]) -> None:
    with scripted("Yes") as script:
        complete(model, prompt)
    assert script.asked[0].messages == said


@pytest.mark.parametrize("prompt", ["", "  \n", (), [], [""], user(""), Response(()), ["", ("\t",)]])
def test_a_prompt_of_nothing_is_refused(prompt: Any) -> None:
    for ask in (complete, partial(run_tools, tools=[add]), partial(extract, output=int), request):
        with pytest.raises(Misuse, match="the prompt is empty"):
            ask(model, prompt)
    with pytest.raises(Misuse, match="the prompt is empty"):
        list(stream(model, prompt))


@pytest.mark.parametrize(
    "prompt",
    [None, b"Hi", 3, {"role": "user"}, MappingProxyType({"a": "b"}), [3], Text("Hi"), bytearray(b"Hi"), object()],
)
def test_what_is_no_prompt_is_refused(prompt: Any) -> None:
    with pytest.raises(Misuse, match="a prompt is a string, a message, a response"):
        complete(model, prompt)


def test_the_words_of_the_system_come_first() -> None:
    with scripted("Yes", "Yes", "Yes", "1") as script:
        complete(model, "Hi", system="Be brief.")
        complete(model, (system("Be kind."), "Hi"), system="Be brief.")
        complete(model, "Hi", system="")
        extract(model, "Hi", int, system="Be brief.")
    first, second, third, fourth = (ask.messages for ask in script.asked)
    assert first == fourth == (system("Be brief."), user("Hi"))
    assert second == (system("Be brief."), system("Be kind."), user("Hi"))
    assert third == (user("Hi"),)


@pytest.mark.parametrize("wrong", ["gpt-4", None, add, openai_compatible, type(model)])
def test_what_is_no_model_is_refused(wrong: Any) -> None:
    for ask in (complete, partial(run_tools, tools=[]), partial(extract, output=int), request):
        with pytest.raises(Misuse, match="the first argument is a model"):
            ask(wrong, "Hi")


def test_a_request_is_shown_and_not_sent() -> None:
    shown = request(model, "Hi", system="Be brief.", tools=[add], output=int, stream=True)
    body = json.loads(shown.content)
    assert shown.url == "http://127.0.0.1:9/v1/chat/completions"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["tools"][0]["function"]["name"] == "add"
    assert body["response_format"]["type"] == "json_schema"
    assert body["stream"] is True
    assert aio.request is request


class Toy:
    """A model of a user's own: all there is to one."""

    name = "toy"
    provider = "nobody"
    capabilities = Capabilities(json_schema=True)

    def __init__(self, *answers: Response, breaks: Exception | None = None) -> None:
        self.answers = list(answers)
        self.breaks = breaks
        self.asked: list[tuple[Ask, bool]] = []

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Give the next answer."""
        self.asked.append((ask, stream))
        yield from ()
        if not self.answers:
            assert self.breaks is not None
            raise self.breaks
        response = self.answers.pop(0)
        if stream:
            yield from Emit(retold(response))
        return response


def test_a_model_of_ones_own_sends_no_request() -> None:
    with pytest.raises(Misuse, match="Toy 'toy' sends no HTTP request of its own"):
        request(Toy(), "Hi")


@everywhere
def test_a_model_is_asked_for_a_stream_when_somebody_listens(world: World) -> None:
    toy = Toy(Response((assistant("Yes"),)))
    assert world.run(lambda: complete.plan(toy, "Hi")).text == "Yes"
    assert [streaming for _, streaming in toy.asked] == [world.listening]


# -- rounds --


@everywhere
def test_calls_are_answered_until_there_are_none(world: World) -> None:
    with scripted(adding("1"), [adding("2", 3, 4), adding("3", 5, 6)], "That is it.") as script:
        response = looped(world, "Go!", [add], system="Be brief.")
    assert response.text == "That is it."
    assert [(ran.call.id, ran.result) for ran in response.tool_runs] == [("1", "3"), ("2", "7"), ("3", "11")]
    assert [message.role for message in response.messages] == [
        "assistant", "tool", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert paired(response.messages)
    assert script.asked[2].messages == (system("Be brief."), user("Go!"), *response.messages[:-1])
    assert all(ask.tools == (tool(add).spec,) for ask in script.asked)


def said(*parts: Any, cost: str | None = "0.5", reason: Any = "stop") -> Response:
    told = assistant(*parts)
    reason = "tool_calls" if told.tool_calls and reason == "stop" else reason
    return Response((told,), reason, usage=Usage(3, 2), cost=None if cost is None else Decimal(cost))


def test_a_run_adds_up_what_it_used() -> None:
    response = run_tools(Toy(said(adding("1")), said("3")), "1+2?", [add])
    assert (response.usage, response.cost) == (Usage(6, 4), Decimal("1.0"))
    assert run_tools(Toy(said(adding("1"), cost=None), said("3")), "1+2?", [add]).cost is None
    unknown = run_tools(Toy(evolve(said(adding("1")), usage=Usage.unknown()), said("3")), "1+2?", [add])
    assert (unknown.usage.input_tokens, unknown.usage.reported) == (3, False)


@everywhere
def test_the_calls_of_a_round_run_side_by_side_in_bounds_and_answer_in_order(world: World) -> None:
    now, most, lock, met = 0, 0, threading.Lock(), threading.Event()

    def work(number: int) -> int:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
            if now == 3:
                met.set()
        assert met.wait(20)
        with lock:
            now -= 1
        return number

    with scripted([ToolCall(str(number), "work", {"number": number}) for number in range(9)], "Done."):
        response = looped(world, "Go!", [work], side_by_side=3)
    assert most == 3
    assert [ran.result for ran in response.tool_runs] == [str(number) for number in range(9)]


@everywhere
def test_the_same_call_twice_runs_twice(world: World) -> None:
    ran: list[int] = []

    def count() -> int:
        """Count."""
        ran.append(1)
        return len(ran)

    with scripted([ToolCall("1", "count"), ToolCall("2", "count")], ToolCall("3", "count"), "Three."):
        response = looped(world, "Go!", [count], side_by_side=1, eager=True)
    assert [(each.call.id, each.result) for each in response.tool_runs] == [("1", "1"), ("2", "2"), ("3", "3")]
    assert len(ran) == 3


@everywhere
def test_nearly_the_same_calls_are_not_mixed_up(world: World) -> None:
    """`1 == True == 1.0` in Python, and not in JSON."""

    def show(value: Any) -> str:
        return repr(value)

    values = [1, True, 1.0, "1", -0.0, 0]
    with scripted([ToolCall(str(place), "show", {"value": each}) for place, each in enumerate(values)], "Seen."):
        response = looped(world, "Go!", [show], eager=True)
    assert [ran.result for ran in response.tool_runs] == [repr(each) for each in values]


@everywhere
@pytest.mark.parametrize("ids", [("", ""), ("c", "c"), ("c", ""), ("", "c"), ("call00101", "")])
def test_every_call_has_an_id_of_its_own(world: World, ids: tuple[str, str]) -> None:
    """Missing or repeated, ids are given, so that results pair with calls wherever the history goes."""
    calls = [adding(ids[0], 1, 1), adding(ids[1], 2, 2)]
    toy = Toy(said(*calls), said(*calls), said("Done."))
    for eager in (False, True):
        toy = Toy(said(*calls), said(*calls), said("Done."))
        plan = (
            partial(stream.plan, tools=[add], eager=eager) if world.listening else partial(run_tools.plan, tools=[add])
        )
        response = world.run(lambda: plan(toy, "Go!"))  # noqa: B023
        assert paired(response.messages)
        assert all(part.id for message in response.messages for part in message.parts if isinstance(part, ToolResult))
        assert [ran.result for ran in response.tool_runs] == ["2", "4", "2", "4"]
        wire = json.loads(request(model, ("Go!", response)).content)["messages"]
        sent = [call["id"] for message in wire for call in message.get("tool_calls", ())]
        assert sent == [message["tool_call_id"] for message in wire if message["role"] == "tool"]
        assert len(set(sent)) == (4 if ids == ("", "") else 3)
        made = set(sent) - {*ids}
        assert made
        assert all(len(key) == 9 and key.isalnum() for key in made)  # as Mistral's API has them


def test_calls_that_are_handed_over_have_ids_too() -> None:
    toy = Toy(said(ToolCall("", "add"), "Well?", ToolCall("", "add")))
    response = complete(toy, "Hi", tools=[add])
    assert [call.id for call in response.tool_calls] == ["call00100", "call00101"]
    assert response.text == "Well?"


# -- calls that are handed over --

SELL = ToolSpec("sell", "Sell something.", {"type": "object", "properties": {"item": {"type": "string"}}})


@everywhere
def test_calls_of_what_cannot_be_run_are_handed_over(world: World) -> None:
    sell = ToolCall("1", "sell", {"item": "hat"})
    with scripted([sell, adding("2")]):
        response = looped(world, "Go!", [SELL, add], max_rounds=1)
    assert response.tool_calls == (sell, adding("2"))
    assert [ran.call.id for ran in response.tool_runs] == ["2"]
    with scripted("Sold.") as script:
        complete(model, ("Go!", response, tool_result(sell, "Sold.")))
    assert paired(script.asked[0].messages)


@everywhere
def test_without_tools_there_is_nothing_to_answer(world: World) -> None:
    with scripted(adding("1")):
        response = looped(world, "Go!", ())
    assert (response.tool_calls, response.tool_runs) == ((adding("1"),), ())


@everywhere
def test_an_unknown_tool_is_told_and_the_run_goes_on(world: World) -> None:
    with scripted(ToolCall("1", "fly"), "Then not.") as script:
        response = looped(world, "Go!", [SELL])
    assert response.text == "Then not."
    assert response.tool_runs[0].error == "there is no tool 'fly'; there are: sell"
    part = script.asked[1].messages[-1].parts[0]
    assert isinstance(part, ToolResult)
    assert (part.id, part.is_error) == ("1", True)


@everywhere
@pytest.mark.parametrize("reason", ["length", "content_filter", "refusal", "error"])
def test_a_reply_that_was_cut_asks_for_nothing(world: World, reason: Any) -> None:
    with scripted(said(adding("1"), reason=reason)):
        response = looped(world, "Go!", [add])
    assert (response.finish_reason, response.tool_calls) == (reason, (adding("1"),))
    assert response.tool_runs[0].error == f"not run: the reply ended with {reason!r}"
    assert paired(response.messages)


@pytest.mark.parametrize("reason", ["stop", "other", "tool_calls"])
def test_calls_count_whatever_the_provider_says_of_its_end(reason: Any) -> None:
    with scripted(evolve(said(adding("1")), finish_reason=reason), "3"):
        assert run_tools(model, "Go!", [add]).text == "3"


# -- running out --


@everywhere
def test_every_request_is_a_round(world: World) -> None:
    with (
        scripted(adding("1"), adding("2")) as script,
        pytest.raises(Exhausted, match="no final answer in 2 rounds") as out,
    ):
        looped(world, "Go!", [add], max_rounds=2)
    assert len(script.asked) == 2
    so_far = out.value.partial
    assert paired(so_far.messages)
    assert [ran.result for ran in so_far.tool_runs] == ["3", "3"]
    with scripted("Three.") as script:
        response = looped(world, ("Go!", so_far), [add])
    assert response.text == "Three."
    assert script.asked[0].messages == (user("Go!"), *so_far.messages)


@everywhere
@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("most", [0, 1, 2, 3, 4])
def test_the_number_of_calls_is_exact_and_the_rest_is_told(world: World, most: int, eager: bool) -> None:
    ran = []

    def count(n: int) -> int:
        ran.append(n)
        return n

    calls = [ToolCall(str(n), "count", {"n": n}) for n in range(4)]
    script: list[Any] = [calls[:1], calls[1:]][: 1 + (most > 0)]
    with scripted(*script, *(["Done."] if most == 4 else [])):
        if most == 4:
            assert looped(world, "Go!", [count], max_tool_calls=most, eager=eager).text == "Done."
        else:
            with pytest.raises(Exhausted, match=f"more than {most} tool calls") as out:
                looped(world, "Go!", [count], max_tool_calls=most, eager=eager)
            runs = out.value.partial.tool_runs
            told = [f"not run: only {most} tool calls are allowed"] * (len(runs) - most)
            assert [each.error for each in runs] == [*[None] * most, *told]
            assert paired(out.value.partial.messages)
    assert sorted(ran) == list(range(most))


@pytest.mark.parametrize("wrong", [{"max_rounds": 0}, {"max_rounds": -1}, {"side_by_side": 0}])
def test_limits_are_at_least_one(wrong: Any) -> None:
    with scripted(), pytest.raises(Misuse, match="must be at least 1"):
        run_tools(model, "Go!", [add], **wrong)


def test_a_limit_below_nothing_is_refused() -> None:
    with scripted(), pytest.raises(Misuse, match="max_tool_calls= is a number from 0"):
        run_tools(model, "Go!", [add], max_tool_calls=-1)


@everywhere
def test_a_choice_that_names_no_tool_is_refused_before_the_call(world: World) -> None:
    chosen = evolve(model, tool_choice="ad")
    with pytest.raises(Misuse, match="tool_choice='ad' names no tool; there are: add"):
        world.run(lambda: run_tools.plan(chosen, "Go!", [add]))


# -- errors in a later round --


@everywhere
@pytest.mark.parametrize("partial_answer", [None, said("Well"), said(adding("2")), said()])
def test_an_error_carries_everything_so_far(world: World, partial_answer: Response | None) -> None:
    toy = Toy(said(adding("1")), breaks=RateLimited("slow down", status=429, partial=partial_answer))
    plan = partial(stream.plan, tools=[add]) if world.listening else partial(run_tools.plan, tools=[add])
    with pytest.raises(RateLimited) as caught:
        world.run(lambda: plan(toy, "Go!"))
    so_far = caught.value.partial
    assert [ran.call.id for ran in so_far.tool_runs] == ["1"] + ["2"] * (partial_answer == said(adding("2")))
    assert paired(so_far.messages)
    assert all(message.parts for message in so_far.messages)
    rounds = 1 if partial_answer is None else 2
    assert (so_far.usage, so_far.cost) == (Usage(3 * rounds, 2 * rounds), Decimal("0.5") * rounds)
    assert len(so_far.messages) == 2 + (0 if partial_answer in (None, said()) else len(so_far.tool_runs))
    with scripted("Go on."):
        assert complete(model, ("Go!", so_far)).text == "Go on."


def test_an_error_in_the_first_round_carries_what_it_has() -> None:
    with pytest.raises(RateLimited) as caught:
        run_tools(Toy(breaks=RateLimited("slow down")), "Go!", [add])
    assert caught.value.partial is None
    with pytest.raises(RateLimited) as caught:
        run_tools(Toy(breaks=RateLimited("slow down", partial=said("We"))), "Go!", [add])
    assert caught.value.partial.text == "We"


def test_a_run_inside_a_tool_fails_for_the_tool_alone() -> None:
    def nested() -> str:
        return run_tools(Toy(said(adding("9")), breaks=RateLimited("slow down")), "Go!", [add]).text

    response = run_tools(Toy(said(ToolCall("1", "nested")), said("Never mind.")), "Go!", [nested])
    assert response.tool_runs[0].error == "RateLimited: slow down"
    assert response.text == "Never mind."


# -- eager calls --


def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    body = {"id": "r", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def piece(index: int, arguments: str, key: str = "", name: str = "") -> bytes:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return chunk({"tool_calls": [{"index": index, "function": function, **({"id": key} if key else {})}]})


DONE = b"data: [DONE]\n\n"
ANSWER = [chunk({"content": "Done."}), chunk({}, "stop"), DONE]


class Waiting:
    """Two rounds; the first reply has two calls, and its end is held back until *go* is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.rounds = 0
        self.held = False

    def __call__(self, peer: Peer) -> None:
        while peer.request():
            self.rounds += 1
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            peer.send(head)
            if self.rounds > 1:
                self.tell(peer, *ANSWER)
            else:
                self.tell(peer, piece(0, '{"n": 1}', "a", "first"), piece(1, '{"n"', "b", "second"))
                self.held = not self.go.wait(20)
                self.tell(peer, piece(1, ": 2}"), chunk({}, "tool_calls"), DONE)
            peer.send(b"0\r\n\r\n")

    def tell(self, peer: Peer, *data: bytes) -> None:
        for each in data:
            peer.send(b"%x\r\n%s\r\n" % (len(each), each))


@listening
@pytest.mark.parametrize("by", ["run", "tool"])
def test_an_eager_call_runs_before_the_reply_ends(world: World, by: str) -> None:
    waiting = Waiting()
    ran: list[str] = []

    def first(n: int) -> str:
        """Let the reply go on: it waits for this."""
        ran.append("first")
        waiting.go.set()
        return "one"

    def second(n: int) -> str:
        ran.append("second")
        return "two"

    with serving(waiting) as server:
        there = evolve(model, base_url=server.url)
        tools: list[Any] = [tool(first, eager=True), second] if by == "tool" else [first, second]
        events = world.events(lambda: stream.plan(there, "Go!", tools=tools, eager=by == "run"))
    assert not waiting.held
    assert ran == ["first", "second"]
    names = [(type(event), event.call.id) for event in events if isinstance(event, ToolStarted | ToolFinished)]
    ends = [place for place, event in enumerate(events) if isinstance(event, StepFinished) and event.kind == "model"]
    assert names[0] == (ToolStarted, "a")
    assert events.index(ToolStarted(ToolCall("a", "first", {"n": 1}))) < ends[0]
    assert len([each for each in names if each[1] == "a"]) == 2
    last = events[-1]
    assert isinstance(last, Finished)
    assert [(each.call.id, each.result) for each in last.response.tool_runs] == [("a", "one"), ("b", "two")]
    assert paired(last.response.messages)


@listening
def test_no_call_is_eager_by_default(world: World) -> None:
    waiting = Waiting()
    waiting.go.set()
    tools = [tool(str, name=name, parameters={"type": "object"}) for name in ("first", "second")]
    with serving(waiting) as server:
        events = world.events(lambda: stream.plan(evolve(model, base_url=server.url), "Go!", tools=tools))
    names = [type(event).__name__ for event in events]
    assert names.count("ToolStarted") == 2
    assert names.index("StepFinished") < names.index("ToolStarted")


@listening
def test_interleaved_calls_start_as_each_is_closed(world: World) -> None:
    """In fragments of two calls by turns, nothing closes before the end, and each is answered by its own."""
    data = [
        piece(0, '{"a": 1,', "a", "add"),
        piece(1, '{"a": 3,', "b", "add"),
        piece(0, ' "b": 2}'),
        piece(1, ' "b": 4}'),
        chunk({}, "tool_calls"),
        DONE,
    ]
    with using(layers=[wired(data)]), pytest.raises(Exhausted) as out:
        world.events(lambda: stream.plan(model, "Go!", tools=[add], eager=True, max_rounds=1))
    assert [(ran.call.id, ran.result) for ran in out.value.partial.tool_runs] == [("a", "3"), ("b", "7")]


@listening
def test_equal_calls_that_close_out_of_order_keep_their_ids(world: World) -> None:
    class Backwards(Toy):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            calls = [adding("a"), adding("b"), adding("c")]
            yield from Emit((ToolCallDelta(1, "add", "", calls[1]),))
            yield from Emit((ToolCallDelta(0, "add", "", calls[0]),))
            yield from Emit((ToolCallDelta(0, "add", "", calls[0]),))  # said again: a stream that began anew
            yield from Emit((ToolCallDelta(2, "add", "", calls[2]),))
            return said(*calls)

    ran: list[int] = []

    def count(a: int, b: int) -> int:
        ran.append(1)
        return len(ran)

    with pytest.raises(Exhausted) as out:
        world.events(lambda: stream.plan(Backwards(), "Go!", tools=[tool(count, name="add")], eager=True, max_rounds=1))
    assert len(ran) == 3
    assert [each.call.id for each in out.value.partial.tool_runs] == ["a", "b", "c"]
    assert paired(out.value.partial.messages)


@listening
@pytest.mark.parametrize("ids", [("", "", ""), ("c", "c", ""), ("", "c", "c"), ("a", "b", "c")])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_call_has_the_same_id_in_what_is_told_and_in_the_answer(
    world: World, order: tuple[int, ...], ids: tuple[str, ...]
) -> None:
    calls = [adding(key, place) for place, key in enumerate(ids)]

    class Telling(Toy):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            yield from Emit((ToolCallDelta(1, "add", "", adding("c")),))
            yield from Emit((Notice("restarted", "toy"),))  # what was told before is no part of the answer
            for place in order:
                yield from Emit((ToolCallDelta(place, "add", "{"), ToolCallDelta(place, "", "", calls[place])))
            return said(*calls)

    events = world.events(lambda: stream.plan(Telling(), "Go!", tools=[ToolSpec("add")]))
    whole = [event for event in events if isinstance(event, ToolCallDelta) and event.call is not None][1:]
    told = {event.index: event.call for event in whole}
    assert isinstance(events[-1], Finished)
    assert tuple(told[place] for place in range(3)) == events[-1].response.tool_calls
    assert len({call.id for call in events[-1].response.tool_calls}) == 3


@listening
@pytest.mark.parametrize("ids", [("a", "b"), ("", "")])
def test_a_call_keeps_its_id_where_those_before_it_are_cut_off(world: World, ids: tuple[str, str]) -> None:
    class Cut(Toy):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            yield from Emit((ToolCallDelta(0, "add", '{"a":'), ToolCallDelta(1, "add", "", adding(ids[1]))))
            raise StreamIncomplete("cut", partial=said(adding(ids[1]), reason="error"))

    with pytest.raises(StreamIncomplete) as caught:
        world.events(lambda: stream.plan(Cut(), "Go!", tools=[add], eager=True))
    so_far = caught.value.partial
    assert [(ran.call.id, ran.result) for ran in so_far.tool_runs] == [(ids[1] or "call00101", "3")]
    assert paired(so_far.messages)


@listening
def test_calls_without_an_id_are_paired_where_a_stream_was_cut(world: World) -> None:
    data = [piece(0, '{"a": 1, "b": 2}', "", "add"), piece(1, '{"a": 3, "b": 4}', "", "add"), piece(2, "{", "", "add")]
    with using(layers=[wired(data, cut=True)]), pytest.raises(StreamIncomplete) as caught:
        world.events(lambda: stream.plan(model, "Go!", tools=[add], eager=True))
    so_far = caught.value.partial
    assert [ran.call.id for ran in so_far.tool_runs] == ["call00100", "call00101"]
    assert paired(so_far.messages)


@listening
@pytest.mark.parametrize("eager", [False, True])
def test_what_ran_before_a_stream_was_cut_stays(world: World, eager: bool) -> None:
    data = [
        chunk({"content": "Let me see."}),
        piece(0, '{"a": 1, "b": 2}', "a", "add"),
        piece(1, '{"a": 3, "b": 4}', "b", "sell"),
        piece(2, '{"a": 5, "b": 6}', "c", "add"),
    ]
    tools: list[Any] = [add, ToolSpec("sell")]
    with using(layers=[wired(data, cut=True)]), pytest.raises(StreamIncomplete) as caught:
        world.events(lambda: stream.plan(model, "Go!", tools=tools, eager=eager))
    so_far = caught.value.partial
    broke = "not run: the run broke off"
    assert [(ran.call.id, ran.result) for ran in so_far.tool_runs] == [("a", "3" if eager else broke), ("b", broke)]
    assert so_far.text == "Let me see."
    assert (so_far.finish_reason, paired(so_far.messages)) == ("error", True)


@listening
def test_a_call_that_ran_is_not_lost_when_the_model_keeps_nothing(world: World) -> None:
    class Breaking(Toy):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            yield from Emit((ToolCallDelta(0, "add", "", adding("")),))
            raise ProviderError("broke")

    with pytest.raises(ProviderError) as caught:
        world.events(lambda: stream.plan(Breaking(), "Go!", tools=[add], eager=True))
    so_far = caught.value.partial
    assert [(ran.call.id, ran.result) for ran in so_far.tool_runs] == [("call00100", "3")]
    assert paired(so_far.messages)


@listening
def test_models_inside_a_model_are_heard_too(world: World) -> None:
    """A wrapper may ask others in steps of their own."""

    class Wrapper(Toy):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            step: Step[Response] = Step("model", "inner", ask, lambda: inner.ask(ask, stream=stream))
            return (yield from step)

    inner = Toy(said('{"value": 3}'))
    events = world.events(lambda: stream.plan(Wrapper(), "Go!", output=int))
    assert "PartialOutput" in [type(event).__name__ for event in events]


@listening
def test_another_step_inside_a_model_is_not_the_models(world: World) -> None:
    class Using(Toy):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            def look() -> Plan[None]:
                yield from Emit((ToolCallDelta(0, "add", "", adding("9")),))

            yield from Step("tool", "look", None, look)
            return said("Done.")

    assert not [
        event
        for event in world.events(lambda: stream.plan(Using(), "Go!", tools=[add], eager=True))
        if isinstance(event, ToolStarted)
    ]


# -- streams of agents --


def shout(prompt: str, **more: Any) -> Any:
    """Say it louder."""
    return prompt.upper() + "".join(f" {name}={value}" for name, value in more.items())


async def shout_later(prompt: str, **more: Any) -> Any:
    """Say it louder, later."""
    await anyio.lowlevel.checkpoint()
    return shout(prompt, **more)


@blocking
def desk(prompt: str, *, key: str = "") -> Plan[Response]:
    """An agent of ours."""
    response: Response = yield from calling(complete, model, f"{key}: {prompt}")
    return response


@listening
def test_a_stream_of_a_function_is_its_answer(world: World) -> None:
    for agent in (shout, shout_later):
        (event,) = world.events(lambda: stream.plan(agent, "hi", key=7))  # noqa: B023
        assert event == Finished(Response((assistant("HI key=7"),)))
    assert world.events(lambda: stream.plan(lambda _: {"a": 1}, "hi")) == [
        Finished(Response((assistant("{'a': 1}"),), output={"a": 1}))
    ]
    assert world.events(lambda: stream.plan(lambda _: None, "hi")) == [Finished(Response((assistant(),)))]
    whole_response = Response((assistant("Hm"),), model="m")
    assert world.events(lambda: stream.plan(lambda *_: whole_response, "hi", 3)) == [Finished(whole_response)]


@listening
def test_a_stream_of_an_agent_tells_what_happens_inside(world: World) -> None:
    with scripted("Hello.") as script:
        events = world.events(lambda: stream.plan(desk, "hi", key="ann"))
    assert TextDelta("Hello.") in events
    assert script.asked[0].messages == (user("ann: hi"),)


def test_an_agent_is_told_what_was_said_and_nothing_else() -> None:
    seen: list[dict[str, Any]] = []

    def agent(prompt: str, **options: Any) -> str:
        seen.append(options)
        return prompt

    list(stream(agent, "hi"))
    list(stream(agent, "hi", key=1, system="s", tools=[add], output=int, max_rounds=3, max_tool_calls=0, eager=True))
    assert seen[0] == {}
    limits = {"max_rounds": 3, "max_tool_calls": 0, "eager": True}
    assert seen[1] == {"system": "s", "tools": (tool(add),), "output": int, "key": 1, **limits}


def word_by_word(prompt: str) -> Iterator[Any]:
    yield "You said "
    yield ThinkingDelta("hm")
    yield prompt


async def word_by_word_later(prompt: str) -> AsyncIterator[Any]:
    for word in word_by_word(prompt):
        yield word


@everywhere
@pytest.mark.parametrize("agent", [word_by_word, word_by_word_later])
def test_an_agent_that_is_a_generator_speaks_as_it_goes(world: World, agent: Any) -> None:
    assert world.run(lambda: run.plan(agent, "hi")) == "You said hi"
    told = world.events(lambda: stream.plan(agent, "hi"))
    if world.listening:
        assert told[:-1] == [TextDelta("You said "), ThinkingDelta("hm"), TextDelta("hi")]
        assert answer_of(told).text == "You said hi"


def answer_of(told: Sequence[Event]) -> Response:
    (last,) = [event.response for event in told if isinstance(event, Finished)]
    return last


def test_an_agent_may_hand_on_the_events_of_another() -> None:
    def echo(prompt: str) -> Iterator[Any]:
        yield from stream(model, prompt)

    def counted(prompt: str) -> Generator[Any, None, int]:
        yield "thinking"
        yield 1
        return 2  # what it returns counts

    with scripted("Hello."):
        handed_on = tuple(stream(echo, "hi"))
    assert TextDelta("Hello.") in handed_on
    assert answer_of(handed_on).text == "Hello."
    assert answer_of(tuple(stream(counted, "hi"))).output == 2


@pytest.mark.parametrize("wrong", ["gpt-4", None, 3])
def test_what_is_neither_model_nor_function_is_no_agent(wrong: Any) -> None:
    for ask in (lambda: list(stream(wrong, "hi")), lambda: run(wrong, "hi")):
        with pytest.raises(Misuse, match="an agent is a function from a prompt to an answer, not"):
            ask()
    with pytest.raises(Misuse, match="an agent is a function"):
        run(model, "hi")  # type: ignore[arg-type]  # a type checker refuses it, too


@pytest.mark.parametrize("ask", [stream, aio.stream])
def test_a_model_takes_no_arguments_of_an_agent(ask: Any) -> None:
    """What cannot be asked is refused by the call, before anybody wants an event."""
    with pytest.raises(Misuse, match=r"a model takes no key; evolve\(model, …\)"):
        ask(model, "hi", key=3)
    with pytest.raises(Misuse, match="a model takes no further arguments"):
        ask(model, "hi", 3)
    with pytest.raises(Misuse, match="the prompt is empty"):
        ask(model, "")


@everywhere
def test_run_runs_anything_that_can_be_called(world: World) -> None:
    with scripted("Hello."):
        assert world.run(lambda: run.plan(desk, "hi", key="ann")).text == "Hello."
    assert world.run(lambda: run.plan(shout, "hi", function=3)) == "HI function=3"
    assert world.run(lambda: run.plan(shout_later, "hi")) == "HI"
    assert world.run(lambda: run.plan(len, "hi")) == 2


@pytest.mark.anyio
async def test_the_async_faces_run_the_same_plans() -> None:
    with scripted("Hello.", adding("1"), "3", '{"value": 3}', "Hi", "Bye"):
        assert (await aio.complete(model, "hi")).text == "Hello."
        assert (await aio.run_tools(model, "1+2?", [add])).text == "3"
        assert await aio.extract(model, "1+2?", int) == 3
        assert (await aio.run(desk, "hi")).text == "Hi"
        async with aio.stream(model, "bye") as events:
            last = [event async for event in events][-1]
    assert isinstance(last, Finished)
    assert last.response.text == "Bye"


# -- leaving --


@listening
def test_leaving_a_stream_cancels_what_it_started(world: World) -> None:
    over, started = threading.Event(), threading.Event()

    async def hang() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            over.set()

    with scripted(ToolCall("1", "hang")):
        leave(world, lambda: stream.plan(model, "Go!", tools=[hang]))
    assert not started.is_set() or over.wait(20)


def leave(world: World, plan: Callable[[], Plan[Any]]) -> None:
    """Leave the stream of *plan* when a tool has started."""
    from arshai_kit.faces import AsyncStream, Stream

    async def main() -> None:
        async with AsyncStream(plan()) as events:
            async for event in events:
                if isinstance(event, ToolStarted):
                    break

    if world.backend:
        anyio.run(main, backend=world.backend)
        return
    with Stream(plan()) as events:
        for event in events:
            if isinstance(event, ToolStarted):
                break


# -- counting --


@everywhere
def test_tokens_are_counted_by_the_provider_that_counts_them(world: World) -> None:
    with provider() as there:
        there.answers(whole({"object": "response.input_tokens", "input_tokens": 11}))
        counting = openai("gpt-5-mini", api_key="k", base_url=there.address, retry=None)
        assert world.run(lambda: count_tokens.plan(counting, "Go!", system="Be brief.", tools=[add])) == 11


def test_who_counts_no_tokens_says_so() -> None:
    with pytest.raises(Misuse, match="has no endpoint that counts tokens"):
        count_tokens(model, "Go!")
    with pytest.raises(Misuse, match="Toy 'toy' counts no tokens"):
        count_tokens(Toy(), "Go!")
