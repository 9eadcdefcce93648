"""What is found, in which order, and with what around it; in every world, whoever made the index."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import aio, retrieve
from arshai_kit.chunking import chunking
from arshai_kit.documents import Block, Document
from arshai_kit.embeddings import embed, similarity
from arshai_kit.errors import BadAnswer, Misuse, OtherVectors
from arshai_kit.index import Entry, Hit, Passage, field, in_memory_index, where
from arshai_kit.records import StepStarted
from arshai_kit.rerank import by_scores
from arshai_kit.retrieval.diversity import diverse
from arshai_kit.testing import hashed_embedder
from tests.core.worlds import World, everywhere
from tests.retrieval.kept import EMBEDDER, awaited, dressed, entries, filled, planned

QUESTION = "Where does the Karun end?"
ask = partial(retrieve, embedder=EMBEDDER)


@everywhere
@pytest.mark.parametrize("how", [lambda each: each, awaited, planned], ids=["sync", "async", "plan"])
def test_it_finds_the_same_in_every_world_whoever_made_the_index(world: World, how: Any) -> None:
    index = dressed(filled(), how)
    hits = world.run(lambda: retrieve.plan(index, QUESTION, embedder=EMBEDDER, limit=3, diversity=0.3, neighbours=1))
    assert hits == ask(filled(), QUESTION, limit=3, diversity=0.3, neighbours=1)
    assert "Karun" in hits[0].text
    assert {"dense", "sparse", "hybrid"} <= set(hits[0].scores)


def test_it_is_one_step_with_those_of_the_embedder_inside() -> None:
    events = World(listening=True).events(lambda: retrieve.plan(filled(), QUESTION, embedder=EMBEDDER))
    started = [event for event in events if isinstance(event, StepStarted)]
    assert [(each.kind, each.name) for each in started] == [("search", "in_memory"), ("embed", "hashed")]


async def test_it_is_awaited_under_the_same_name(anyio_backend: str) -> None:
    assert anyio_backend
    assert await aio.retrieve(filled(), QUESTION, embedder=EMBEDDER) == ask(filled(), QUESTION)


def test_each_mode_has_its_scores_and_its_order() -> None:
    index = filled()
    dense = ask(index, QUESTION, mode="dense", limit=4)
    sparse = ask(index, QUESTION, mode="sparse", limit=4)
    assert [set(hit.scores) for hit in (*dense, *sparse)] == [{"dense"}] * len(dense) + [{"sparse"}] * len(sparse)
    for hits in (dense, sparse, ask(index, QUESTION)):
        assert [hit.score for hit in hits] == sorted([hit.score for hit in hits], reverse=True)
    both = {hit.id: hit for hit in ask(index, QUESTION)}
    assert all(both[hit.id].scores["dense"] == hit.score for hit in dense)


def test_no_more_than_the_limit_and_only_what_the_filter_says() -> None:
    index = filled()
    assert len(ask(index, "a bird or a river", limit=2)) == 2
    found = ask(index, "a bird or a river", where=where(source="birds.md"))
    assert {hit.fields.source for hit in found} == {"birds.md"}
    assert ask(index, "a bird or a river", where=field("source").startswith("none")) == ()


def test_by_words_no_embedder_is_needed() -> None:
    index = filled(embedder=None)
    (hit, *_) = retrieve(index, "taxes due", mode="sparse")
    assert hit.text.startswith("Taxes are due")
    with pytest.raises(Misuse, match=r"holds no vectors.*mode='sparse'"):
        ask(index, QUESTION)
    with pytest.raises(Misuse, match=r"give embedder=.*mode='sparse'"):
        retrieve(index, QUESTION)


def test_an_empty_index_has_no_answer() -> None:
    assert ask(in_memory_index(), QUESTION) == ()


def test_vectors_of_another_embedder_are_refused() -> None:
    with pytest.raises(OtherVectors):
        retrieve(filled(), QUESTION, embedder=evolve(EMBEDDER, name="other"))
    with pytest.raises(OtherVectors):
        retrieve(filled(), QUESTION, embedder=hashed_embedder(dimensions=32))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"question": " \n"}, "the question is empty"),
        ({"question": 3}, "the question is empty"),
        ({"mode": "fuzzy"}, "mode= is"),
        ({"limit": 0}, "limit= is a whole number of at least 1"),
        ({"limit": True}, "limit="),
        ({"neighbours": -1}, "neighbours="),
        ({"parents": 1.5}, "parents="),
        ({"candidates": 3}, "candidates= is a whole number of at least 8"),
        ({"diversity": 1.2}, "diversity= is a number from 0 to 1"),
        ({"diversity": True}, "diversity="),
        ({"embedder": "local"}, "embedder= is one"),
        ({"index": []}, "the first argument is an index"),
        ({"rerank": lambda _, hits: None}, "gave NoneType"),
        ({"rerank": lambda _, hits: ["a"]}, "gave list"),
        ({"where": field("colour") == "red"}, "colour"),
        ({"rerank": 3}, "rerank= is a function, not 3"),
        ({"fusion": None}, "fusion= is a function, not None"),
        ({"fusion": lambda *_: None}, "fusion= is a function from two rankings to hits; <lambda> gave NoneType"),
    ],
)
def test_what_cannot_work_says_what_to_pass(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(Misuse, match=told):
        retrieve(**{"index": filled(), "question": QUESTION, "embedder": EMBEDDER, **wrong})


@pytest.mark.parametrize("how", [{"neighbours": 1}, {"parents": 1}])
def test_what_stands_around_wants_to_know_where_a_passage_stands(how: dict[str, int]) -> None:
    @frozen
    class Note:
        topic: str = ""

    index = in_memory_index(Note)
    index.upsert([Entry("1", "rain", None, Note())])
    with pytest.raises(Misuse, match=r"Note lacks source, document, .*: derive it from arshai_kit\.index\.Passage"):
        retrieve(index, "rain", mode="sparse", **how)  # type: ignore[arg-type]  # numbers
    assert retrieve(index, "rain", mode="sparse")[0].fields == Note()


def test_a_reranker_is_shown_the_candidates_and_has_the_last_word() -> None:
    seen: list[int] = []

    def longest(_: str, texts: list[str]) -> list[int]:
        seen.append(len(texts))
        return [len(text) for text in texts]

    hits = ask(filled(), "a bird or a river", limit=2, candidates=5, rerank=by_scores(longest))
    assert seen == [5]
    assert [hit.score for hit in hits] == [hit.scores["rerank"] for hit in hits]
    assert len(hits[0].text) >= len(hits[1].text)
    assert "hybrid" in hits[0].scores


def test_a_reranker_without_a_score_for_each_is_refused() -> None:
    with pytest.raises(BadAnswer, match="want as many scores"):
        ask(filled(), QUESTION, rerank=by_scores(lambda _, texts: [1.0] * (len(texts) - 1)))


@pytest.mark.parametrize("how", [awaited, planned])
def test_a_reranker_may_be_async_or_a_plan(how: Any) -> None:
    assert (
        ask(filled(), QUESTION, rerank=how(lambda _, hits: hits[::-1]), limit=40)
        == ask(filled(), QUESTION, limit=40)[::-1]
    )


def test_fusion_is_a_function_of_the_rankings() -> None:
    def first_only(dense: Any, sparse: Any) -> Any:
        assert sparse
        return dense

    hits = ask(filled(), QUESTION, fusion=first_only, limit=3)
    assert [hit.id for hit in hits] == [hit.id for hit in ask(filled(), QUESTION, mode="dense", limit=3)]


# -- diversity --

NUMBERS = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=3, max_size=3)


@given(st.lists(NUMBERS, min_size=1, max_size=8), st.integers(1, 9), st.floats(0, 1))
def test_diversity_chooses_among_what_was_found(vectors: list[list[float]], limit: int, diversity: float) -> None:
    hits = [Hit(str(place), "", 1.0 - place / 10, None) for place in range(len(vectors))]
    by_id = {str(place): vector for place, vector in enumerate(vectors)}
    chosen = diverse(hits, by_id, limit=limit, diversity=diversity)
    assert len(chosen) == len(set(chosen)) == min(limit, len(hits))
    assert set(chosen) <= set(hits)
    assert chosen[0] == hits[0] or diversity == 1
    assert diverse(hits, by_id, limit=limit, diversity=0.0) == tuple(hits[:limit])
    assert diverse(hits, {}, limit=limit, diversity=0.5) == tuple(hits[:limit])


@given(st.lists(NUMBERS, min_size=3, max_size=6, unique_by=tuple))
def test_the_second_is_the_one_that_maximal_marginal_relevance_wants(vectors: list[list[float]]) -> None:
    """By its definition, at equal relevance: the least like the first."""
    hits = [Hit(str(place), "", 1.0, None) for place in range(len(vectors))]
    by_id = {str(place): vector for place, vector in enumerate(vectors)}
    one, two = diverse(hits, by_id, limit=2, diversity=0.5)
    alike = {own: similarity(by_id[one.id], by_id[own]) for own in by_id if own != one.id}
    assert alike[two.id] <= min(alike.values()) + 1e-9


def test_diversity_leaves_out_what_is_said_twice() -> None:
    texts = {f"{name}.md": "The Karun ends in the Arvand Rud." for name in "abc"} | {"d.md": "Boats go up the Karun."}
    hits = ask(filled(texts), QUESTION, limit=2)
    assert hits[0].text == hits[1].text
    hits = ask(filled(texts), QUESTION, limit=2, diversity=0.8)
    assert hits[0].text != hits[1].text


# -- neighbours and parents --


@given(
    text=st.text(st.sampled_from("ab. \n"), min_size=1, max_size=120),
    size=st.integers(3, 20),
    overlap=st.integers(0, 2),
    neighbours=st.integers(0, 3),
)
def test_a_hit_with_its_neighbours_is_what_stands_there(text: str, size: int, overlap: int, neighbours: int) -> None:
    """Blanks between chunks are in neither; everything else is at its place, and said once."""
    document = Document(f"a {text}", "a.md")
    found = entries(document, chunking(size=size, overlap=overlap, by="characters")(document), None)
    index = in_memory_index()
    index.upsert(found)
    hits = retrieve(index, "a b ab ba", mode="sparse", neighbours=neighbours, limit=100)
    assert hits
    for hit in hits:
        there = document.text[hit.fields.start : hit.fields.end]
        assert len(hit.text) == len(there)
        assert all(
            one == other or (one == "\n" and other.isspace()) for one, other in zip(hit.text, there, strict=True)
        )
        inside = [each for each in found if hit.fields.start <= each.fields.start and each.fields.end <= hit.fields.end]
        assert len(inside) >= min(1 + neighbours, len(found))
    if neighbours:
        spans = sorted([(hit.fields.start, hit.fields.end) for hit in hits])
        numbers = [
            {each.fields.number for each in found if start <= each.fields.start and each.fields.end <= end}
            for start, end in spans
        ]
        assert all(not one & other for one, other in pairwise(numbers))


def test_neighbours_keep_the_scores_and_the_place_of_the_best() -> None:
    index = filled()
    plain = ask(index, QUESTION, limit=2, mode="dense")
    wide = ask(index, QUESTION, limit=2, mode="dense", neighbours=1)
    assert (wide[0].id, wide[0].score, wide[0].fields.number) == (plain[0].id, plain[0].score, plain[0].fields.number)
    assert plain[0].text in wide[0].text
    assert len(wide[0].text) > len(plain[0].text)


def test_another_state_of_the_same_source_is_no_neighbour() -> None:
    document = Document("One fish. Two fish. Red fish.", "a.md")
    found = entries(document, chunking(size=10, by="characters")(document), None)
    old = [Entry(f"old{each.id}", "Old fish.", None, evolve(each.fields, document="old-a-de-3")) for each in found]
    index = in_memory_index()
    index.upsert([*found, *old])
    hits = retrieve(index, "red", mode="sparse", neighbours=2)
    assert [hit.text for hit in hits] == [document.text.replace(". ", ".\n")]


SECTIONS = "# A\n\nOne.\n\n## B\n\nTwo is here.\n\nThree is.\n\n## C\n\nFour.\n\n# D\n\nFive."


def sectioned() -> tuple[Document, Any]:
    """A document with headings in two levels, and an index of its paragraphs."""
    blocks, place = [], 0
    for part in SECTIONS.split("\n\n"):
        level = len(part) - len(part.lstrip("#"))
        start = SECTIONS.index(part, place)
        place = start + len(part)
        blocks.append(Block("heading" if level else "paragraph", start, place, level))
    document = Document(SECTIONS, "a.md", blocks=blocks)
    found = entries(document, chunking(size=14, by="characters")(document), None)
    index = in_memory_index()
    index.upsert(found)
    return document, index


@pytest.mark.parametrize(
    ("parents", "inside", "outside"), [(1, "Two Three", "One Four Five"), (2, "One Two Three Four", "Five")]
)
def test_parents_are_the_section_and_those_around_it(parents: int, inside: str, outside: str) -> None:
    document, index = sectioned()
    (hit,) = retrieve(index, "two", mode="sparse", parents=parents)
    assert all(word in hit.text for word in inside.split())
    assert not any(word in hit.text for word in outside.split())
    assert hit.fields.section == ("A", "B")
    assert len(hit.text) == hit.fields.end - hit.fields.start <= len(document.text)


def test_a_document_without_headings_is_one_section_that_does_not_go_on_for_ever() -> None:
    document = Document(" ".join([f"word{number}." for number in range(300)]), "a.md")
    index = in_memory_index()
    index.upsert(entries(document, chunking(size=9, by="characters")(document), None))
    (hit,) = retrieve(index, "word150", mode="sparse", parents=1, limit=1)
    assert 100 < hit.text.count("word") <= 129


def test_fields_of_your_own_are_kept() -> None:
    (vector,) = embed(EMBEDDER, "a")
    index = in_memory_index()
    index.upsert([Entry("1", "a", vector, Passage(source="s", language="en"))], "testing/hashed#64")
    (hit,) = ask(index, "a", neighbours=1)
    assert hit.fields.language == "en"
