"""The laws of chunks, over arbitrary documents, every way to cut and every way to count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from arshai_kit.chunking import Chunk, chunk
from arshai_kit.documents import Block, Document
from arshai_kit.memory.tokens import estimated_text, text_tokenizer
from tests.chunking.documents import anything, blocks, documents, put_together

WAYS = ["structural", "recursive", "sentence", "page"]


def words(text: str) -> int:
    """Words, each of which counts as many as it has letters beyond eight."""
    return sum([1 + len(word) // 8 for word in text.split()])


MEASURES = {"characters": len, "tokens": estimated_text, "words": words}
sources = st.one_of(documents(), anything.map(Document))
settings = st.fixed_dictionaries(
    {
        "size": st.one_of(st.integers(1, 12), st.integers(10, 120)),
        "by": st.sampled_from([len, estimated_text, words]),
        "how": st.sampled_from(WAYS),
    }
)


def by_pairs(document: Document) -> Iterator[tuple[int, int]]:
    """Somebody's own pieces, with gaps between them and beyond each other's ends."""
    return ((start, min(start + 25, len(document.text))) for start in range(3, len(document.text), 20))


@given(source=sources, asked=settings, part=st.integers(0, 9))
def test_every_chunk_is_where_it_says_and_none_is_too_large(source: Document, asked: dict[str, Any], part: int) -> None:
    overlap = asked["size"] * part // 10
    chunks = chunk(source, overlap=overlap, **asked)
    hold(source, chunks, asked["size"], overlap, asked["by"])


@pytest.mark.needs("tokens")
@example(text="```\n नमस्ते दुनिया\n```", size=3)
@example(text="(unfolded=400 * 1024**2, text)", size=10)
@given(text=st.one_of(anything, st.text(st.sampled_from(" \n`.*=|नमस्ते\u200dwordéسلام"))), size=st.integers(2, 30))
def test_real_tokens_of_which_more_text_may_have_less_are_never_too_many(text: str, size: int) -> None:
    count = text_tokenizer("o200k_base")
    for how in WAYS:
        for each in chunk(text, size=size, by="o200k_base", how=how):  # type: ignore[arg-type]
            assert each.size == count(each.text)
            assert each.size <= size or len(each.text) == 1


def hold(source: Document, chunks: tuple[Chunk, ...], size: int, overlap: int, measure: Callable[[str], int]) -> None:
    """All laws of one document's chunks."""
    covered = [False] * len(source.text)
    for number, each in enumerate(chunks):
        assert source.text[each.start : each.end] == each.text
        assert each.text.strip(" \t") == each.text.strip()  # code may begin with its indentation
        assert each.number == number
        assert each.size == measure(each.text)
        assert each.size <= size or len(each.text) == 1
        assert each.section == source.section(each.start + leading(source, each))
        assert each.page == source.page(each.start)
        covered[each.start : each.end] = [True] * len(each.text)
    assert all(there or letter.isspace() for there, letter in zip(covered, source.text, strict=True))
    for one, other in pairwise(chunks):
        assert one.start < other.start
        assert one.end < other.end
        assert measure(source.text[other.start : one.end]) <= overlap
        assert not source.text[one.end : other.start].strip()


def leading(source: Document, each: Chunk) -> int:
    """How far the headings go that *each* begins with."""
    place = each.start
    for block in source.blocks:
        if block.kind == "heading" and place <= block.start < each.end and not source.text[place : block.start].strip():
            place = block.start
        if block.kind == "heading" and block.start <= place < block.end:
            place = block.end
    return min(place, each.end - 1) - each.start


@given(source=sources, asked=settings)
def test_what_fits_is_kept_whole(source: Document, asked: dict[str, Any]) -> None:
    """Headings, paragraphs, lists, tables and code; and what is not says so."""
    chunks = chunk(source, **{**asked, "how": "structural"})
    for block in source.blocks:
        text = source.text[block.start : block.end]
        if not text.strip():
            continue
        within = [each for each in chunks if each.start < block.end and block.start < each.end]
        start, end = block.start + len(text) - len(text.lstrip()), block.end - len(text) + len(text.rstrip())
        if asked["by"](text.strip()) <= asked["size"]:
            assert [each for each in within if each.start <= start and end <= each.end] == within
        else:
            assert all(each.cut for each in within)


@given(source=sources, asked=settings, part=st.integers(0, 9), more=st.lists(blocks(), max_size=4), joined=anything)
@example(Document("ab ab", blocks=[Block("table", 0, 5)]), {"size": 3, "by": len, "how": "structural"}, 0, [], "b")
@example(  # a mark of the list stands at the end, where it might become another word
    Document("- \n- Rain Rain Why? — “yes.” \n- \n\n", blocks=[Block("list", 0, 32)]),
    *({"size": 25, "by": len, "how": "structural"}, 6, [], "Rain "),
)
def test_appending_changes_at_most_the_last_two(
    source: Document, asked: dict[str, Any], part: int, more: list[tuple[str, str, int]], joined: str
) -> None:
    """Whether the last block goes on or further ones follow; the counter must not count less where there is more."""
    overlap = asked["size"] * part // 10
    before = chunk(source, overlap=overlap, **asked)
    after = chunk(appended(source, more, joined), overlap=overlap, **asked)
    # The head of a table is told once its second line is complete.
    assert [evolve(each, header="") for each in after[: max(0, len(before) - 2)]] == [
        evolve(each, header="") for each in before[:-2]
    ]


def appended(source: Document, more: list[tuple[str, str, int]], joined: str) -> Document:
    text = source.text + joined
    found = [*source.blocks]
    if found and found[-1].kind != "heading":
        found[-1] = evolve(found[-1], end=len(text))
    start = len(text) + 2
    rest = put_together(more)
    moved = [evolve(each, start=each.start + start, end=each.end + start) for each in rest.blocks]
    return evolve(source, text=f"{text}\n\n{rest.text}", blocks=(*found, *moved) if found or not text.strip() else ())


@given(source=sources, size=st.integers(2, 40), part=st.integers(0, 9))
def test_what_somebody_else_has_found_holds_too(source: Document, size: int, part: int) -> None:
    hold(
        source, chunk(source, size=size, overlap=size * part // 10, by=len, how=by_pairs), size, size * part // 10, len
    )


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("kind", ["sentences", "words", "letters", "blocks", "blank lines", "headings", "dots"])
def test_no_letter_is_counted_more_often_than_a_few_times(how: Any, kind: str) -> None:
    """Twice the text, twice the work: calls of the counter, and the letters that it is shown."""
    small, large = counted(kind, 1, how), counted(kind, 4, how)
    for few, many in zip(small, large, strict=True):
        assert many <= 4.4 * few
    assert large[1] <= 12 * large[2]


def counted(kind: str, times: int, how: Any) -> tuple[int, int, int]:
    calls = letters = 0

    def measure(text: str) -> int:
        nonlocal calls, letters
        calls, letters = calls + 1, letters + len(text)
        return (len(text) + 3) // 4

    source = made(kind, times * 3000)
    assert len(chunk(source, size=40, overlap=8, by=measure, how=how)) > 20
    return calls, letters, len(source.text)


def made(kind: str, many: int) -> Document:
    match kind:
        case "sentences":
            return Document("Rain falls on the hills. " * many)
        case "words":
            return Document("word " * many)
        case "letters":
            return Document("漢" * many * 3)
        case "blank lines":
            return Document(("Rain." + "\n" * 400) * (many // 100))
        case "headings":
            return put_together([("heading", "# Rain and hail", 1)] * (many // 10))
        case "dots":
            return Document("." * many * 3)
    return put_together([("paragraph", "Rain falls on the hills.", 0), ("table", "| a | b |\n" * 40, 0)] * (many // 30))
