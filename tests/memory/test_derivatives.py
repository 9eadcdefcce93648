"""All views at once over every backend: what they make is kept, is the same for everybody, and goes when forgotten."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import frozen

from arshai_kit import openai_compatible
from arshai_kit.completion import run
from arshai_kit.effects import Plan, Step, Where
from arshai_kit.memory import Memory
from arshai_kit.memory.facts import facts, known
from arshai_kit.memory.redacting import emails, redacted
from arshai_kit.memory.relevance import relevant
from arshai_kit.memory.summaries import summarised
from arshai_kit.memory.tokens import counting, total
from arshai_kit.memory.views import Composed, Recalled, composed, pinned, windowed
from arshai_kit.records import Message, Response, assistant, user
from arshai_kit.scope import using
from arshai_kit.testing import hashed_embedder
from tests.core.worlds import WORLDS, World
from tests.memory.backends import Store

MODEL = openai_compatible("tiny", base_url="http://localhost:1", api_key="")
ONE = counting(lambda _: 1)
SECRETS = ("quagga", "gist", "zebu", "okapi", "vectors ", "facts ", "summary", "digest")
SOME = [WORLDS[0], WORLDS[4], WORLDS[5]]


@frozen
class Profile:
    """What is known of a person."""

    animals: tuple[str, ...] = ()


def answered(step: Step[Any], _: Where) -> Plan[Any]:
    """Answer for every model: a profile, or a summary."""
    if step.kind != "model":
        return (yield from step)
    asked = step.input.messages[-1].text
    if "The new messages:" in asked:
        words = json.dumps({"animals": ["okapi" if "okapi" in asked.partition("The new messages:")[2] else "zebu"]})
    else:
        words = f"The gist of {asked.count('user: ')} turns about a quagga."
    return Response((assistant(words),), "stop")


def view() -> Composed:
    return composed(
        redacted(emails),
        pinned(lambda message: "remember" in message.text),
        facts(MODEL, Profile, about=lambda key: key.partition("/")[0], wait=True),
        summarised(MODEL, over=60, keep=7, count=ONE, wait=True),
        relevant(hashed_embedder(), limit=3, keep=2),
        windowed(tokens=60, count=ONE),
    )


def turn(memory: Memory, key: str, prompt: str, reply: str) -> Plan[Recalled]:
    """One turn, as `remembering` makes it."""
    said = yield from memory.asked(memory.load, key)
    shown: Recalled = yield from run.plan(view(), Recalled(key, said.messages, [user(prompt)], memory, said.version))
    new: tuple[Message, ...] = (user(prompt), assistant(reply))
    yield from memory.asked(memory.append, key, new, f"{prompt} {reply}")
    return shown


def talk(memory: Memory, key: str, turns: int) -> Plan[Recalled]:
    shown = Recalled(key)
    for number in range(turns):
        words = "remember the okapi" if not number else f"question {number} of a quagga@example.org"
        shown = yield from turn(memory, key, words, f"answer {number} about the zebu")
        assert total((*shown.messages, *shown.prompt), ONE) <= 60
        assert not [each for each in shown.messages if "@" in each.text]
        assert not number or "remember the okapi" in [each.text for each in shown.messages]
    return shown


@pytest.mark.parametrize("world", [pytest.param(world, id=world.name) for world in SOME])
def test_all_of_it_is_kept_shared_and_forgotten(store: Store, world: World) -> None:
    memory = store.memory()
    with using(layers=[{Step: answered}]):
        shown = world.run(lambda: talk(memory, "ann/1", 12))
    first, second = shown.messages[:2]
    assert first.text.endswith('{"animals":["okapi","zebu"]}') or second.text.endswith('{"animals":["okapi","zebu"]}')
    assert any("The gist of" in message.text for message in (first, second))
    again = store.memory()  # as another process has it
    assert world.run(lambda: known.plan(again, "ann", Profile)) == Profile(("okapi", "zebu"))
    kept = store.scan().decode(errors="replace")
    assert [word for word in SECRETS[:4] if word not in kept] == []

    def forgetting() -> Plan[None]:
        for key in ("ann/1", "ann"):
            yield from memory.asked(memory.forget, key)

    world.run(forgetting)
    left = store.scan().decode(errors="replace")
    assert [word for word in SECRETS if word in left] == []
    assert world.run(lambda: known.plan(again, "ann", Profile)) == Profile()
