"""A turn is kept whole or not at all: in all worlds, through compositions, whoever fails, leaves or comes then."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import aio, openai_compatible, run, stream, using
from arshai_kit.agents import agent, approve, as_tool, guard, handoff, insist, parallel, pipe, placed, route, to_mermaid
from arshai_kit.codec import from_json, to_json
from arshai_kit.effects import Emit, Plan, Step, Where, side_by_side
from arshai_kit.errors import (
    ApprovalNeeded,
    ArshaiError,
    Misuse,
    PauseRefused,
    ServerFailed,
    StoreUnreachable,
    TimedOut,
    TooLarge,
    TurnTaken,
)
from arshai_kit.faces import drive
from arshai_kit.memory import Conversation, Memory, Recalled, in_memory, remembering
from arshai_kit.memory.pairing import paired, put_right
from arshai_kit.records import (
    Message,
    Notice,
    Paused,
    Response,
    TextDelta,
    ToolCall,
    assistant,
    close_open_calls,
    tool_result,
    user,
)
from arshai_kit.resilience import deadline, fallback
from arshai_kit.testing import played_by, recorded, replayed, scripted
from tests.agents.toys import Echo
from tests.core.worlds import World, everywhere, listening, on_both
from tests.memory.backends import Store

MODEL = openai_compatible("m", base_url="http://127.0.0.1:9", api_key="")


def last(said: tuple[Message, ...]) -> str:
    """Answers with how many messages it was given, and the last one."""
    return f"{len(said)}:{said[-1].text}"


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


# -- turns, one after the other --


@everywhere
def test_what_was_said_comes_again_and_the_answer_holds_what_is_new(store: Store, world: World) -> None:
    memory = store.memory()
    chat = remembering(last, memory)
    first = world.run(lambda: chat.plan("one", key="k"))
    second = world.run(lambda: chat.plan([user("two"), user("three")], key="k"))
    assert (first.text, second.text) == ("1:one", "4:three")
    assert second.messages == (assistant("4:three"),)
    said = (user("one"), assistant("1:one"), user("two"), user("three"), assistant("4:three"))
    assert drive(memory.asked(memory.load, "k")).messages == said
    assert world.run(lambda: chat.plan("other", key="elsewhere")).text == "1:other"


@everywhere
def test_calls_and_their_results_are_kept_together(world: World) -> None:
    memory = in_memory()
    chat = remembering(agent(MODEL, system="You add.", tools=[add]), memory)
    with scripted(ToolCall("c1", "add", {"a": 1, "b": 2}), "Three.", "Nothing.") as script:
        response = world.run(lambda: chat.plan("1 + 2?", key="k"))
        world.run(lambda: chat.plan("And now?", key="k"))
    assert [
        message.role for message in memory.load("k").messages
    ] == "user assistant tool assistant user assistant".split()
    assert memory.load("k").messages[1:4] == response.messages
    assert [message.role for message in script.asked[2].messages].count("system") == 1


def _turns() -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["fine", "call", "fail", "late"])), max_size=6
    )


@given(turns=_turns())
def test_the_history_is_the_sum_of_the_turns_that_succeeded(turns: list[tuple[str, str]]) -> None:
    """Whatever fails, and when; and it is one that providers take."""
    memory, kept = in_memory(), dict[str, tuple[Message, ...]]()
    chat = remembering(agent(MODEL, tools=[add]), memory)
    call = ToolCall("c", "add", {"a": 1, "b": 2})
    script: dict[str, list[Any]] = {
        "fine": ["Yes."],
        "call": [call, "Yes."],
        "fail": [ServerFailed("no")],
        "late": [call, ServerFailed("no")],
    }
    with scripted(*[answer for _, how in turns for answer in script[how]]):
        for key, _ in turns:
            try:
                response = chat("Well?", key=key)
            except ServerFailed:
                continue
            kept[key] = (*kept.get(key, ()), user("Well?"), *response.messages)
    for key in ("a", "b"):
        said = memory.load(key).messages
        assert said == kept.get(key, ()) == close_open_calls(said)
    assert len(memory.backend._turns) == 0


def test_a_call_that_was_handed_over_is_answered_by_the_next_turn(store: Store) -> None:
    """By the prompt, or, if it has no answer, by the word that it was interrupted."""
    memory = store.memory()
    calls = ToolCall("c1", "ask_the_user"), ToolCall("c2", "ask_the_boss")
    chat = remembering(lambda said: Response((assistant(*calls),)) if len(said) == 1 else "Fine.", memory)
    chat("Well?", key="k")
    said = drive(memory.asked(memory.load, "k")).messages
    assert said[-1].tool_calls == calls
    chat([tool_result(calls[0], "Yes."), user("Go on.")], key="k")
    said = drive(memory.asked(memory.load, "k")).messages
    assert close_open_calls(said) == said
    assert tool_result(calls[0], "Yes.") in said
    assert [message.role for message in said] == "user assistant tool tool user assistant".split()


@pytest.mark.parametrize("answered", [True, False])
def test_a_late_turn_never_stands_between_a_call_and_its_result(store: Store, answered: bool) -> None:
    """Its lease was over, and another turn handed a call over meanwhile."""
    memory, call = store.memory(), ToolCall("c1", "ask_the_user")
    begun, go, seen = threading.Event(), threading.Event(), list[tuple[Message, ...]]()

    def speaks(said: tuple[Message, ...]) -> Any:
        seen.append(said)
        if said[-1].text == "slow":
            begun.set()
            go.wait(60)
        return Response((assistant(call),)) if said[-1].text == "ask" else "Fine."

    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(remembering(speaks, memory, lease=0.05), "slow", key="k")
        assert begun.wait(60)
        chat = remembering(speaks, memory)
        chat("ask", key="k")
        go.set()
        late.result(60)
    chat([tool_result(call, "Yes."), user("Go on.")] if answered else "Go on.", key="k")
    chat("And now?", key="k")
    for said in seen[2:]:
        assert [message.role for message in said[:5]] == "user assistant tool user assistant".split()
        assert ("Yes." in repr(said[2])) is answered
        assert close_open_calls(said) == said
    assert drive(memory.asked(memory.load, "k")).messages[:-2] == seen[-1][:-1]


def test_a_prompt_that_brings_a_call_without_a_result_is_kept_with_one(store: Store) -> None:
    memory = store.memory()
    remembering(lambda said: "Fine.", memory)([user("Well?"), assistant(ToolCall("c1", "look"))], key="k")
    said = drive(memory.asked(memory.load, "k")).messages
    assert [message.role for message in said] == "user assistant tool assistant".split()
    assert close_open_calls(said) == said


def test_a_result_that_no_call_waits_for_is_refused_before_anybody_is_asked(store: Store) -> None:
    """As when the conversation is forgotten: it would begin with a result for good."""
    memory, call = store.memory(), ToolCall("c1", "ask_the_user")
    asked = list[Any]()

    def asks(said: tuple[Message, ...]) -> Response:
        asked.append(said)
        return Response((assistant(call),))

    chat = remembering(asks, memory)
    chat("Well?", key="k")
    drive(memory.asked(memory.forget, "k"))
    with pytest.raises(Misuse, match=r"result of 'ask_the_user' \('c1'\), for which no call waits in 'k'"):
        chat([tool_result(call, "Yes."), user("Go on.")], key="k")
    assert len(asked) == 1
    assert drive(memory.asked(memory.load, "k")) == Conversation()
    assert free(memory)


def test_what_cannot_be_put_right_where_it_is_kept_is_put_right_where_it_is_sent() -> None:
    def away(*_: Any) -> int:
        raise StoreUnreachable("away")

    memory = in_memory()
    memory.append("k", [assistant(ToolCall("c1", "look")), user("Well?"), assistant("Fine.")])
    chat = remembering(lambda said: " ".join(each.role for each in said), evolve(memory, replace=away))
    assert chat("So?", key="k").text == "assistant tool user assistant user"


def _asking() -> st.SearchStrategy[list[Message]]:
    """Calls, their results and other words, in any order."""
    calls = st.sampled_from([ToolCall(own, "look") for own in ("c1", "c2", "")])
    results = calls.map(lambda call: tool_result(call, "Yes."))
    asks = st.lists(calls, min_size=1, max_size=2).map(lambda some: assistant(*some))
    return st.lists(st.one_of(asks, results, st.sampled_from([user("Well?"), assistant("Fine.")])), max_size=8)


@given(said=_asking(), new=_asking())
def test_what_is_put_right_loses_nothing_and_is_right(said: list[Message], new: list[Message]) -> None:
    before, behind, fits = put_right(tuple(said), tuple(new))
    whole = paired((*said, *new))
    assert (*before, *behind) == (whole if fits else (*said, *new))
    assert paired(whole) == whole
    assert not [each for each in (*said, *new) if (*said, *new).count(each) > whole.count(each)]
    last = max([place for place, each in enumerate(whole) if each.role != "tool"], default=0)
    assert close_open_calls(whole)[: last + 1] == whole[: last + 1]
    if not any(each.role == "tool" or each.tool_calls for each in (*said, *new)):
        assert (before, behind) == (tuple(said), tuple(new))


def test_a_view_makes_what_is_sent_and_not_what_is_kept(store: Store) -> None:
    memory = store.memory()
    seen = list[Recalled]()

    def latest(recalled: Recalled) -> Recalled:
        seen.append(recalled)
        return evolve(
            recalled.only(range(max(0, len(recalled.messages) - 1), len(recalled.messages))), prompt=[user("!")]
        )

    chat = remembering(last, memory, latest)
    assert [chat(word, key="k").text for word in ("a", "b", "c")] == ["1:!", "2:!", "2:!"]
    assert [message.text for message in drive(memory.asked(memory.load, "k")).messages] == "a 1:! b 2:! c 2:!".split()
    assert [len(each.messages) for each in seen] == [0, 2, 4]
    assert seen[1].version < seen[2].version
    with pytest.raises(Misuse, match="Recalled"):
        remembering(last, memory, lambda recalled: recalled.messages)("d", key="k")


# -- through compositions --


def test_a_composition_remembers_as_one(store: Store) -> None:
    memory = store.memory()
    desk = route(
        lambda said: "b" if len(said) > 1 else "a", {"a": lambda _: "Alpha.", "b": lambda said: f"Beta {len(said)}."}
    )
    chat = remembering(desk, memory)
    assert chat("one", key="k").text == "Alpha."
    assert chat("two", key="k").text == "Beta 3."
    inside = pipe(lambda said: said, _keyed(memory))
    assert inside("three").text.endswith("5:three")


def _keyed(memory: Memory) -> Any:
    """An agent that remembers, under a key that it knows itself."""
    chat = remembering(last, memory)

    def keyed(prompt: Any) -> Any:
        return chat(prompt, key="k")

    return keyed


@listening
def test_what_is_told_keeps_its_path(world: World) -> None:
    def speaks(said: tuple[Message, ...]) -> Iterator[str]:
        yield "Hel"
        yield "lo."

    chat = remembering(route(lambda _: "desk", {"desk": speaks}), in_memory())
    events = world.events(lambda: chat.plan("Hi", key="k"))
    assert [(event.text, event.path) for event in events if isinstance(event, TextDelta)] == [
        ("Hel", "desk"),
        ("lo.", "desk"),
    ]
    assert list(stream(chat, "Hi", key="k"))[-1].response.text == "Hello."  # type: ignore[union-attr]


def test_layers_see_what_the_memory_is_asked() -> None:
    seen = list[tuple[str, str]]()

    def on(step: Step[Any], _: Where) -> Plan[Any]:
        seen.append((step.kind, step.name))
        return (yield from step)

    with using(layers=[{Step: on}]):
        remembering(last, in_memory())("Hi", key="k")
    assert seen == [("memory", each) for each in ("enter", "load", "append", "leave")]


def test_a_recorded_turn_is_replayed_without_its_memory(store: Store, tmp_path: Path) -> None:
    memory = store.memory()
    chat = remembering(last, memory)
    chat("one", key="k")
    with recorded(tmp_path / "turn.json"):
        said = chat("two", key="k")
    before = drive(memory.asked(memory.load, "k"))
    with replayed(tmp_path / "turn.json"):
        assert chat("two", key="k") == said
    assert drive(memory.asked(memory.load, "k")) == before


# -- many at a time --


def test_turns_of_one_key_come_one_after_the_other(store: Store) -> None:
    """Whichever thread, run or handle they come from: each finds what all before it have said."""
    start = threading.Barrier(6)

    def speak(number: int) -> str:
        chat = remembering(last, store.memory())
        start.wait(60)
        return chat(f"{number}", key="k").text

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(speak, range(6)))
    assert sorted(int(answer.partition(":")[0]) for answer in answers) == [1, 3, 5, 7, 9, 11]


@on_both
def test_turns_of_tasks_come_one_after_the_other(store: Store, backend: str) -> None:
    """Those of two keys beside each other."""
    memory, answers = store.memory(), list[str]()

    async def slowly(said: tuple[Message, ...]) -> str:
        await anyio.lowlevel.checkpoint()
        return last(said)

    async def speak(key: str, number: int) -> None:
        answers.append(f"{key} {(await aio.run(remembering(slowly, memory), f'{number}', key=key)).text}")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(5):
                for key in ("a", "b"):
                    group.start_soon(speak, key, number)

    anyio.run(main, backend=backend)
    assert sorted(each.partition(":")[0] for each in answers) == [f"{key} {n}" for key in "ab" for n in (1, 3, 5, 7, 9)]


@everywhere
def test_turns_of_one_run_wait_for_one_another(world: World) -> None:
    chat = remembering(last, in_memory())
    outcomes = world.run(lambda: side_by_side([chat.plan(f"{number}", key="k") for number in range(5)]))
    answers = [outcome.unwrap().text for outcome in outcomes]
    assert sorted(int(answer.partition(":")[0]) for answer in answers) == [1, 3, 5, 7, 9]


def test_who_waits_is_told_and_who_is_not_to_wait_is_refused(store: Store) -> None:
    memory = store.memory()
    drive(memory.asked(memory.enter, "k", "somebody", 60.0))  # type: ignore[arg-type]
    with pytest.raises(TurnTaken) as raised:
        remembering(last, memory, turns="refuse")("Hi", key="k")
    assert raised.value.retry_after
    with stream(remembering(last, memory), "Hi", key="k") as events:
        notices = [event for event in _until_waiting(events) if isinstance(event, Notice)]
        assert [(notice.kind, notice.name) for notice in notices] == [("waiting", "last")]
    drive(memory.asked(memory.leave, "k", "somebody"))  # type: ignore[arg-type]
    assert remembering(last, memory)("Hi", key="k").text == "1:Hi"


def _until_waiting(events: Any) -> Iterator[Any]:
    for event in events:
        yield event
        if isinstance(event, Notice):
            return


def test_a_tool_may_speak_in_the_conversation_that_it_is_called_in(store: Store) -> None:
    """It is a part of that turn: it does not wait for it, and what it says is there first."""
    memory = store.memory()

    def outer(said: tuple[Message, ...]) -> str:
        return inner(said[-1].text, key="k").text + run(inner, "again", key="k").text  # type: ignore[no-any-return]

    inner = remembering(last, memory)
    assert remembering(outer, store.memory())("Hi", key="k").text == "1:Hi3:again"
    said = drive(memory.asked(memory.load, "k")).messages
    assert [message.text for message in said] == ["Hi", "1:Hi", "again", "3:again", "Hi", "1:Hi3:again"]


# -- what fails, and who leaves --


def free(memory: Memory, key: str = "k") -> bool:
    """Whether the turn of *key* is given back within half a minute."""
    waiting = threading.Event()
    for _ in range(3000):
        if drive(memory.asked(memory.enter, key, "next", 60.0)) == 0.0:  # type: ignore[arg-type]
            drive(memory.asked(memory.leave, key, "next"))  # type: ignore[arg-type]
            return True
        waiting.wait(0.01)
    return False


def test_a_turn_that_fails_keeps_nothing_and_holds_up_nobody(store: Store) -> None:
    memory = store.memory()

    def fails(said: tuple[Message, ...]) -> str:
        raise ArshaiError("no")

    with pytest.raises(ArshaiError, match="no"):
        remembering(fails, memory)("Hi", key="k")
    assert drive(memory.asked(memory.load, "k")) == Conversation()
    assert remembering(last, memory, turns="refuse")("Hi", key="k").text == "1:Hi"


def test_a_stream_that_is_left_keeps_nothing_and_holds_up_nobody(store: Store) -> None:
    memory = store.memory()

    def endless(said: tuple[Message, ...]) -> Iterator[str]:
        while True:
            yield "word "

    with stream(remembering(endless, memory), "Hi", key="k") as events:
        assert any(isinstance(event, TextDelta) for event in events)
    assert free(memory)
    assert drive(memory.asked(memory.load, "k")) == Conversation()


@on_both
def test_a_turn_that_is_cancelled_keeps_nothing_and_holds_up_nobody(store: Store, backend: str) -> None:
    memory = store.memory()

    async def main() -> None:
        begun = anyio.Event()

        async def never(said: tuple[Message, ...]) -> str:
            begun.set()
            await anyio.sleep_forever()
            return ""

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: aio.run(remembering(never, memory), "Hi", key="k"))
            await begun.wait()
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert free(memory)
    assert drive(memory.asked(memory.load, "k")) == Conversation()


@on_both
def test_who_is_cancelled_in_line_leaves_it(store: Store, backend: str) -> None:
    memory = store.memory()
    drive(memory.asked(memory.enter, "k", "somebody", 60.0))  # type: ignore[arg-type]

    async def main() -> None:
        async with aio.stream(remembering(last, memory), "Hi", key="k") as events:
            async for event in events:
                if isinstance(event, Notice):
                    return

    anyio.run(main, backend=backend)
    drive(memory.asked(memory.leave, "k", "somebody"))  # type: ignore[arg-type]
    assert free(memory)
    assert drive(memory.asked(memory.load, "k")) == Conversation()


def test_a_turn_begun_by_who_was_closed_meanwhile_is_given_back() -> None:
    """A worker was still asking for it: it comes back to that later."""
    memory, asking, go = in_memory(), threading.Event(), threading.Event()

    def slow(*args: Any) -> float:
        asking.set()
        assert go.wait(60)
        return memory.enter(*args)  # type: ignore[misc,no-any-return]

    slowly = evolve(memory, enter=slow, in_memory=False)

    def told(_: Any) -> Plan[Any]:
        yield from Emit((TextDelta("x"),))
        chat = remembering(last, slowly).plan("Hi", key="k")
        yield from side_by_side([chat, _once(asking)])

    told.plan = told  # type: ignore[attr-defined]
    with stream(told, "Hi") as events:
        for event in events:
            if event == TextDelta("asking"):
                break
    go.set()
    assert free(memory)


def _once(event: threading.Event) -> Plan[None]:
    yield from run.plan(event.wait, 60)
    yield from Emit((TextDelta("asking"),))


def test_a_turn_that_takes_too_long_is_given_back(store: Store) -> None:
    """Its deadline leaves no time for that either."""
    memory, go = store.memory(), threading.Event()

    def slow(said: tuple[Message, ...]) -> str:
        go.wait(60)
        return "late"

    with pytest.raises(TimedOut):
        deadline(remembering(slow, memory), 0.3)("Hi", key="k")
    go.set()
    assert free(memory)
    assert drive(memory.asked(memory.load, "k")) == Conversation()


def test_an_answer_that_cannot_be_kept_is_not_lost() -> None:
    def away(*_: Any) -> int:
        raise StoreUnreachable("away")

    memory = in_memory()
    with pytest.raises(StoreUnreachable) as raised:
        remembering(last, evolve(memory, append=away))("Hi", key="k")
    assert raised.value.partial.text == "1:Hi"
    assert free(memory)


def test_what_is_too_large_to_be_kept_is_refused_before_anybody_is_asked(store: Store, tmp_path: Path) -> None:
    memory, asked = store.small(9000), list[str]()

    def answer(said: tuple[Message, ...]) -> str:
        asked.append(said[-1].text)
        return "Well."

    chat = remembering(answer, memory)
    with recorded(tmp_path / "turns.json"):
        chat("Hi", key="k")
        with pytest.raises(TooLarge, match=r"the conversation 'k' would take .* at most 9,000") as raised:
            chat("x" * 9000, key="k")
        assert chat("Still there?", key="k").text == "Well."
    assert raised.value.partial is None
    assert asked == ["Hi", "Still there?"]
    with replayed(tmp_path / "turns.json"):
        chat("Hi", key="k")
        with pytest.raises(TooLarge, match="would take"):
            chat("x" * 9000, key="k")
        chat("Still there?", key="k")
    unlimited = remembering(answer, in_memory(max_bytes=float("inf")))
    assert unlimited("x" * 9000, key="k").text == "Well."


def test_a_turn_that_cannot_be_given_back_ends_by_itself() -> None:
    def away(*_: Any) -> None:
        raise StoreUnreachable("away")

    memory = in_memory()
    assert remembering(last, evolve(memory, leave=away), lease=0.05)("Hi", key="k").text == "1:Hi"
    assert free(memory)


# -- runs that wait for a person --


def waits(chat: Any, prompt: Any) -> ApprovalNeeded:
    """The second turn of a conversation, which needs an approval."""
    with scripted("Hello.", ToolCall("c1", "add", {"a": 1, "b": 2})):
        chat("Hi", key="k")
        with pytest.raises(ApprovalNeeded) as raised:
            chat(prompt, key="k")
    return raised.value


def test_a_run_that_waited_for_a_person_is_kept_once_it_has_gone_on(store: Store) -> None:
    memory = store.memory()
    chat = remembering(approve(agent(MODEL, tools=[add], name="desk")), memory, lambda recalled: recalled)
    raised = waits(chat, [assistant("So?"), user("1 + 2?")])
    with scripted("Meanwhile."):
        chat("Something else.", key="k")
    with scripted("Three."):
        assert chat(raised.paused, decisions=True, key="k").text == "Three."
    said = drive(memory.asked(memory.load, "k")).messages
    texts = [message.text for message in said]
    assert texts == ["Hi", "Hello.", "Something else.", "Meanwhile.", "So?", "1 + 2?", "", "", "Three."]
    assert close_open_calls(said) == said
    assert drive(memory.asked(memory.noted, "k", "paused")).value == {raised.paused.id: ""}  # type: ignore[arg-type]
    with scripted(), pytest.raises(PauseRefused, match="of 'k' was taken up already, and its run has gone on"):
        chat(raised.paused, decisions=True, key="k")
    assert drive(memory.asked(memory.load, "k")).messages == said


def test_of_a_run_that_waited_twice_each_pause_is_taken_up_once() -> None:
    chat = remembering(approve(agent(MODEL, tools=[add], name="desk")), in_memory())
    first = waits(chat, "1 + 2?").paused
    with scripted(ToolCall("c2", "add", {"a": 3, "b": 3})), pytest.raises(ApprovalNeeded) as raised:
        chat(first, decisions=True, key="k")
    with scripted(), pytest.raises(PauseRefused, match="taken up already"):
        chat(first, decisions=True, key="k")
    with scripted("Six."):
        assert chat(raised.value.paused, decisions=True, key="k").text == "Six."
    texts = [message.text for message in chat.memory.load("k").messages]
    assert texts == ["Hi", "Hello.", "1 + 2?", "", "", "", "", "Six."]


def test_a_pause_goes_on_in_the_conversation_that_it_is_of_and_in_no_other() -> None:
    chat = remembering(approve(agent(MODEL, tools=[add], name="desk"), secret="vault"), in_memory())
    kept = to_json(waits(chat, "1 + 2?").paused)
    assert from_json(kept).keys == ("k",)
    with scripted(), pytest.raises(PauseRefused, match="of another conversation than 'other'; nothing was called"):
        chat(from_json(kept), decisions=True, key="other")
    assert chat.memory.load("other").version == 0
    with scripted("Three."):
        assert chat(from_json(kept), decisions=True, key="k").text == "Three."


def test_a_pause_is_of_each_conversation_that_it_came_through() -> None:
    inner, outer = in_memory(), in_memory()
    desk = remembering(approve(agent(MODEL, tools=[add], name="desk")), inner)
    chat = remembering(partial(desk, key="boss"), outer)
    with scripted(ToolCall("c1", "add", {"a": 1, "b": 2})), pytest.raises(ApprovalNeeded) as raised:
        chat("1 + 2?", key="k")
    paused = raised.value.paused
    assert isinstance(paused, Paused)
    assert paused.keys == ("boss", "k")
    with scripted("Three."):
        assert chat(paused, decisions=True, key="k").text == "Three."
    assert [[message.text for message in each.messages] for each in (inner.load("boss"), outer.load("k"))] == [
        ["1 + 2?", "", "", "Three."]
    ] * 2


def test_a_run_that_failed_after_a_pause_may_be_tried_again() -> None:
    chat = remembering(approve(agent(MODEL, tools=[add], name="desk")), in_memory())
    paused = waits(chat, "1 + 2?").paused
    with scripted(StoreUnreachable("away")), pytest.raises(StoreUnreachable):
        chat(paused, decisions=True, key="k")
    with scripted("Three."):
        assert chat(paused, decisions=True, key="k").text == "Three."


def test_many_runs_that_have_gone_on_push_out_none_that_waits() -> None:
    chat = remembering(approve(agent(MODEL, tools=[add], name="desk")), in_memory())
    waiting = waits(chat, "1 + 2?").paused
    for number in range(20):
        with scripted(ToolCall("c1", "add", {"a": number, "b": 0})), pytest.raises(ApprovalNeeded) as raised:
            chat(f"{number}?", key="k")
        with scripted("So."):
            chat(raised.value.paused, decisions=True, key="k")
    note = drive(chat.memory.asked(chat.memory.noted, "k", "paused")).value  # type: ignore[arg-type]
    assert len(note) == 17
    assert note[waiting.id]


@pytest.mark.parametrize("forgotten", [True, False])
def test_after_a_hand_off_the_words_of_the_user_are_kept_without_the_note_too(forgotten: bool) -> None:
    memory = in_memory() if forgotten else evolve(in_memory(), note=None, noted=None)
    desk = agent(MODEL, tools=[add], name="desk")
    chat = remembering(approve(agent(MODEL, tools=[handoff(desk)], name="front"), tools="add"), memory)
    calls = ToolCall("h", "hand_off_to_desk", {"reason": "sums"}), ToolCall("c", "add", {"a": 1, "b": 2})
    with scripted("Hello.", *calls):
        chat("Hi", key="k")
        with pytest.raises(ApprovalNeeded) as raised:
            chat("1 + 2?", key="k")
    if forgotten:
        memory.forget("k")
    with scripted("Three."):
        assert chat(raised.value.paused, decisions=True, key="k").text == "Three."
    said = memory.load("k").messages
    assert [message.role for message in said][-6:] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert said[-6].text == "1 + 2?"


def test_without_notes_the_prompt_of_such_a_run_is_what_came_last() -> None:
    memory = evolve(in_memory(), note=None, noted=None)
    chat = remembering(approve(agent(MODEL, tools=[add], name="desk")), memory)
    raised = waits(chat, "1 + 2?")
    with scripted("Three."):
        chat(raised.paused, decisions=True, key="k")
    assert [message.text for message in memory.load("k").messages] == ["Hi", "Hello.", "1 + 2?", "", "", "Three."]


# -- what is given --


def test_a_memory_of_the_least_functions_is_enough() -> None:
    """Sync or async; it serialises nothing, and keeps each turn whole."""
    said = dict[str, tuple[Message, ...]]()

    async def load(key: str) -> Conversation:
        return Conversation(said.get(key, ()), len(said.get(key, ())))

    def append(key: str, messages: tuple[Message, ...], _own: str) -> int:
        said[key] = (*said.get(key, ()), *messages)
        return len(said[key])

    chat = remembering(last, Memory(load, append, append, append))
    assert [chat("Hi", key="k").text, chat("Hi", key="k").text] == ["1:Hi", "3:Hi"]


def test_what_a_memory_loads_is_a_conversation() -> None:
    memory = in_memory()
    with pytest.raises(Misuse, match="gives a Conversation, not tuple"):
        remembering(last, evolve(memory, load=lambda key: ()))("Hi", key="k")
    assert free(memory)


def test_it_is_an_agent_among_agents() -> None:
    """It is drawn, placed, and stood in for, like any."""
    memory = in_memory()
    chat = remembering(agent(MODEL, name="desk"), memory)
    assert "desk" in to_mermaid(chat)

    def fails(said: tuple[Message, ...]) -> str:
        raise ServerFailed("no")

    either = fallback(remembering(fails, memory), remembering(last, memory))
    assert [either("Hi", key="k").text, either("Hi", key="k").text] == ["1:Hi", "3:Hi"]
    assert hash(chat) == hash(remembering(agent(MODEL, name="desk"), memory))
    assert chat == remembering(agent(MODEL, name="desk"), memory)


def test_what_cannot_work_is_refused() -> None:
    memory: Any = in_memory()
    for wrong in (MODEL, "agent", memory):
        with pytest.raises(Misuse, match="takes an agent"):
            remembering(wrong, memory)
    with pytest.raises(Misuse, match="takes a memory"):
        remembering(last, {})  # type: ignore[arg-type]
    for how in ({"view": "window"}, {"turns": "both"}, {"lease": 0}, {"lease": True}):
        with pytest.raises(Misuse, match=f"{next(iter(how))}="):
            remembering(last, memory, **how)
        with pytest.raises(Misuse, match=f"{next(iter(how))}="):
            evolve(remembering(last, memory), **how)
    with pytest.raises(Misuse, match="cannot be left out"):
        remembering(last, memory)("Hi")
    with pytest.raises(Misuse, match="key="):
        remembering(last, memory)("Hi", key="")
    assert remembering(last, memory).__name__ == "last"


# -- a key that is given in advance, or not at all --


@everywhere
def test_an_agent_with_its_key_is_one_like_any_other(world: World) -> None:
    memory = in_memory()
    chat = remembering(agent(Echo(), name="echo"), memory)
    ann = partial(chat, key="ann")
    for composed in (ann, pipe(ann, str.upper), parallel(ann), route(lambda _: "a", {"a": ann}), placed(ann, "desk")):
        memory.forget("ann")
        world.run(lambda composed=composed: run.plan(composed, "Hi"))  # type: ignore[misc]
        assert memory.load("ann").messages[0].text == "Hi"
    if world.listening:
        paths = [event.path for event in world.events(lambda: stream.plan(pipe(ann, str.upper), "Hi"))]
        assert "echo" in paths, "it is streamed, and speaks under its own name"
    assert "echo" in to_mermaid(pipe(ann, ann))
    assert "partial" not in to_mermaid(parallel(ann, guard(ann, after=ann)))


@everywhere
def test_no_tool_loop_tells_a_model_that_a_key_is_missing(world: World) -> None:
    chat = remembering(agent(Echo(), name="echo"), in_memory())
    calls = played_by(lambda ask: ToolCall("c", "echo", {"prompt": "Hi"}) if len(ask.messages) < 2 else "Sorry.")
    for composed in (chat, pipe(chat), parallel(chat), agent(calls, tools=[as_tool(chat)])):
        with pytest.raises(Misuse, match=r"key= says .* cannot be left out.*functools.partial\(chat, key='user-7'\)"):
            world.run(lambda composed=composed: run.plan(composed, "Hi"))  # type: ignore[misc]
    kept = agent(calls, tools=[as_tool(partial(chat, key="k"))])
    assert world.run(lambda: kept.plan("Hi")).text == "Sorry."
    with pytest.raises(Misuse, match="an agent as as_tool"):
        agent(calls, tools=[partial(chat, key="k")])


def test_a_memory_is_put_around_what_asks_again() -> None:
    chat = remembering(agent(Echo(), name="echo"), in_memory())
    for inside in (chat, partial(chat, key="k"), placed(chat, "a"), deadline(chat, 900), guard(chat, after=bool)):
        with pytest.raises(Misuse, match=r"would keep twice: remembering\(insist"):
            insist(inside, bool)
    tries = iter(["bad", "good"])
    memory = in_memory()
    around = remembering(insist(lambda _: next(tries), lambda reply: reply.text == "good"), memory)
    assert around("Hi", key="k").text == "good"
    assert [message.text for message in memory.load("k").messages][::3] == ["Hi", "good"]
