"""What an ingest does at its edges: addresses, links, patterns, idle executors, functions and their names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen

from arshai_kit import using
from arshai_kit._record import Record
from arshai_kit.chunking import Chunk, chunking, semantic
from arshai_kit.documents import Document, load
from arshai_kit.effects import Plan, Reply, Send, Where
from arshai_kit.errors import BadDocument, Misuse, Unauthorized
from arshai_kit.index import in_memory_index, where
from arshai_kit.providers import openai_compatible_embedder
from arshai_kit.retrieval import ingest, similar
from arshai_kit.retrieval.fingerprints import named
from arshai_kit.retrieval.sources import is_gone, within
from arshai_kit.testing import hashed_embedder
from tests.core.worlds import World, everywhere
from tests.retrieval.kept import EMBEDDER, SENTENCES, everything, folder

take = partial(ingest, embedder=EMBEDDER, chunker=SENTENCES)


# -- addresses --


@everywhere
def test_what_lies_at_an_address_is_fetched_in_the_run(world: World) -> None:
    asked: list[str] = []

    def on_send(send: Send, _: Where) -> Plan[Reply]:
        asked.append(send.request.url)
        status = 404 if "gone" in send.request.url else 200
        return Reply(status, (("content-type", "text/markdown"),), b"# Rain\n\nIt rains.")
        yield

    index = in_memory_index()
    sources = ["https://example.org/rain.md", "https://example.org/gone.md"]
    with using(layers=[{Send: on_send}]):
        first = world.run(lambda: ingest.plan(index, sources, embedder=EMBEDDER))
        again = world.run(lambda: ingest.plan(index, sources, embedder=EMBEDDER))
    assert (first.new, [each.source for each in first.failed]) == (1, ["https://example.org/gone.md"])
    assert (again.unchanged, len(again.failed), again.gone) == (1, 1, ())
    assert [each.fields.source for each in everything(index).values()] == ["https://example.org/rain.md"]


# -- folders --


def test_a_link_that_leads_out_is_reported_and_what_the_index_has_of_it_stays(tmp_path: Path) -> None:
    place, index = folder(tmp_path / "docs"), in_memory_index()
    take(index, place)
    (place / "birds.md").rename(tmp_path / "birds.md")
    (place / "birds.md").symlink_to(tmp_path / "birds.md")
    told = take(index, place)
    assert [Path(each.source).name for each in told.failed] == ["birds.md"]
    assert (told.unchanged, told.gone, index.count(where())) == (2, (), 9)


def test_a_folder_in_the_place_of_a_file_and_a_file_in_a_file(tmp_path: Path) -> None:
    place, index = folder(tmp_path / "docs"), in_memory_index()
    take(index, place)
    (place / "birds.md").unlink()
    (place / "birds.md").mkdir()
    assert [Path(each).name for each in take(index, place).gone] == ["birds.md"]
    assert is_gone(str(place / "rivers.md" / "more"))
    assert not is_gone("a\0b")
    assert not is_gone(str(place / "rivers.md"))


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("/d/*.md", ["/d/a.md"], ["/d/s/a.md", "/d/a.mdx", "/e/a.md"]),
        ("/d/**/*.md", ["/d/a.md", "/d/s/t/a.md"], ["/d/a.txt"]),
        ("/d/**", ["/d/a", "/d/s/a"], ["/e/a"]),
        ("/d/[ab]?.md", ["/d/a1.md", "/d/b2.md"], ["/d/c1.md", "/d/a.md"]),
        ("/d/[!ab].md", ["/d/c.md"], ["/d/a.md"]),
        ("/d/[a-c].md", ["/d/b.md"], ["/d/-.md"]),
        (["/d/*.md", "/e/*.md"], ["/d/a.md", "/e/a.md"], ["/f/a.md"]),
        ("/d/a.md", [], ["/d/a.md", "/d/b.md"]),
        ("https://example.org/*", [], ["https://example.org/a"]),
        (b"/d/*", [], ["/d/a"]),
    ],
)
def test_what_a_pattern_might_hold(pattern: Any, inside: list[str], outside: list[str]) -> None:
    holds = within(pattern)
    assert [path for path in (*inside, *outside) if holds(path)] == inside


def test_a_pattern_that_finds_nothing_is_a_mistake_unless_all_of_it_is_gone(tmp_path: Path) -> None:
    place, index = folder(tmp_path / "docs"), in_memory_index()
    with pytest.raises(BadDocument):
        take(index, str(place / "*.pdf"))
    take(index, str(place / "*.md"))
    for path in place.iterdir():
        path.unlink()
    assert len(take(index, str(place / "*.md")).gone) == 3


# -- elsewhere --


@frozen(eq=False)
class Idle:
    """An executor that fails at the first document, and never comes to the others."""

    futures: list[Future[Any]] = field(factory=list)

    def submit(self, *args: Any) -> Future[Any]:
        """What is never done."""
        future: Future[Any] = Future()
        if args[-1].found.source.endswith("birds.md"):
            future.set_exception(Misuse("it is broken"))
        self.futures.append(future)
        return future


@everywhere
def test_what_an_executor_has_not_begun_is_cancelled_when_the_ingest_ends(world: World, tmp_path: Path) -> None:
    place, idle = folder(tmp_path / "docs"), Idle()
    executor: Any = idle
    with pytest.raises(Misuse, match="it is broken"):
        world.run(lambda: ingest.plan(in_memory_index(), place, embedder=EMBEDDER, executor=executor))
    assert all(future.done() for future in idle.futures)


def test_no_more_documents_are_compared_than_memory_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "MOST", 2)
    monkeypatch.setattr("arshai_kit.retrieval.pipeline.MOST", 2)
    documents = [Document("It rains here on most days.", f"{number}.md") for number in range(4)]
    told = take(in_memory_index(), documents)
    assert len(told.duplicates) == 1
    assert told.notices == ("only the first 2 documents were compared with each other",)


# -- names --


def sized(size: int) -> Any:
    def cut(document: Any) -> Any:
        return document[:size]

    return cut


@frozen(eq=False, repr=False)
class Cutting(Record):
    """How something is cut."""

    size: int = 3
    how: Any = len


SAME: list[Any] = [
    (len, len),
    (chunking(size=3), chunking(size=3)),
    (sized(3), sized(3)),
    (partial(sorted, reverse=True), partial(sorted, reverse=True)),
    (hashed_embedder(), hashed_embedder()),
    (object(), object()),
]


def prefixed(words: str) -> Any:
    return openai_compatible_embedder("m", base_url="http://localhost:1/v1", api_key="", document_prefix=words)


OTHER: list[Any] = [
    (len, sum),
    (chunking(size=3), chunking(size=4)),
    (sized(3), sized(4)),
    (partial(sorted, reverse=True), partial(sorted, reverse=False)),
    (partial(max, 1), partial(max, 2)),
    (lambda text: text[:3], lambda text: text[:4]),
    (lambda text: text.upper(), lambda text: text.lower()),
    (hashed_embedder(dimensions=3), hashed_embedder(dimensions=4)),
    (prefixed("passage: "), prefixed("document: ")),
    (Cutting(), Cutting(how=sum)),
    ([1, 2], [1, 3]),
    ({"a": 1}, {"a": 2}),
    ({1, 2}, {1, 3}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_does_the_same_has_the_same_name(one: Any, other: Any) -> None:
    assert named(one) == named(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_does_something_else_has_another_name(one: Any, other: Any) -> None:
    assert named(one) != named(other)


def test_a_function_that_holds_itself_or_nothing_yet_has_a_name() -> None:
    def again(number: int) -> Any:
        return again(number - 1) if number else later

    assert named(again).startswith("tests.retrieval.test_ingest_edges")
    later = 3
    assert later


def test_names_are_the_same_in_every_process() -> None:
    """Whatever hashes of text are there, and wherever objects lie."""
    code = """
from functools import partial
from arshai_kit.chunking import chunk, chunking
from arshai_kit.retrieval.fingerprints import how_of
print(how_of(partial(chunk, size=3), chunking(how=len), {"b", "a", "c"}, object(), lambda text: {"x", "y"}))
"""
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


# -- what is given --


def test_two_documents_of_one_source_are_told_and_places_count_once(tmp_path: Path) -> None:
    index = in_memory_index()
    given = [Document("It rains.", "a"), Document("It snows.", "a"), Document("It hails.", "b")]
    for source in (given, iter(given)):
        report = take(index, source, prune=False)
        assert (report.documents, [each.source for each in report.failed]) == (3, ["a"])
        assert "is the source of two documents" in str(report.failed[0].error)
    assert [each.text for each in everything(index).values()].count("It snows.") == 0
    place, seen = folder(tmp_path / "docs"), list[Any]()
    take(in_memory_index(), [place, next(place.iterdir()), place], progress=seen.append)
    assert seen[-1].done == seen[-1].total == len(seen)


def test_a_document_whose_text_was_changed_by_hand_has_changed(tmp_path: Path) -> None:
    index, place = in_memory_index(), folder(tmp_path / "docs")
    take(index, load(place))
    assert take(index, load(place)).new == 0
    report = take(index, (evolve(each, text=each.text.upper()) for each in load(place)))
    assert report.unchanged == 0
    assert all(each.text.isupper() for each in everything(index).values())


@pytest.mark.parametrize(("source", "told"), [("", "'' is no path"), ("file:///etc/hosts", "file:// is not taken")])
def test_what_is_no_path_is_not_taken_for_one(source: str, told: str) -> None:
    with pytest.raises(Misuse, match=told):
        take(in_memory_index(), source)


def test_an_address_that_must_not_be_asked_ends_nothing() -> None:
    report = take(in_memory_index(), ["http://127.0.0.1:9/a", Document("It rains.", "a")])
    assert (report.new, [each.source for each in report.failed]) == (1, ["http://127.0.0.1:9/a"])
    assert "not at a public address" in str(report.failed[0].error)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"fields": lambda _: {"source": "other", "page": 3}}, "page, source, which an ingest fills itself"),
        ({"fields": lambda _: None}, "gave NoneType"),
        ({"chunker": lambda _: None}, "a function from a document to chunks"),
        ({"chunker": lambda _: ["text"]}, "a function from a document to chunks"),
    ],
)
def test_what_functions_give_is_looked_at(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Misuse, match=told):
        ingest(in_memory_index(), Document("It rains.", "a"), **{"embedder": EMBEDDER, **given})


def test_a_chunker_may_be_a_generator() -> None:
    def one_by_one(document: Document) -> Iterator[Chunk]:
        yield from SENTENCES(document)

    report = ingest(in_memory_index(), Document("It rains. It snows.", "a"), embedder=EMBEDDER, chunker=one_by_one)
    assert (report.new, report.skipped, report.chunks > 0) == (1, (), True)


@frozen
class Refused:
    """An embedder to which nobody has the key; it counts who asks."""

    asked: list[int] = field(factory=list)
    name: str = "refused"
    provider: str = "tests"
    dimensions: int | None = None

    def embed(self, texts: Any, *, kind: Any = None) -> Plan[Any]:
        self.asked.append(len(texts))
        raise Unauthorized("the key is refused", status=401)
        yield


@pytest.mark.parametrize("by_chunker", [True, False])
def test_an_embedder_that_refuses_ends_it_whoever_asks(by_chunker: bool) -> None:
    refused = Refused()
    documents = [Document(f"It rains {number}. It snows. It hails.", f"{number}") for number in range(30)]
    given: dict[str, Any] = (
        {"embedder": EMBEDDER, "chunker": semantic(refused)} if by_chunker else {"embedder": refused}
    )
    with pytest.raises(Unauthorized) as caught:
        ingest(in_memory_index(), documents, ahead=2, **given)
    assert caught.value.partial.failed == ()
    assert len(refused.asked) <= 4


def test_what_goes_to_no_process_says_what_to_do() -> None:
    with ProcessPoolExecutor(1) as executor, pytest.raises(Misuse, match="at the top of a module"):
        ingest(in_memory_index(), Document("a b", "a"), embedder=None, chunker=lambda _: (), executor=executor)
