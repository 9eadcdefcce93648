"""The systems in `examples/` do what they show, and are drawn as they are composed; test_docs.py runs them all."""

from __future__ import annotations

import runpy
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from arshai_kit.agents import to_mermaid
from arshai_kit.completion import run
from arshai_kit.memory import in_memory
from arshai_kit.scope import using
from tests.core.worlds import World, everywhere

EXAMPLES = Path(__file__).parents[1] / "examples"
PAGE = (EXAMPLES / "README.md").read_text("utf-8")
SYSTEMS = ("first_agent", "memory_usage", "restaurant", "multi_agent_system", "streaming_adviser")
LONGEST = 130


def module(name: str) -> dict[str, Any]:
    """What the example called *name* defines."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def printed(name: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The lines that the example called *name* prints, run as a program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        patch.delenv("REDIS_URL", raising=False)
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_is_short_and_has_its_row(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text("utf-8").splitlines()) <= LONGEST
    assert f"[{name}.py]({name}.py)" in PAGE


@pytest.mark.parametrize("name", ["memory_usage", "restaurant", "multi_agent_system", "streaming_adviser"])
def test_its_drawing_is_the_one_of_the_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = "\n".join(printed(name, capsys, "--diagram"))
    assert f"```mermaid\n{drawing}\n```" in PAGE


@pytest.mark.needs("local")
def test_the_drawing_of_the_first_agent_is_the_one_of_the_page() -> None:
    example = module("first_agent")
    assert f"```mermaid\n{to_mermaid(example['newspaper']('local'))}\n```" in PAGE


def test_the_restaurant_has_four_tools_of_either_kind(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed("restaurant", capsys)
    waits = [line for line in lines if " -> " in line]
    assert len(waits) == len([line for line in lines if line.endswith("goes on in the background")]) == 4
    told = next(line for line in lines if line.startswith("We have a table"))
    assert told == (
        "We have a table at 19:30 and at 20:15. I recommend Mushroom risotto or Lentil stew. "
        "Your bill comes to $108.80, of which $17.00 is the tip."
    )
    assert len(lines[lines.index("afterwards:") :]) == 5  # all four have ended


def test_the_restaurant_answers_what_it_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert "We have a table at 19:30." in printed("restaurant", capsys, "A table for 5?")


def handled(lines: list[str], request: str) -> list[str]:
    """What came of *request*."""
    after = lines[lines.index(f"user: {request}") + 1 :]
    ends = [number for number, line in enumerate(after) if line.startswith("user: ")]
    return after[: ends[0]] if ends else after


def test_the_help_desk_routes_by_words_confidence_and_history(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed("multi_agent_system", capsys)
    for request, name in (
        ("Hello?", "general"),
        ("It answers 500.", "technical"),
        ("Still, and production is down!", "escalation"),
        ("Please refund $49.", "billing"),
    ):
        assert [line.partition(":")[0] for line in handled(lines, request) if "Resolution(" in line] == [name]
    assert "'confidence': 0.3" in handled(lines, "Hello?")[0]
    assert "$49 are on their way" in handled(lines, "Please refund $49.")[-1]
    # Nothing but the history says what that is about; the documentation knows nothing, so that it is handed over.
    slow = handled(lines, "Slow login.")
    assert "  [handed_off: technical, {'to': 'escalation'}]" in slow
    assert "resolved=False, next_steps=['an engineer calls you within 15 minutes']" in "".join(slow)


def test_the_help_desk_escalates_the_critical_at_once_and_the_rest_when_it_must(
    capsys: pytest.CaptureFixture[str],
) -> None:
    calm, alarmed = "The API is odd.", "The API is odd, in production!"
    lines = printed("multi_agent_system", capsys, calm, alarmed)
    assert any(line.startswith("  [handed_off: technical") for line in handled(lines, calm))
    assert any(line.startswith("  [routed: technical") for line in handled(lines, calm))
    assert any(line.startswith("escalation: ") for line in handled(lines, alarmed))
    assert lines[-1] == f"The management reads: {[calm, alarmed]}"


@everywhere
def test_the_help_desk_says_the_same_in_every_world(world: World) -> None:
    example = module("multi_agent_system")
    desk, memory = example["desk"], example["desk"].memory
    answers = []
    with using():  # what runs in the background has ended at its end
        for words in example["REQUESTS"]:
            answers.append(world.run(partial(run.plan, desk, words, key="k")))
    by = ["general", "technical", "escalation", "billing", "technical/escalation"]
    assert [answer.answered_by for answer in answers] == by
    assert [answer.output.resolved for answer in answers] == [False, True, False, True, False]
    said = [message for answer in answers for message in answer.messages]
    remembered = memory.load("k").messages
    assert [message for message in remembered if message.role != "user"] == said
    assert [message.text for message in remembered if message.role == "user"] == list(example["REQUESTS"])
    assert sorted(example["MAIL"]) == ["Slow login.", "Still, and production is down!"]


def test_a_refund_of_the_help_desk_waits_for_the_manager(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = [line for line in printed("multi_agent_system", capsys, "Please refund $200.") if "Resolution" in line]
    assert "More than $100 is paid back by letter only." in line
    assert "on their way" not in line


def test_memory_lasts_and_is_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed("memory_usage", capsys)
    assert "alex/monday: What was my name again? -> You are Alex." in lines
    assert "alex/friday: Do you know my name? -> You are Alex." in lines  # of another conversation, by its facts
    assert "ann/friday: Do you know my name? -> I do not know your name." in lines
    assert "known about alex: Profile(name='Alex', learns=('Python',))" in lines
    assert "forgotten: Profile(name='', learns=()), ()" in lines


def test_what_leaves_the_window_is_known_by_the_facts_alone() -> None:
    example = module("memory_usage")
    chat, memory = example["assistant"], in_memory()
    chat(memory)("I am Alex.", key="alex/1")
    for _ in range(5):
        chat(memory)("Hm.", key="alex/1")
    assert chat(memory)("What is my name?", key="alex/1").text == "You are Alex."
    memory.forget("alex")
    (first, *_) = memory.load("alex/1").messages
    assert first.text == "I am Alex."


def test_the_adviser_streams_and_alerts(capsys: pytest.CaptureFixture[str]) -> None:
    """The alert comes when it comes, perhaps in the middle of a sentence."""
    alert = "\n(alert: AAPL is at $139.90, below $140.00)\n"
    output = "\n".join([*printed("streaming_adviser", capsys), ""])
    assert output.count(alert) == 1
    lines = output.replace(alert, "").splitlines()
    told = [number for number, line in enumerate(lines) if line.startswith(("  quotes: ", "  news: "))]
    (answer,) = [number for number, line in enumerate(lines) if line.startswith("AAPL is at $149.00, +0.50 today.")]
    assert len(told) == 5
    assert max(told) < answer


@pytest.mark.needs("documents", "local-embeddings")
def test_the_folder_answers_and_says_where_from(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed("knowledge", capsys)
    assert [line.partition(" documents: ")[2] for line in lines[:2]] == [
        "5 new, 0 unchanged, 7 chunks",
        "0 new, 5 unchanged, 0 chunks",
    ]
    assert "  The owner repairs the roof, the walls and the pipes. [1]" in lines
    assert any("28 days" in line for line in lines)
    assert any(line.startswith("  1: rent.pdf#page=2, ") for line in lines)
    assert lines[-1].startswith("the agent: Call Karim Ovens on 555-0142.")
