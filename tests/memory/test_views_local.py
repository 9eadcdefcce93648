"""Views that ask a model, with a real one: small, and on this machine."""

from __future__ import annotations

import pytest
from attrs import frozen

from arshai_kit import evolve, user
from arshai_kit.local import local
from arshai_kit.memory.facts import facts, known
from arshai_kit.memory.summaries import summarised
from arshai_kit.memory.views import composed, windowed
from tests.memory.dictionaries import Store, turn

pytestmark = pytest.mark.needs("local")


@frozen
class Profile:
    """What is known of the user."""

    name: str = ""
    city: str = ""


def test_a_small_model_remembers_by_them() -> None:
    """It is no great writer: what it says is kept, shown, and not asked for again."""
    model = evolve(local(seed=7, context=1024), max_tokens=24)
    store = Store()
    for number in range(4):
        store.append("k", turn(number, "about the river Karun"))
    made = summarised(model, over=40, keep=1, wait=True, instructions="Summarise the conversation in one sentence.")
    view = composed(facts(evolve(model, max_tokens=64), Profile, wait=True), made, windowed(turns=1))
    recalled = store.recalled("k", user("My name is Ann, and I live in Oslo."))
    shown = view(recalled)
    summary = store.noted("k", "summary").value
    assert summary["text"]
    assert summary["covers"] == 6
    assert shown.messages[-3].text.endswith(summary["text"])
    profile = known(store.memory, "k", Profile)
    assert isinstance(profile, Profile)
    assert made(recalled).messages[-3:] == shown.messages[-3:]
    assert store.noted("k", "summary").value == summary
    store.memory.forget("k")
    assert store.dump() == "[][]"
