"""Turns that have to do with the question: found, in order, embedded once, and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.completion import run
from arshai_kit.effects import Plan
from arshai_kit.embeddings import embed, similarity
from arshai_kit.errors import Misuse, OverBudget, ServerFailed
from arshai_kit.memory.relevance import packed, relevant, unpacked
from arshai_kit.memory.views import composed, pinned
from arshai_kit.records import Image, Message, Notice, assistant, user
from arshai_kit.records.vectors import Embeddings
from arshai_kit.testing import HashedEmbedder, hashed_embedder
from tests.core.worlds import World, everywhere, listening
from tests.memory.dictionaries import Store, histories, is_within, turn, unpaired

TALK = (
    ("My dog is called Rex.", "What a name!"),
    ("I owe tax for the house.", "How much?"),
    ("It rains in Bergen.", "As ever."),
    ("The dog eats too much.", "Feed it less."),
    ("I bought a red car.", "Congratulations."),
    ("Which film is on tonight?", "None."),
)


class Counting(HashedEmbedder):
    """An embedder that keeps what it embedded."""

    def embed(self, texts: Sequence[str], *, kind: Any = None) -> Plan[Embeddings]:
        SEEN.extend((kind, text) for text in texts)
        return (yield from super().embed(texts, kind=kind))


SEEN: list[tuple[Any, str]] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def talked() -> Store:
    store = Store()
    for question, answer in TALK:
        store.append("k", (user(question), assistant(answer)))
    return store


def asked(shown: Any) -> list[str]:
    return [message.text for message in shown.messages if message.role == "user"]


@everywhere
def test_the_turns_that_have_to_do_with_the_question_are_sent_in_their_order(world: World) -> None:
    store = talked()
    view = relevant(hashed_embedder(), limit=2, keep=1)
    prompt = user("What should my dog called Rex eat?")
    shown = world.run(lambda: run.plan(view, store.recalled("k", prompt)))
    assert asked(shown) == ["My dog is called Rex.", "The dog eats too much.", "Which film is on tonight?"]
    assert (len(shown.messages), shown.prompt) == (6, (prompt,))


def test_each_turn_is_embedded_once() -> None:
    store, view = Store(), relevant(Counting(), limit=1, keep=1)
    for number in range(80):
        store.append("k", turn(number))
        view(store.recalled("k", user("which?")))
    documents = [text for kind, text in SEEN if kind == "document"]
    assert len(documents) == len(set(documents)) == 79
    assert [kind for kind, _ in SEEN].count("query") == 78
    assert sorted(name for _, name in store.notes) == ["vectors testing/hashed/256 0", "vectors testing/hashed/256 1"]
    assert sum(len(note.value["vectors"]) for note in store.notes.values()) == 79


@given(histories(), st.integers(0, 4), st.integers(0, 3), st.integers(0, 2))
def test_what_is_sent_is_in_order_and_whole(said: tuple[Message, ...], limit: int, keep: int, pins: int) -> None:
    store = Store()
    store.append("k", said)
    view = composed(pinned(pins), relevant(hashed_embedder(dimensions=8), limit=limit, keep=keep))
    start = store.recalled("k", user("use 3?"))
    shown = view(start)
    free, always = pinned(pins)(start).turns()
    assert is_within(shown.places, range(len(said)))
    assert set(always) <= set(shown.places)
    assert sum(one[0] in shown.places for one in free) <= limit + keep
    assert all(one[0] in shown.places for one in free[max(0, len(free) - keep) :])
    assert unpaired(shown.messages)[1] == 0
    assert view(start) == shown == view(shown)


def test_the_latest_weigh_more_and_the_far_are_left_out() -> None:
    store = Store()
    for _ in range(3):
        store.append("k", turn(1))
    store.append("k", turn(2, "entirely other words"))
    latest = relevant(hashed_embedder(), limit=1, keep=0)(store.recalled("k", user("question 1")))
    assert latest.places == (4, 5)
    oldest = relevant(hashed_embedder(), limit=1, keep=0, recency=-1)(store.recalled("k", user("question 1")))
    assert oldest.places == (0, 1)
    none = relevant(hashed_embedder(), limit=1, keep=0, least=0.99)(store.recalled("k", user("zzz")))
    assert none.messages == ()


def test_short_conversations_cost_nothing() -> None:
    store = talked()
    view = relevant(Counting(), limit=5, keep=1)
    assert view(store.recalled("k", user("?"))).messages == store.load("k").messages
    assert (SEEN, store.notes) == ([], {})


class Broken(HashedEmbedder):
    """An embedder that cannot be asked."""

    error: Any = ServerFailed("away")

    def embed(self, texts: Sequence[str], *, kind: Any = None) -> Plan[Embeddings]:
        raise self.error
        yield


@listening
def test_when_the_embedder_fails_the_latest_are_sent(world: World) -> None:
    store = talked()
    shown: list[Any] = []

    def plan() -> Plan[None]:
        shown.append((yield from run.plan(relevant(Broken(), limit=1, keep=1), store.recalled("k", user("dog")))))

    notices = [event for event in world.events(plan) if isinstance(event, Notice)]
    assert notices == [Notice("not_ranked", "k", "ServerFailed: away")]
    assert asked(shown[0]) == ["I bought a red car.", "Which film is on tonight?"]
    assert store.notes == {}


def test_what_ends_a_run_ends_it() -> None:
    class Dear(Broken):
        error = OverBudget("no money")

    with pytest.raises(OverBudget):
        relevant(Dear(), limit=1)(talked().recalled("k", user("dog")))


def test_what_is_forgotten_meanwhile_does_not_come_back() -> None:
    store = talked()
    before = store.recalled("k", user("dog"))

    class Forgetful(HashedEmbedder):
        def embed(self, texts: Sequence[str], *, kind: Any = None) -> Plan[Embeddings]:
            store.forget("k")
            return (yield from super().embed(texts, kind=kind))

    relevant(Forgetful(), limit=1)(before)
    assert store.dump() == "[][]"
    relevant(Counting(), limit=1)(before)  # it was forgotten before it began
    assert store.dump() == "[][]"
    assert len(SEEN) == 5  # and yet what is sent is chosen well


def test_forget_removes_the_vectors() -> None:
    store = talked()
    relevant(hashed_embedder(), limit=1)(store.recalled("k", user("dog")))
    assert store.notes
    store.memory.forget("k")
    assert store.dump() == "[][]"


def test_vectors_of_what_was_replaced_go() -> None:
    store = talked()
    view = relevant(hashed_embedder(), limit=1, keep=1)
    view(store.recalled("k", user("dog")))
    ((_, before),) = store.notes.items()
    store.replace("k", [each for n in range(3) for each in turn(n)], store.load("k").version)
    view(store.recalled("k", user("dog")))
    ((_, after),) = store.notes.items()
    assert len(after.value["vectors"]) == 2
    assert not before.value["vectors"].keys() & after.value["vectors"].keys()


def test_a_prompt_without_words_takes_the_latest() -> None:
    store = talked()
    shown = relevant(Counting(), limit=1, keep=1)(store.recalled("k"))
    assert asked(shown) == ["I bought a red car.", "Which film is on tonight?"]
    assert SEEN == []
    relevant(Counting(), limit=1, keep=1)(store.recalled("k", Message("user", [Image(b"x")])))
    assert SEEN[0] == ("query", "user: [image]")


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=64), st.data())
def test_a_packed_vector_has_nearly_the_same_direction(one: list[float], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.floats(-1, 1, width=32), min_size=len(one), max_size=len(one)))
    if max(map(abs, one)) > 1e-6 and max(map(abs, other)) > 1e-6:
        assert similarity(unpacked(packed(one)), other) == pytest.approx(similarity(one, other), abs=0.04)


def test_a_packed_vector_of_a_text_is_as_good() -> None:
    vectors = embed(hashed_embedder(), [" ".join(each) for each in TALK])
    errors = [abs(similarity(unpacked(packed(a)), b) - similarity(a, b)) for a in vectors for b in vectors]
    assert max(errors) < 0.01


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: relevant("ada"), "takes an embedder"),
        (lambda: relevant(hashed_embedder(), limit=-1), "limit= is how many turns"),
        (lambda: relevant(hashed_embedder(), half_life=0), "half_life= is a number of turns above zero"),
    ],
)
def test_what_cannot_work_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        make()


class Choosy(HashedEmbedder):
    """An embedder that refuses some texts, and with them all that are given together."""

    def embed(self, texts: Sequence[str], *, kind: Any = None) -> Plan[Embeddings]:
        SEEN.append((kind, str(len(texts))))
        if any("unspeakable" in text or len(text) > 40_000 for text in texts):
            raise ServerFailed("no")
        return (yield from super().embed(texts, kind=kind))


@listening
def test_a_turn_that_cannot_be_embedded_takes_none_other_with_it(world: World) -> None:
    store = Store()
    for question in ("An unspeakable thing: " + "more of it " * 10, "word " * 20_000 + "end"):
        store.append("k", (user(question), assistant("Well.")))
    for question, answer in TALK:
        store.append("k", (user(question), assistant(answer)))
    view, prompt = relevant(Choosy(256), limit=2, keep=1), user("What should my dog called Rex eat?")
    for _ in range(2):
        events = world.events(lambda: run.plan(view, store.recalled("k", prompt)))
        assert not [each for each in events if isinstance(each, Notice)]
    assert asked(view(store.recalled("k", prompt))) == [TALK[0][0], TALK[3][0], TALK[5][0]]
    assert SEEN[-2:] == [("query", "1"), ("document", "1")]
    events = world.events(lambda: run.plan(view, store.recalled("k", user("unspeakable"))))
    assert [each.kind for each in events if isinstance(each, Notice)] == ["not_ranked"]


def test_where_many_are_refused_the_others_are_left_for_the_next_turn() -> None:
    store = Store()
    for number in range(6):
        store.append("k", (user(f"unspeakable {number}"), assistant("Well.")))
    view = relevant(Choosy(256), limit=2, keep=1)
    shown = view(store.recalled("k", user("Well?")))
    assert asked(shown) == ["unspeakable 3", "unspeakable 4", "unspeakable 5"]
    assert [*SEEN] == [("query", "1"), ("document", "5"), *[("document", "1")] * 3]
