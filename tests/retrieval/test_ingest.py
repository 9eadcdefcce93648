"""An index is what the documents are: after one ingest or many, whatever has changed, failed, or gone meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.chunking import chunking
from arshai_kit.completion import run
from arshai_kit.documents import Document
from arshai_kit.effects import Plan
from arshai_kit.errors import BadDocument, Misuse, OtherVectors, ServerFailed, StoreFull
from arshai_kit.index import Index, Passage, in_memory_index, where
from arshai_kit.records import Notice
from arshai_kit.records.vectors import Embeddings
from arshai_kit.retrieval import Progress, Report, ingest, plain
from arshai_kit.testing import hashed_embedder
from tests.core.worlds import World, everywhere
from tests.retrieval.kept import EMBEDDER, SENTENCES, TEXTS, awaited, dressed, everything, folder, planned

take = partial(ingest, embedder=EMBEDDER, chunker=SENTENCES)


def documents(texts: dict[str, str]) -> list[Document]:
    return [Document(text, source) for source, text in texts.items()]


@frozen(eq=False)
class Counting:
    """An embedder that keeps what it was asked, and fails when it is told to."""

    asked: list[str] = field(factory=list)
    fails: Any = None
    name: str = "hashed"
    provider: str = "testing"
    dimensions: int = 64
    max_batch: int | None = None
    max_bytes: int | None = None

    def embed(self, texts: Any, *, kind: Any = None) -> Plan[Embeddings]:
        """The vectors of *texts*."""
        assert kind == "document"
        self.asked.extend(texts)
        if self.fails is not None and self.fails(self.asked):
            raise ServerFailed("the embedder is away")
        return (yield from hashed_embedder(dimensions=64).embed(texts))


# -- what comes of it --


@everywhere
@pytest.mark.parametrize("how", [lambda each: each, awaited, planned], ids=["sync", "async", "plan"])
def test_it_does_the_same_in_every_world_whoever_made_the_parts(world: World, how: Any) -> None:
    plain_index, index = in_memory_index(), in_memory_index()
    take(plain_index, documents(dict(TEXTS)))
    told = world.run(
        lambda: ingest.plan(
            dressed(index, how), documents(dict(TEXTS)), embedder=EMBEDDER, chunker=how(SENTENCES), version="1"
        )
    )
    assert (told.documents, told.new, told.chunks, told.embedded) == (3, 3, 9, 9)
    assert {own: (each.text, each.vector) for own, each in everything(index).items()} == {
        own: (each.text, each.vector) for own, each in everything(plain_index).items()
    }


def test_a_folder_is_told_by_absolute_paths_with_places_that_point_into_the_text(tmp_path: Path) -> None:
    index = in_memory_index()
    told = take(index, folder(tmp_path / "docs"))
    assert told == Report(
        documents=3, new=3, chunks=9, embedded=9, usage=told.usage, cost=Decimal(0), duplicates=told.duplicates
    )
    for entry in everything(index).values():
        path = Path(entry.fields.source)
        assert path.is_absolute()
        assert path.read_text("utf-8")[entry.fields.start : entry.fields.end] == entry.text
        assert entry.fields.chunks == 3
        assert entry.vector is not None


def test_what_has_not_changed_is_neither_cut_nor_embedded_nor_written(tmp_path: Path) -> None:
    index, embedder = in_memory_index(), Counting()
    place = folder(tmp_path / "docs")
    ingest(index, place, embedder=embedder, chunker=SENTENCES)
    before, asked = everything(index), len(embedder.asked)

    def none(*_: Any) -> Any:
        raise AssertionError("nothing is written")

    told = ingest(evolve(index, upsert=none, delete=none), place, embedder=embedder, chunker=SENTENCES)
    assert (told.documents, told.unchanged, told.chunks) == (3, 3, 0)
    assert len(embedder.asked) == asked
    assert everything(index) == before


def test_of_what_has_changed_only_the_new_chunks_are_embedded(tmp_path: Path) -> None:
    index, embedder = in_memory_index(), Counting()
    place = folder(tmp_path / "docs")
    ingest(index, place, embedder=embedder, chunker=SENTENCES)
    embedder.asked.clear()
    with (place / "birds.md").open("a", encoding="utf-8") as file:
        file.write(" Swifts sleep on the wing.")
    told = ingest(index, place, embedder=embedder, chunker=SENTENCES)
    assert (told.changed, told.unchanged, told.chunks, told.embedded) == (1, 2, 4, 1)
    assert [text for text in embedder.asked if "Swifts" in text] == embedder.asked
    assert everything(index) == everything(clean(place))


def clean(place: Path, **options: Any) -> Index[Any]:
    """What one clean ingest gives."""
    index = in_memory_index()
    take(index, place, **options)
    return index


STATES = st.dictionaries(
    st.sampled_from(["a.md", "b.md", "sub/c.md"]),
    st.lists(st.sampled_from(["Rain falls. ", "Wind blows hard. ", "Snow lies. ", "\n\n"]), max_size=6).map("".join),
    min_size=1,
)


@given(st.lists(STATES, min_size=1, max_size=4))
def test_after_any_changes_an_index_is_what_one_clean_ingest_gives(
    tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, str]]
) -> None:
    place, index = tmp_path_factory.mktemp("docs"), in_memory_index()
    for texts in states:
        for path in [path for path in place.rglob("*") if path.is_file()]:
            path.unlink()
        folder(place, texts)
        told = take(index, place)
        assert told.documents == len(texts) == told.new + told.changed + told.unchanged + len(told.skipped)
        assert everything(index) == everything(clean(place))


@pytest.mark.parametrize(
    "other",
    [
        {"chunker": chunking(size=90, by="characters", how="sentence")},
        {"told": plain},
        {"version": "2"},
        {"fields": lambda document: {"language": document.source[-2:]}},
    ],
    ids=["chunker", "told", "version", "fields"],
)
def test_who_cuts_or_embeds_in_another_way_writes_all_anew(tmp_path: Path, other: dict[str, Any]) -> None:
    index, place = (
        in_memory_index(),
        folder(tmp_path / "docs", {name: f"# A\n\n{text}" for name, text in TEXTS.items()}),
    )
    take(index, place)
    told = take(index, place, **other)
    assert (told.changed, told.embedded) == (3, told.chunks)
    assert everything(index) == everything(clean(place, **other))


def test_fields_of_your_own_are_filled(tmp_path: Path) -> None:
    @frozen(kw_only=True)
    class Note(Passage):
        kind: str = ""

    index = in_memory_index(Note)
    take(index, folder(tmp_path / "docs"), fields=lambda document: {"kind": Path(document.source).stem})
    assert index.count(where(kind="birds")) == 3
    with pytest.raises(Misuse, match="fields= gave colour, which Note of the index has not"):
        take(index, Document("Red.", "new.md"), fields=lambda _: {"colour": "red"})


def test_an_index_by_words_alone(tmp_path: Path) -> None:
    index = in_memory_index()
    told = ingest(index, folder(tmp_path / "docs"), embedder=None, chunker=SENTENCES)
    assert (told.chunks, told.embedded) == (9, 0)
    assert index.statistics().vectors == 0
    assert [hit.fields.number for hit in index.sparse("Zagros", 3, where())] == [0]


# -- gone, failed, empty --


def test_what_is_gone_is_taken_out_and_nothing_of_another_folder(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "docs"), folder(tmp_path / "docs2")
    index = in_memory_index()
    take(index, one)
    take(index, two)
    (one / "birds.md").unlink()
    (two / "taxes.md").unlink()
    assert take(index, one).gone == (str(one / "birds.md"),)
    assert {Path(each.fields.source).parent.name for each in everything(index).values()} == {"docs", "docs2"}
    assert index.count(where(source=str(two / "taxes.md"))) == 3
    assert take(index, two).gone == (str(two / "taxes.md"),)
    assert index.count(where()) == 12


def test_gone_are_only_those_that_a_pattern_would_name(tmp_path: Path) -> None:
    place = folder(tmp_path / "docs", {"a.md": "One.", "b.txt": "Two.", "sub/c.md": "Three."})
    index = in_memory_index()
    take(index, place)
    for name in ("a.md", "b.txt", "sub/c.md"):
        (place / name).unlink()
    (place / "d.md").write_text("Four.")
    assert take(index, str(place / "*.md")).gone == (str(place / "a.md"),)
    assert take(index, str(place / "**" / "*.md")).gone == (str(place / "sub" / "c.md"),)
    assert take(index, place, prune=False).gone == ()
    assert take(index, place).gone == (str(place / "b.txt"),)


def test_the_same_folder_by_another_path_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(tmp_path / "docs")
    index = in_memory_index()
    take(index, place)
    monkeypatch.chdir(place)
    assert take(index, ".").unchanged == 3
    assert take(index, "../docs/").unchanged == 3
    assert take(index, ["birds.md", Path("rivers.md"), "birds.md"]).unchanged == 2


def test_a_file_given_by_itself_takes_out_nothing(tmp_path: Path) -> None:
    place = folder(tmp_path / "docs")
    index = in_memory_index()
    take(index, place)
    (place / "birds.md").unlink()
    assert take(index, place / "rivers.md").gone == ()
    assert index.count(where()) == 9


def test_an_empty_folder_empties_what_was_of_it(tmp_path: Path) -> None:
    place = folder(tmp_path / "docs")
    index = in_memory_index()
    take(index, place)
    for path in place.iterdir():
        path.unlink()
    told = take(index, place)
    assert (told.documents, len(told.gone), index.count(where())) == (0, 3, 0)


def test_what_became_unreadable_is_reported_and_keeps_what_the_index_has(tmp_path: Path) -> None:
    place = folder(tmp_path / "docs")
    index = in_memory_index()
    take(index, place)
    before = everything(index)
    (place / "birds.md").write_bytes(b"%PDF-1.7 and nothing else")
    told = take(index, place)
    assert [(each.source, isinstance(each.error, BadDocument | ImportError)) for each in told.failed] == [
        (str(place / "birds.md"), True)
    ]
    assert (told.documents, told.unchanged, told.gone) == (3, 2, ())
    assert everything(index) == before


def test_a_document_that_lost_its_text_is_skipped_and_its_entries_are_taken_out(tmp_path: Path) -> None:
    place = folder(tmp_path / "docs")
    index = in_memory_index()
    take(index, place)
    (place / "birds.md").write_text(" \n")
    told = take(index, place)
    assert (told.skipped, told.unchanged, index.count(where())) == ((str(place / "birds.md"),), 2, 6)


def test_near_copies_are_reported() -> None:
    text = " ".join([f"word{number}" for number in range(300)])
    told = take(in_memory_index(), documents({"a": text, "b": TEXTS["birds.md"], "c": f"{text} more"}))
    ((duplicate,), none) = told.duplicates, take(in_memory_index(), documents({"a": text, "c": text}), similar=None)
    assert (duplicate.key, duplicate.of) == ("c", "a")
    assert duplicate.likeness >= 0.9
    assert none.duplicates == ()


def test_chunks_that_the_embedder_does_not_read_to_their_end_are_counted() -> None:
    @frozen(eq=False)
    class Short(Counting):
        def embed(self, texts: Any, *, kind: Any = None) -> Plan[Embeddings]:
            """The vectors of *texts*, as if all were too long."""
            return evolve((yield from super().embed(texts, kind=kind)), truncated=range(len(texts)))

    (told,) = ingest(in_memory_index(), Document(TEXTS["birds.md"], "a"), embedder=Short(), chunker=SENTENCES).notices
    assert told.startswith("3 chunks are longer than the embedder reads")


# -- failing on the way --


def test_an_embedder_that_fails_ends_it_and_the_next_one_goes_on(tmp_path: Path) -> None:
    place, index = folder(tmp_path / "docs"), in_memory_index()
    failing = Counting(fails=lambda asked: len(asked) > 4)
    with pytest.raises(ServerFailed) as raised:
        ingest(index, place, embedder=failing, chunker=SENTENCES, batch=2, ahead=1)
    report = raised.value.partial
    assert isinstance(report, Report)
    assert report.chunks == index.count(where()) == 4
    embedder = Counting()
    ingest(index, place, embedder=embedder, chunker=SENTENCES)
    assert len(embedder.asked) == 5
    assert everything(index) == everything(clean(place))


def test_a_full_disk_ends_it_and_the_next_one_heals(tmp_path: Path) -> None:
    place, index = folder(tmp_path / "docs"), in_memory_index()
    room = [2]

    def full(*args: Any) -> Any:
        room[0] -= 1
        if room[0] < 0:
            raise StoreFull("the disk is full; nothing was written")
        return index.upsert(*args)

    with pytest.raises(StoreFull):
        take(evolve(index, upsert=full), place, batch=2)
    take(index, place)
    assert everything(index) == everything(clean(place))


def test_vectors_of_another_model_are_refused_before_anything_is_embedded(tmp_path: Path) -> None:
    place, index = folder(tmp_path / "docs"), in_memory_index()
    take(index, place)
    other = evolve(Counting(), name="other")
    with pytest.raises(OtherVectors, match="holds vectors of testing/hashed#64, and testing/other#64 gives others"):
        ingest(index, place, embedder=other)
    assert other.asked == []


@given(st.integers(0, 12), st.integers(1, 4))
def test_stopped_at_any_write_the_next_one_gives_what_one_gives(
    tmp_path_factory: pytest.TempPathFactory, writes: int, batch: int
) -> None:
    """Over an older state, so that there is something to take away; who asks meanwhile misses no document."""
    place, index = folder(tmp_path_factory.mktemp("docs")), in_memory_index()
    take(index, place)
    folder(place, {name: text.replace(". ", "; ", 1) + " New." for name, text in TEXTS.items()})
    left = [writes]

    def until(function: Any) -> Any:
        def call(*args: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise StoreFull("stopped")
            done = function(*args)
            assert {each.fields.source for each in everything(index).values()} == {str(place / name) for name in TEXTS}
            return done

        return call

    stopping = evolve(index, upsert=until(index.upsert), delete=until(index.delete))
    try:
        take(stopping, place, batch=batch)
    except StoreFull:
        take(index, place)
    assert everything(index) == everything(clean(place))


# -- somebody else --


def test_what_somebody_else_has_written_over_is_written_again() -> None:
    """Another ingest takes away, between the two writes of ours, what is not of its own state."""
    index, other = in_memory_index(), in_memory_index()
    take(other, Document("Another state. Of the same.", "a.md"))
    taken = [False]

    def meddled(entries: Any, space: str = "") -> int:
        count: int = index.upsert(entries, space)
        if not taken[0]:
            taken[0] = True
            index.upsert(tuple(everything(other).values()), space)
        return count

    place = [Document("One state of it, which is ours. Of the very same document.", "a.md")]
    told = take(evolve(index, upsert=meddled), place)
    assert told.notices == ("somebody else writes into this index too: ingest again when they are done",)
    take(index, place)
    assert {each.text for each in everything(index).values()} == {
        "One state of it, which is ours.",
        "Of the very same document.",
    }


def test_what_somebody_else_has_written_over_is_read_again_where_it_can_be(tmp_path: Path) -> None:
    place, index, other = folder(tmp_path / "docs"), in_memory_index(), in_memory_index()
    take(other, Document("Another state. Of the same.", str(place / "birds.md")))
    taken = [False]

    def meddled(entries: Any, space: str = "") -> int:
        count: int = index.upsert(entries, space)
        if not taken[0]:
            taken[0] = True
            index.upsert(tuple(everything(other).values()), space)
        return count

    told = take(evolve(index, upsert=meddled), place)
    assert (told.documents, told.new, told.notices) == (3, 3, ())
    assert everything(index) == everything(clean(place))


# -- elsewhere --


@pytest.mark.parametrize("make", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_executor_reads_and_cuts(tmp_path: Path, make: Any) -> None:
    place, index = folder(tmp_path / "docs"), in_memory_index()
    options = {} if make is ThreadPoolExecutor else {"mp_context": get_context("spawn")}
    executor: Executor
    with make(1, **options) as executor:
        told = take(index, place, executor=executor)
        (place / "birds.md").write_bytes(b"%PDF-1.7 and nothing else")
        failed = take(index, place, executor=executor)
    assert told.new == 3
    assert [each.source for each in failed.failed] == [str(place / "birds.md")]
    assert len(everything(index)) == 9


def test_an_executor_is_one() -> None:
    with pytest.raises(Misuse, match=r"executor= is one of concurrent\.futures"):
        take(in_memory_index(), Document("a", "a"), executor=3)  # type: ignore[arg-type]


# -- what is told meanwhile --


@everywhere
def test_progress_is_told_of_each_with_the_rate_and_what_is_left(world: World, tmp_path: Path) -> None:
    place, seen = folder(tmp_path / "docs"), list[Progress]()
    ingest_plan = partial(ingest.plan, in_memory_index(), place, embedder=EMBEDDER, progress=seen.append)
    world.run(ingest_plan)
    assert [each.done for each in seen] == [1, 2, 3]
    assert {each.total for each in seen} == {3}
    assert seen[-1].share == 1.0
    assert seen[-1].left == 0.0
    assert all(each.rate >= 0 for each in seen)


def test_progress_may_be_async_and_is_told_as_notices_too(tmp_path: Path) -> None:
    seen = list[Progress]()
    place = folder(tmp_path / "docs")
    plan = partial(ingest.plan, in_memory_index(), place, embedder=EMBEDDER, progress=awaited(seen.append))
    events = World("trio", listening=True).events(plan)
    told = [event for event in events if isinstance(event, Notice) and event.kind == "ingest"]
    assert [each.done for each in seen] == [each.data["done"] for each in told] == [1, 2, 3]


def test_nobody_knows_how_much_is_left_of_what_comes_as_it_comes() -> None:
    seen = list[Progress]()

    def coming() -> Iterator[Document]:
        yield from documents(dict(TEXTS))

    take(in_memory_index(), coming(), progress=seen.append)
    assert [(each.total, each.left) for each in seen] == [(None, None)] * 3


def test_documents_are_taken_up_as_they_are_needed() -> None:
    """However many there are: a few ahead of what is written, and no more."""
    index, lead = in_memory_index(), list[int]()
    taken = [0]

    def coming() -> Iterator[Document]:
        for number in range(600):
            taken[0] += 1
            yield Document(f"Document {number}. It says {number}.", f"{number}.md")

    def watched(entries: Any, space: str = "") -> int:
        count: int = index.upsert(entries, space)
        lead.append(taken[0] - index.count(where()))
        return count

    told = take(evolve(index, upsert=watched), coming(), ahead=4, batch=10, similar=None)
    assert told.new == 600
    assert max(lead) <= 4 + 10 + 10 + 1


async def test_it_is_run_by_run(anyio_backend: str) -> None:
    from arshai_kit import aio

    assert anyio_backend
    told = await aio.run(ingest, in_memory_index(), documents(dict(TEXTS)), embedder=EMBEDDER)
    assert told.new == 3
    assert run is not None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"index": 3}, "the first argument is an index"),
        (
            {"index": in_memory_index(frozen(type("Bare", (), {"__annotations__": {"a": str}})))},
            "lack source, document",
        ),
        ({"source": 3}, "ingest takes a folder"),
        ({"source": b"data"}, "bytes have no name"),
        ({"source": Document("a")}, "its source is empty"),
        ({"source": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"embedder": "local"}, "embedder= is one"),
        ({"batch": 0}, "batch="),
        ({"ahead": True}, "ahead="),
        ({"similar": 2}, "similar="),
        ({"chunker": "tokens"}, "chunker= is a function"),
        ({"chunker": lambda _: ["a"]}, "chunker= is a function from a document to chunks"),
        ({"progress": 3}, "progress= is a function"),
    ],
)
def test_what_cannot_work_says_what_to_pass(wrong: dict[str, Any], told: str) -> None:
    given = {"index": in_memory_index(), "source": Document("a", "a"), "embedder": EMBEDDER, **wrong}
    with pytest.raises((Misuse, BadDocument), match=told):
        ingest(**given)
