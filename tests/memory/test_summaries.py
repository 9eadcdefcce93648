"""A running summary: made once, of what is new, kept under the key, and harmless when it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import _threads, openai_compatible
from arshai_kit._threads import Background
from arshai_kit.completion import run
from arshai_kit.effects import Call, Plan
from arshai_kit.errors import Conflict, ForeignFormat, Misuse, ServerFailed
from arshai_kit.faces import drive
from arshai_kit.memory import Memory
from arshai_kit.memory.summaries import Summarised, summarised
from arshai_kit.memory.tokens import counting
from arshai_kit.memory.views import composed, pinned, windowed
from arshai_kit.models import Ask
from arshai_kit.records import Finished, Message, Notice, assistant, system, user
from arshai_kit.scope import using
from arshai_kit.testing import scripted
from tests.core.worlds import World, everywhere, listening
from tests.memory.dictionaries import Store, histories, is_within, turn, unpaired
from tests.transport.server import SOON

MODEL = openai_compatible("tiny", base_url="http://localhost:1", api_key="")
ONE = counting(lambda _: 1)  # every message of one part is 5 tokens


@pytest.fixture(autouse=True)
def _a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads._process, "background", Background())


class Writer:
    """An agent that writes summaries, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.asked.append(prompt.partition("The summary so far:")[2])
        return f"summary {len(self.asked)}"


def view(writer: Callable[[str], str], *, over: int = 20, keep: int = 1, **more: Any) -> Summarised:
    return summarised(writer, over=over, keep=keep, count=ONE, wait=True, **more)


def told(shown: Any) -> list[str]:
    return [message.text for message in shown.messages]


def talk(store: Store, start: int, end: int) -> None:
    for number in range(start, end):
        store.append("k", turn(number))


@everywhere
def test_what_is_over_is_told_in_a_summary_that_is_made_once(world: World) -> None:
    store, writer = Store(), Writer()
    talk(store, 0, 2)
    assert (
        world.run(lambda: run.plan(view(writer), store.recalled("k", user("?")))).messages == store.load("k").messages
    )
    talk(store, 2, 5)
    for _ in range(2):
        shown = world.run(lambda: run.plan(view(writer), store.recalled("k", user("?"))))
        assert told(shown)[0].endswith("\nsummary 1")
        assert told(shown)[1:] == ["question 4", "answer 4"]
        assert (shown.places, shown.prompt) == ((-1, 8, 9), (user("?"),))
    assert len(writer.asked) == 1


def test_nothing_is_summarised_twice() -> None:
    store, writer = Store(), Writer()
    for number in range(30):
        store.append("k", turn(number))
        shown = view(writer)(store.recalled("k"))
        assert told(shown)[-1] == f"answer {number}"
    said = "\n".join(writer.asked)
    covered = {number: said.count(f"question {number}\n") for number in range(27)}
    assert set(covered.values()) == {1}
    assert len(writer.asked) < 15
    assert "\nsummary 1\n" in writer.asked[1]


@given(histories(), st.lists(st.integers(1, 6), max_size=5), st.integers(0, 40), st.integers(0, 3))
def test_what_is_shown_is_whole_whatever_was_said(
    said: tuple[Message, ...], steps: list[int], over: int, keep: int
) -> None:
    """Every message is covered by the summary or shown, in its order, with its calls and results."""
    store, writer = Store(), Writer()
    made = composed(pinned(1), view(writer, over=over, keep=keep))
    done = 0
    for step in [*steps, len(said)]:
        store.append("k", said[done : done + step])
        done = min(done + step, len(said))
        shown = made(store.recalled("k"))
        whole = store.load("k").messages
        note = store.noted("k", "summary").value or {"covers": 0}
        assert is_within([whole[place] for place in shown.places if place >= 0], whole)
        assert set(range(note["covers"], done)) <= set(shown.places)
        assert {n for n, each in enumerate(whole) if each.role == "system"} <= set(shown.places)
        assert unpaired([each for each, place in zip(shown.messages, shown.places, strict=True) if place >= 0])[1] == 0
        assert made(store.recalled("k")) == shown
    assert not [asked for asked in writer.asked if asked.endswith("The turns after it:\n")]


@everywhere
def test_in_the_background_the_next_turn_has_it(world: World) -> None:
    go = threading.Event()

    def slow(_: str) -> str:
        assert go.wait(SOON)
        return "at last"

    store = Store()
    talk(store, 0, 5)
    made = summarised(slow, over=20, keep=1, count=ONE)
    with using(drain=SOON):
        for _ in range(2):  # the second finds the first at it
            shown = world.run(lambda: run.plan(made, store.recalled("k")))
            assert len(told(shown)) == 10
        go.set()
    assert told(world.run(lambda: run.plan(made, store.recalled("k"))))[0].endswith("at last")


def broken(_: str) -> str:
    raise ServerFailed("away")


@listening
def test_its_failure_is_told_and_harmless(world: World) -> None:
    store = Store()
    talk(store, 0, 5)
    events = world.events(lambda: run.plan(view(broken), store.recalled("k")))
    assert events[:1] == [Notice("not_summarised", "k", "ServerFailed: away")]
    assert len(told(view(broken)(store.recalled("k")))) == 10
    assert store.notes == {}
    assert told(view(Writer())(store.recalled("k")))[0].endswith("summary 1")


@everywhere
def test_its_failure_in_the_background_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    talk(store, 0, 5)
    with using(drain=SOON):
        made = summarised(broken, over=20, keep=1, count=ONE)
        assert len(told(world.run(lambda: run.plan(made, store.recalled("k"))))) == 10
    assert [record.getMessage() for record in caplog.records] == ["summarise failed in the background"]
    assert store.notes == {}


def test_an_empty_summary_is_none() -> None:
    store = Store()
    talk(store, 0, 5)
    assert len(told(view(lambda _: " \n")(store.recalled("k")))) == 10
    assert store.notes == {}


def test_a_model_is_asked_with_instructions_and_the_turns_as_text() -> None:
    store = Store()
    store.append("k", (system("Be kind."), *turn(1), *turn(2), *turn(3)))
    made = summarised(MODEL, over=3, keep=1, count=ONE, wait=True, at_once=1)

    def second(ask: Ask) -> str:
        assert "The summary so far:\nOne." in ask.messages[-1].text
        assert ask.messages[-1].text.endswith("\nuser: question 2\nassistant: answer 2")
        return "Two."

    with scripted("One.", second) as script:
        assert told(made(store.recalled("k"))) == [
            "Be kind.",
            "A summary of the conversation before the messages that follow:\nTwo.",
            "question 3",
            "answer 3",
        ]
    assert [message.role for message in script.asked[0].messages] == ["system", "user"]


@listening
def test_its_words_are_not_told(world: World) -> None:
    """Whoever streams the answer hears nothing of the summary but that a model was asked."""
    store = Store()
    talk(store, 0, 5)
    made = summarised(MODEL, over=20, keep=1, count=ONE, wait=True)
    with scripted("A secret summary."):
        events = world.events(lambda: run.plan(made, store.recalled("k")))
    assert "StepStarted" in repr(events)
    assert "A secret" not in repr([event for event in events if not isinstance(event, Finished)])


def test_of_two_writers_one_is_asked() -> None:
    store, both = Store(), threading.Barrier(2)
    talk(store, 0, 5)
    writer = Writer()

    class Once:
        def __init__(self) -> None:
            self.seen = threading.local()

        def __call__(self, key: str, name: str) -> Any:
            found = store.noted(key, name)
            self.seen.count = getattr(self.seen, "count", 0) + 1
            if self.seen.count <= 2:  # before the view decides, and before it says that it is at it
                both.wait(SOON)
            return found

    memory = Memory(store.load, store.append, store.replace, store.forget, Once(), store.note, in_memory=True)
    shown: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: shown.append(told(view(writer)(store.recalled("k", memory=memory)))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert len(writer.asked) == 1
    assert len(shown) == 2
    assert told(view(writer)(store.recalled("k")))[0].endswith("summary 1")


def test_what_is_forgotten_meanwhile_does_not_come_back() -> None:
    """Neither where it was forgotten before the model was asked, nor where it was while it answered."""
    store = Store()
    talk(store, 0, 5)
    before = store.recalled("k")

    def forgetful(_: str) -> str:
        store.forget("k")
        return "question 0 and more"

    view(forgetful)(before)
    assert store.dump() == "[][]"
    writer = Writer()
    view(writer)(before)
    assert (store.dump(), writer.asked) == ("[][]", [])
    store.append("k", turn(7))
    view(writer)(before)
    assert "question 0" not in store.dump()
    assert store.notes == {}


def test_a_new_conversation_after_one_that_was_forgotten_keeps_its_own() -> None:
    """The old one's summary comes late, and finds the mark of another."""
    store = Store()
    talk(store, 0, 5)

    def late(_: str) -> str:
        store.forget("k")
        for number in range(10, 15):
            store.append("k", turn(number))
        view(lambda _: "the new one")(store.recalled("k"))
        return "the old one"

    view(late)(store.recalled("k"))
    assert "the old one" not in store.dump()
    assert "the new one" in store.dump()


def test_where_the_conversation_was_replaced_it_is_made_anew() -> None:
    store, writer = Store(), Writer()
    talk(store, 0, 5)
    made = view(writer)
    made(store.recalled("k"))
    store.replace("k", [each for n in range(5, 10) for each in turn(n)], store.load("k").version)
    assert told(made(store.recalled("k"))) == [
        "A summary of the conversation before the messages that follow:\nsummary 2",
        "question 9",
        "answer 9",
    ]
    assert "(none)" in writer.asked[1]


def test_whoever_died_at_it_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    store, writer = Store(), Writer()
    talk(store, 0, 5)
    store.note("k", "summary", {"v": 1, "busy": {"k": ["0.5", 1e6]}}, 0)
    assert told(view(writer)(store.recalled("k")))[0].endswith("summary 1")


def test_a_later_format_is_refused_and_left() -> None:
    store = Store()
    talk(store, 0, 5)
    store.note("k", "summary", {"v": 2, "gist": "…"}, 0)
    with pytest.raises(ForeignFormat, match="upgrade arshai_kit"):
        view(Writer())(store.recalled("k"))
    assert store.noted("k", "summary").value == {"v": 2, "gist": "…"}


def test_a_store_in_which_somebody_always_is_quicker_is_given_up() -> None:
    store, writer = Store(), Writer()
    talk(store, 0, 5)

    def never(*_: Any) -> int:
        raise Conflict("again")

    memory = Memory(store.load, store.append, store.replace, store.forget, store.noted, never, in_memory=True)
    assert len(told(view(writer)(store.recalled("k", memory=memory)))) == 10
    assert writer.asked == []


def test_pinned_turns_are_shown_besides() -> None:
    """Whoever takes the pin away later has the turn in the summary."""
    store, writer = Store(), Writer()
    talk(store, 0, 5)
    shown = composed(pinned(1), view(writer), windowed(turns=1))(store.recalled("k"))
    assert told(shown)[1:] == ["question 0", "answer 0", "question 4", "answer 4"]
    assert "question 0" in writer.asked[0]
    assert told(view(writer)(store.recalled("k")))[1:] == ["question 4", "answer 4"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: summarised("gpt"), "takes a model, or an agent, not str"),
        (lambda: summarised(MODEL, over=-1), "over= is a whole number, not -1"),
        (lambda: view(Writer())(Store().recalled("k", memory=Memory(*[len] * 4))), "there is no memory for them"),
    ],
)
def test_what_cannot_work_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        make()


def test_asking_is_a_part_of_the_plan() -> None:
    """An async writer, and a memory of plans, do as well."""

    async def writer(_: str) -> str:
        return "written"

    store = Store()
    talk(store, 0, 5)
    made = summarised(writer, over=20, keep=1, count=ONE, wait=True)

    def plan() -> Plan[Any]:
        yield from Call(len, "x")
        return (yield from run.plan(made, store.recalled("k")))

    assert told(drive(plan()))[0].endswith("written")


def test_a_turn_that_no_model_can_read_is_told_without_its_middle() -> None:
    """Or it would be asked for, and fail, at every turn from then on."""
    store = Store()
    store.append("k", (user("I begin. " + "word " * 5000 + "I end."), assistant("Long!")))
    talk(store, 1, 3)

    def small(prompt: str) -> str:
        if len(prompt) > 8000:
            raise ServerFailed("too long")
        assert "user: I begin. " in prompt
        assert "I end.\nassistant: Long!" in prompt
        assert "letters are left out here" in prompt
        return "short"

    made = summarised(small, over=100, keep=1, wait=True, at_once=1000)
    assert told(made(store.recalled("k")))[0].endswith("short")
