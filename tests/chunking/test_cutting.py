"""What chunks are like: headings with what they head, heads of tables, pages, pieces of other splitters."""

from __future__ import annotations

import pickle
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from arshai_kit.chunking import Chunking, chunk, chunking
from arshai_kit.documents import Block, Document
from arshai_kit.errors import Misuse
from tests.chunking.documents import put_together

TABLE = "\n".join(
    ["| year | rain |", "|------|------|", *[f"| {year} | {year % 97} mm |" for year in range(1990, 2020)]]
)
CODE = "\n".join(["def rain(day):", *[f"    if day == {day}:\n        return {day * 3}" for day in range(20)]])
LONG = "Rain falls on the hills of Gilan all day. " * 20


def test_a_section_has_chunks_of_its_own_and_small_ones_share_one() -> None:
    parts = [
        ("heading", "# Weather", 1),
        ("heading", "## Rain", 2),
        ("paragraph", LONG, 0),
        ("heading", "## Hail", 2),
        ("paragraph", "Hail is rare.", 0),
        ("heading", "## Snow", 2),
        ("paragraph", "Snow is rare.", 0),
        ("heading", "# Tides", 1),
        ("paragraph", "There are none.", 0),
    ]
    found = chunk(put_together(parts), size=600, by="characters")
    assert [each.section for each in found] == [
        ("Weather", "Rain"),
        ("Weather", "Rain"),
        ("Weather", "Hail"),
        ("Tides",),
    ]
    assert found[0].text.startswith("# Weather\n\n## Rain\n\nRain falls")
    assert found[2].text == "## Hail\n\nHail is rare.\n\n## Snow\n\nSnow is rare."
    assert abs(found[0].size - found[1].size) < 60  # two of one section are about as large
    assert [each.cut for each in found] == [True, True, False, False]


def test_a_table_that_is_cut_is_cut_at_rows_and_says_what_its_columns_are() -> None:
    source = put_together([("paragraph", "Rain by year:", 0), ("table", TABLE, 0), ("paragraph", "That was rain.", 0)])
    found = chunk(source, size=200, overlap=40, by="characters")
    assert all(line.startswith("|") and line.endswith("|") for each in found[1:-1] for line in each.text.splitlines())
    assert found[0].text.startswith("Rain by year:\n\n| year | rain |")
    assert found[0].header == ""
    assert {each.header for each in found[1:]} == {"| year | rain |\n|------|------|"}
    assert found[1].text.splitlines()[0] in found[0].text.splitlines()  # it repeats whole rows
    assert chunk(source, size=5000)[0].header == ""


@pytest.mark.parametrize(
    ("table", "header"),
    [("a,b\n1,2\n3,4", "a,b"), ("a" * 2000 + "\n1\n2", ""), ("a b c d e f g h", ""), ("a\n---", "a\n---")],
)
def test_the_head_of_a_table_is_its_first_line_if_it_is_short(table: str, header: str) -> None:
    source = put_together([("table", table, 0)])
    assert {each.header for each in chunk(source, size=3, by="characters")[1:]} == {header}


def test_code_is_cut_at_lines_and_keeps_its_indentation() -> None:
    found = chunk(put_together([("code", CODE, 0)]), size=120, by="characters")
    assert "\n".join([each.text for each in found]) == CODE
    assert all(each.cut for each in found)


def test_pages_are_kept_apart() -> None:
    text = "Page one. " * 3 + "\n\n" + "Page two. " * 30
    source = Document(text, "a.pdf", pages=[0, 32], blocks=[Block("paragraph", 0, len(text))])
    found = chunk(source, size=160, by="characters", how="page")
    assert [each.page for each in found] == [1, 2, 2]
    assert found[0].text == ("Page one. " * 3).strip()
    assert [each.page for each in chunk(Document("No pages."), how="page")] == [None]


def test_overlap_begins_at_a_sentence_or_else_at_a_word_or_a_letter() -> None:
    words = "rain " * 60
    found = chunk(LONG, size=200, overlap=60, by="characters")
    assert all(each.text.startswith("Rain falls") for each in found)
    assert all(one.end - other.start == 41 for one, other in pairwise(found))
    found = chunk(words, size=50, overlap=12, by="characters")
    assert {one.end - other.start for one, other in pairwise(found)} == {9}
    found = chunk("漢" * 90, size=32, overlap=9, by="characters")
    assert {one.end - other.start for one, other in pairwise(found)} == {9}


def test_no_letter_is_taken_apart_where_it_fits() -> None:
    family, flags, accents = "👩\u200d👩\u200d👧", "🇮🇷🇩🇪🇯🇵", "e\u0301o\u0308"
    text = family * 9 + flags * 9 + accents * 9 + "a\r\n" * 9 + "👍🏽" * 9
    for each in chunk(text, size=7, by="characters"):
        assert each.text[0] not in "\u200d\u0301\u0308\n🏽"
        assert not each.text.endswith("\u200d")
        regional = [letter for letter in each.text if "\U0001f1e6" <= letter <= "\U0001f1ff"]
        assert len(regional) % 2 == 0
    assert max(each.size for each in chunk("e" + "\u0301" * 200, size=10, by="characters")) == 10


def test_a_function_may_find_the_pieces() -> None:
    text = "one two three four"
    made = chunk(text, how=lambda document: ["one two", "three", "four"])
    assert [each.text for each in made] == ["one two", "three", "four"]
    assert [each.text for each in chunk(text, how=lambda document: [(4, 13)])] == ["one", "two three", "four"]
    assert [each.text for each in chunk(text, how=lambda document: ["one two three", "two three four"])] == [
        "one two three",
        "four",
    ]
    for wrong in ("five", (3, 99), 7):
        with pytest.raises(Misuse, match="piece"):
            chunk(text, how=partial(lambda wrong, document: [wrong], wrong))


def test_blocks_that_are_nowhere_are_refused() -> None:
    for blocks in ([Block("code", 3, 99)], [Block("code", 3, 5), Block("code", 0, 2)], [Block("code", 5, 3)]):
        with pytest.raises(Misuse, match="order"):
            chunk(Document("Rain falls.", blocks=blocks))


def test_a_counter_that_counts_more_for_the_whole_than_for_its_parts_is_obeyed() -> None:
    found = chunk(LONG, size=9000, by=lambda text: len(text) ** 2, how="sentence")
    assert all(len(each.text) ** 2 <= 9000 for each in found)


def test_a_chunker_is_a_value_that_goes_to_other_processes() -> None:
    chunker = chunking(size=50, overlap=5, by="characters", how="sentence")
    assert pickle.loads(pickle.dumps(chunker)) == chunker == Chunking(50, 5, "characters", "sentence")
    assert chunker(LONG) == partial(chunk, size=50, overlap=5, by="characters", how="sentence")(LONG)
    assert repr(chunker) == "Chunking(50, overlap=5, by='characters', how='sentence')"


@pytest.mark.needs("tokens")
@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_real_tokens_are_counted(encoding: Any) -> None:
    from arshai_kit.memory.tokens import text_tokenizer

    count, text = text_tokenizer(encoding), f"{LONG}\n\n{CODE}\n\n{'漢字' * 300}"
    before, found = chunk(text, size=64, overlap=8, by=encoding), chunk(text + LONG, size=64, overlap=8, by=encoding)
    assert all(each.size == count(each.text) <= 64 for each in before)
    assert sum([each.size for each in before]) / len(before) > 48
    assert found[: len(before) - 2] == before[:-2]
