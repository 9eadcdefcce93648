"""Relevance with a real embedding model: turns are found by what they mean, in other words than the question's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from arshai_kit.effects import Plan
from arshai_kit.embeddings import Embedder, Embeddings, Kind, embed, similarity
from arshai_kit.local import local_embedder
from arshai_kit.memory.relevance import packed, relevant, unpacked
from arshai_kit.records import assistant, user
from arshai_kit.testing import hashed_embedder
from tests.memory.dictionaries import Store

pytestmark = pytest.mark.needs("local-embeddings")

TALK = (
    ("My daughter is allergic to peanuts.", "Which food is dangerous for my child?"),
    ("I have been driving the same automobile since 2009.", "How old is my car?"),
    ("Our kitten keeps us awake at night.", "What pet do I have?"),
    ("The landlord wants the rent on the third of each month.", "When is the payment for my flat due?"),
    ("I was born in Shiraz and grew up in Hamburg.", "Where do I come from?"),
    ("My manager says the launch slips to October.", "What is the new release date of the product?"),
    ("I cannot stand cilantro.", "Which herb should the cook leave out for me?"),
    ("We are getting married next June.", "When is our wedding?"),
    ("The doctor prescribed ibuprofen for my knee.", "Which medicine am I taking?"),
    ("My router drops the wifi every evening.", "What is wrong with my internet connection?"),
    ("I play the cello in an amateur orchestra.", "Do I make music?"),
    ("The invoice was sent twice by mistake.", "Was I billed two times?"),
    ("I would rather sit by the window on flights.", "Which seat shall I book on the plane?"),
    ("Our team writes everything in Haskell.", "Which programming language do we use?"),
    ("Grandmother turns ninety on Sunday.", "Whose birthday is coming up?"),
    ("The cellar was flooded after the storm.", "What damage did the bad weather do?"),
    ("I quit smoking three years ago.", "Do I still have cigarettes?"),
    ("My thesis is about bees and pesticides.", "What do I research?"),
    ("The heater makes a rattling noise.", "Which device at home is loud?"),
    ("I only drink decaf after lunch.", "What coffee may I have in the afternoon?"),
)


class Listening:
    """An embedder that remembers what it has *seen*."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.seen: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Plan[Embeddings]:
        self.seen += texts
        return self._embedder.embed(texts, kind=kind)


def found(embedder: object, limit: int) -> int:
    """How many of the questions have the turn that answers them among the older turns that are sent."""
    store = Store()
    for said, _ in TALK:
        store.append("k", (user(said), assistant("I see.")))
    store.append("k", (user("Thank you."), assistant("You are welcome.")))
    view = relevant(embedder, limit=limit, keep=1)
    return sum(user(said) in view(store.recalled("k", user(asked))).messages for said, asked in TALK)


def test_a_model_that_knows_meanings_finds_what_was_said_in_other_words() -> None:
    embedder = Listening(local_embedder())
    assert found(embedder, 3) >= 18
    assert len([text for text in embedder.seen if text.endswith("I see.")]) == len(TALK)
    assert found(hashed_embedder(), 3) < 10


def test_a_byte_for_each_number_is_enough() -> None:
    vectors = embed(local_embedder(), [said for said, _ in TALK])
    errors = [abs(similarity(unpacked(packed(a)), b) - similarity(a, b)) for a in vectors for b in vectors]
    assert max(errors) < 0.01
