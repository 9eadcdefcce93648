"""An answer that will not do is asked for again, with what is wrong, and no more often than said."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from arshai_kit import Message, Notice, Response, TextDelta, ToolCall, Usage, assistant, openai_compatible
from arshai_kit.agents import agent, insist
from arshai_kit.completion import as_response
from arshai_kit.effects import Plan
from arshai_kit.errors import BadAnswer, Misuse, ServerFailed
from arshai_kit.testing import scripted
from tests.agents.toys import ended, events_of
from tests.core.worlds import World, everywhere, listening

MODEL = openai_compatible("wise", base_url="http://localhost", api_key="")
PART = {"usage": Usage(1, 2), "cost": Decimal(1)}


def said(text: str) -> Response:
    return Response((assistant(text),), **PART)  # type: ignore[arg-type]  # as they are


def short(response: Response) -> str:
    return "" if len(response.text) < 5 else f"{len(response.text)} letters are too many"


def told(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in messages]


@everywhere
def test_what_will_do_is_the_answer_as_it_is(world: World) -> None:
    with scripted(said("Yes")):
        assert world.run(lambda: insist(agent(MODEL), short).plan("?")) == Response(
            (assistant("Yes"),),
            model="wise",
            **PART,  # type: ignore[arg-type]
        )


@everywhere
def test_the_agent_is_asked_again_with_what_was_wrong(world: World) -> None:
    with scripted(said("Perhaps"), said("Maybe?"), said("Yes")) as script:
        response = world.run(lambda: insist(agent(MODEL, system="Be brief."), short).plan("Is it?"))
    assert response.text == "Yes"
    assert (response.usage, response.cost) == (Usage(3, 6), Decimal(3))
    spoken = [
        ("assistant", "Perhaps"),
        ("user", "That will not do: 7 letters are too many\nAnswer again."),
        ("assistant", "Maybe?"),
        ("user", "That will not do: 6 letters are too many\nAnswer again."),
        ("assistant", "Yes"),
    ]
    assert told(response.messages) == spoken
    assert told(script.asked[2].messages) == [("system", "Be brief."), ("user", "Is it?"), *spoken[:4]]


@everywhere
def test_when_no_answer_will_do_all_of_them_are_in_partial(world: World) -> None:
    with (
        scripted(said("Perhaps"), said("Maybe?")),
        pytest.raises(BadAnswer, match="of 2; the last one: 6 letters") as caught,
    ):
        world.run(lambda: insist(agent(MODEL, name="ann"), short, times=1).plan("?"))
    assert (caught.value.text, caught.value.partial.usage) == ("Maybe?", Usage(2, 4))
    assert len(caught.value.partial.messages) == 3
    with scripted(said("Perhaps")), pytest.raises(BadAnswer, match="no answer of ann would do, of 1"):
        world.run(lambda: insist(agent(MODEL, name="ann"), short, times=0).plan("?"))


@listening
def test_insisting_is_told(world: World) -> None:
    with scripted("Perhaps", "Yes"):
        events = events_of(world, insist(agent(MODEL, name="ann"), short))
    notices = [(event.kind, event.name, event.text, event.data) for event in events if isinstance(event, Notice)]
    assert notices == [("insisted", "ann", "7 letters are too many", {"left": 2})]
    words = [event.text for event in events if isinstance(event, TextDelta | Notice)]
    assert words == ["Perhaps", "7 letters are too many", "Yes"]


@pytest.mark.parametrize(
    ("verdict", "wrong"),
    [(None, ""), (True, ""), ("", ""), (" \n", ""), (False, "it did not pass"), (" no ", "no"), (3, None)],
    ids=str,
)
@everywhere
def test_what_a_check_may_say(verdict: Any, wrong: str | None, world: World) -> None:
    async def later(_: Response) -> Any:
        return verdict

    checking = insist(lambda prompt: "Yes", later, times=0)
    if wrong == "":
        assert ended(world, checking) == as_response("Yes")
    elif wrong is None:
        with pytest.raises(Misuse, match="gives what is wrong in words, or True, None or '' if nothing is, not int"):
            world.run(lambda: checking.plan("?"))
    else:
        with pytest.raises(BadAnswer, match=f"the last one: {wrong}$"):
            world.run(lambda: checking.plan("?"))


@everywhere
def test_an_agent_checks_the_text_and_counts(world: World) -> None:
    critic = agent(MODEL, system="What is wrong?", output=bool, name="critic")
    no, yes = (Response((assistant(f'{{"value": {word}}}'),), **PART) for word in ("false", "true"))  # type: ignore[arg-type]
    with scripted(said("One"), no, said("Two"), yes) as script:
        checked = insist(agent(MODEL), critic)
        response = world.run(lambda: checked.plan("?"))
    assert (response.text, response.usage) == ("Two", Usage(4, 8))
    assert told(response.messages)[0] == ("assistant", "One")
    assert len(response.messages) == 3
    assert told(script.asked[3].messages) == [("system", "What is wrong?"), ("user", "Two")]
    if world.listening:
        with scripted(said("One"), yes):
            events = events_of(world, checked)
        assert [event.text for event in events if isinstance(event, TextDelta)] == ["One"]


@everywhere
def test_an_answer_that_does_not_fit_its_type_is_asked_for_again(world: World) -> None:
    with scripted("four", '{"value": 4}') as script:
        response = world.run(
            lambda: insist(agent(MODEL, output=int), lambda response: response.output == 4).plan("2+2")
        )
    assert response.output == 4
    assert "the answer is no JSON" in script.asked[1].messages[-1].text
    cut = Response((assistant('{"val'),), "length")
    with scripted(cut), pytest.raises(BadAnswer, match="there is no whole answer"):
        world.run(lambda: insist(agent(MODEL, output=int), short).plan("2+2"))
    with scripted("four"), pytest.raises(BadAnswer, match="the answer is no JSON"):
        world.run(lambda: insist(agent(MODEL, output=int), short, times=0).plan("2+2"))


@everywhere
def test_no_call_is_left_open_when_it_is_asked_again(world: World) -> None:
    calls = Response((assistant(ToolCall("c1", "look")),), "tool_calls")
    seen: list[Any] = []

    def answers(prompt: Any) -> Response:
        seen.append(prompt)
        if len(seen) > 1:
            return as_response("Yes")
        raise BadAnswer("it calls a tool", partial=calls)

    assert world.run(lambda: insist(answers, short).plan("?")).text == "Yes"
    assert [message.role for message in seen[1]] == ["user", "assistant", "tool", "user"]


@everywhere
def test_an_error_on_the_way_knows_what_there_was(world: World) -> None:
    answers = iter([said("Perhaps"), None] * 9)

    def once(_: Any) -> Response:
        answer = next(answers)
        if answer is None:
            raise ServerFailed("down")
        return answer

    kind, why, partial = ended(world, insist(once, short))
    assert (kind, why, partial.usage) == (ServerFailed, "down", Usage(1, 2))

    def breaks(_: Response) -> str:
        raise ServerFailed("check down")

    kind, why, partial = ended(world, insist(lambda _: said("Perhaps"), breaks))
    assert (why, partial.text) == ("check down", "Perhaps")
    with pytest.raises(BadAnswer, match="of its own"):
        world.run(lambda: insist(_bad, short).plan("?"))


def _bad(_: Any) -> str:
    raise BadAnswer("of its own")


def test_what_is_passed_besides_goes_to_the_agent_each_time() -> None:
    keys: list[str] = []

    def keyed(_: Any, *, key: str) -> str:
        keys.append(key)
        return "Perhaps" if len(keys) == 1 else "Yes"

    assert insist(keyed, short)("?", key="ann").text == "Yes"
    assert keys == ["ann", "ann"]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: insist("x", short), r"insist\(\) takes agents"),
        (lambda: insist(len, "x"), "as its check"),
        (lambda: insist(len, MODEL), r"as its check, takes agents, not models"),
        (lambda: insist(len, short, times=-1), "times= is a whole number from 0"),
        (lambda: insist(len, short, times=True), "times= is a whole number from 0"),
        (lambda: evolve(insist(len, short), times=-1), "times= is a whole number from 0"),
    ],
)
def test_what_cannot_be_insisted_on_is_refused_at_once(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(Misuse, match=why):
        make()


def test_it_is_called_as_its_agent_is() -> None:
    def plan(prompt: Any) -> Plan[str]:
        yield from ()
        return "Yes"

    def own(prompt: Any) -> str:
        raise AssertionError("its plan is run")

    own.plan = plan  # type: ignore[attr-defined]  # as functions of ours have one
    assert insist(own, short).__name__ == "own"
    assert insist(own, short)("?").text == "Yes"
