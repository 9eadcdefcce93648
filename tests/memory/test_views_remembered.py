"""Views in the turns of a conversation: what is kept, what is sent, and what whoever listens is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import frozen

from arshai_kit import openai_compatible, stream
from arshai_kit.agents import agent, handoff, whose_turn
from arshai_kit.effects import Plan, Step, Where
from arshai_kit.errors import Unreachable
from arshai_kit.memory import (
    Memory,
    composed,
    emails,
    facts,
    in_memory,
    known,
    redacted,
    relevant,
    remembering,
    summarised,
    windowed,
)
from arshai_kit.memory.tokens import counting
from arshai_kit.models import Ask
from arshai_kit.records import Finished, Response, TextDelta, ToolCall, assistant, tool_result, user
from arshai_kit.scope import using
from arshai_kit.testing import hashed_embedder
from tests.core.worlds import World, everywhere

MODEL = openai_compatible("tiny", base_url="http://localhost:1", api_key="")
ONE = counting(lambda _: 1)


@frozen
class Profile:
    """What is known of a person."""

    said: tuple[str, ...] = ()


class Models:
    """Answers for every model, and keeps what the agent's was sent and what the others read."""

    def __init__(self) -> None:
        self.sent: list[Ask] = []
        self.read: list[str] = []

    def layer(self) -> Any:
        return {Step: self._answer}

    def _answer(self, step: Step[Any], _: Where) -> Plan[Any]:
        if step.kind != "model":
            return (yield from step)
        asked = step.input.messages[-1].text
        if "The new messages:" in asked:
            self.read.append(asked.partition("The new messages:\n")[2])
            words = json.dumps({"said": [self.read[-1].rpartition("user: ")[2]]})
        elif "The summary so far:" in asked:
            self.read.append(asked)
            words = "the gist"
        else:
            self.sent.append(step.input)
            if "look" in asked:
                return Response((assistant(ToolCall("1", "look", {"at": "me@example.org"})),), "tool_calls")
            words = f"answer to {asked}"
        return Response((assistant(words),), "stop")


def look(at: str) -> str:
    """Look somebody up."""
    return f"{at} is fine"


def chat(memory: Memory) -> Any:
    view = composed(
        redacted(emails),
        facts(MODEL, Profile, about=lambda key: key.partition("/")[0], wait=True),
        summarised(MODEL, over=40, keep=3, count=ONE, wait=True),
        relevant(hashed_embedder(), limit=2, keep=2),
        windowed(turns=5),
    )
    return remembering(agent(MODEL, system="Be kind.", tools=[look]), memory, view=view)


@everywhere
def test_a_conversation_with_views(world: World) -> None:
    memory, models = in_memory(), Models()
    talking = chat(memory)
    prompts = [f"{'look' if number == 4 else 'say'} {number} me@example.org" for number in range(12)]
    with using(layers=[models.layer()]):
        answers = [world.run(lambda prompt=prompt: talking.plan(prompt, key="ann/1")) for prompt in prompts]  # type: ignore[misc]
    assert [answer.text for answer in answers if answer.text] == [
        f"answer to say {number} [e-mail]" if number != 4 else "answer to " for number in range(12)
    ]
    assert [len(answer.messages) for answer in answers] == [3 if number == 4 else 1 for number in range(12)]
    kept = memory.load("ann/1").messages
    assert [message.text for message in kept if message.role == "user"] == prompts
    assert len(kept) == 26
    for ask in models.sent[:4] + models.sent[6:]:
        assert "@" not in repr(ask.messages)
        assert len([each for each in ask.messages if each.role == "user"]) <= 6
        assert ask.messages[0].text == "Be kind."
    assert "the gist" in models.sent[-1].messages[2].text
    profile = known(memory, "ann", Profile)
    assert profile == Profile(tuple([f"{prompt.removesuffix('me@example.org')}[e-mail]" for prompt in prompts]))
    read = "\n".join(models.read)
    for number in {*range(11)} - {4}:  # by the facts, and once by the summary when it was old enough
        assert read.count(f"user: say {number} [") in (1, 2)


def test_a_stream_tells_the_answer_alone() -> None:
    memory, models = in_memory(), Models()
    talking = chat(memory)
    with using(layers=[models.layer()]):
        for number in range(6):
            talking(f"say {number}", key="ann/1")
        events = list(stream(talking, "say 6", key="ann/1"))
    assert len(models.read) > 7
    assert not [event for event in events if isinstance(event, TextDelta)]  # the layer tells none, nor do the views
    (finished,) = [event for event in events if isinstance(event, Finished)]
    assert finished.response.messages == (assistant("answer to say 6"),)


def test_a_turn_that_fails_keeps_no_words_of_it_but_what_it_told_of_the_user() -> None:
    memory, models = in_memory(), Models()

    def broken(_: Any) -> str:
        raise Unreachable("away")

    view = facts(MODEL, Profile, wait=True)
    with using(layers=[models.layer()]):
        with pytest.raises(Unreachable):
            remembering(broken, memory, view=view)("I am Ann.", key="k")
        assert memory.load("k").messages == ()
        remembering(lambda _: "Hello!", memory, view=view)("I am Ann.", key="k")
        remembering(lambda _: "Well!", memory, view=view)("So?", key="k")
    assert models.read == ["user: I am Ann.", "user: I am Ann.", "assistant: Hello!\nuser: So?"]


def test_whose_turn_it_is_outlives_every_window() -> None:
    billing = agent(MODEL, name="billing")
    desk = agent(MODEL, name="desk", tools=[handoff(billing)])
    memory = in_memory()
    call = ToolCall("1", handoff(billing).name)
    memory.append("k", [user("Money!"), assistant(call), tool_result(call, "billing goes on"), assistant("Hello.")])
    for number in range(5):
        memory.append("k", [user(f"{number}"), assistant("…")])
    models = Models()
    view = composed(windowed(turns=1), windowed(tokens=1))
    with using(layers=[models.layer()]):
        answer = remembering(desk, memory, view=view)("Well?", key="k")
    assert answer.answered_by == "billing"
    assert whose_turn(desk, models.sent[0].messages) == "billing"
    assert len(models.sent[0].messages) == 5
