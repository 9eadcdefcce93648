"""Whatever is read: the blocks hold all of it, in order; any bytes give a document or a `BadDocument`."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from html import escape
from multiprocessing import get_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.documents import Document, Limits, parse
from arshai_kit.documents.markdown import markdown
from arshai_kit.errors import BadDocument
from tests.documents.making import docx, paragraph, pdf, table

documents = pytest.mark.needs("documents")

WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=12)
LINES = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
ASCII = st.text("abcdefghij klmno", max_size=20).map(lambda text: f"then {text}".strip())
"""Lines of a page; PDFium takes lines of one letter for text that goes downwards."""


def holds(document: Document) -> Document:
    """*document*, of which everything points to where it should."""
    last = 0
    for block in document.blocks:
        assert last <= block.start < block.end <= len(document.text)
        assert not document.text[last : block.start].strip()
        assert (block.level > 0) == (block.kind == "heading")
        last = block.end
    assert not document.text[last:].strip()
    assert list(document.pages) == sorted(document.pages)
    assert all(0 <= page <= len(document.text) for page in document.pages)
    assert not document.pages or document.pages[0] == 0
    document.text.encode()
    assert pickle.loads(pickle.dumps(document)) == document
    return document


def attempted(data: bytes, name: str = "") -> None:
    """Read *data*: it is a document, or a bad one, and nothing else comes of it."""
    why = ""
    try:
        holds(parse(data, name))
    except BadDocument as error:
        why = str(error)
    assert not why or why.startswith(f"{name or 'the document'} cannot be read: ")


def words(document: Document) -> list[str]:
    return document.text.split()


# -- any bytes --

MARKS = (
    "# a|## b ##|- c|1. d|   - e|| f | g |||---|---||```|~~~|    code|title|===|---|> q|<!--|-->|<pre>|</pre>| |\t|\f|"
    "<table>|<tr><td rowspan=2>|<li>|<ul>|</ul>|<h1>|</h1>|<script>|\u2028|\xa0|+++|a: b"
).split("|")


@documents
@given(st.lists(st.sampled_from(MARKS) | st.text(max_size=8), max_size=30), st.sampled_from(["\n", "\r\n", "\r", ""]))
def test_any_lines_are_read_in_every_way(lines: list[str], end: str) -> None:
    text = end.join(lines)
    for name in ("a.md", "a.txt", "a.csv", "a.html", ""):
        attempted(text.encode(), name)
    assert holds(markdown(text, Limits())).text == text


@documents
@given(st.binary(max_size=200), st.sampled_from([b"", b"%PDF-1.7\n", b"PK\x03\x04", b"\xff\xfe", b"{", b"<html>"]))
def test_any_bytes_are_a_document_or_a_bad_one(data: bytes, mark: bytes) -> None:
    attempted(mark + data)


WHOLE = {
    "pdf": pdf([["Rivers", "The Karun is long."], ["and more"]], {"Title": "T"}, [("Rivers", 0)]),
    "docx": docx(paragraph("Top", "Heading1") + paragraph("text") + table([["a", "b"], ["1", "2"]])),
    "html": b"<html lang=en><title>t</title><h1>a</h1><ul><li>b<pre>c</pre></ul><table><tr><td>d<td>e</table>",
}


@documents
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_a_document_that_was_damaged_is_a_document_or_a_bad_one(kind: str, data: st.DataObject) -> None:
    whole = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                whole[place] = data.draw(st.integers(0, 255))
            case 1:
                del whole[place : place + data.draw(st.integers(1, 40))]
            case _:
                whole[place:place] = whole[: data.draw(st.integers(0, 40))]
        if not whole:
            return
    attempted(bytes(whole), f"x.{kind}")


# -- what was put in comes out --

BLOCKS = st.lists(
    st.tuples(st.sampled_from(["heading", "paragraph", "item"]), LINES)
    | st.tuples(st.just("table"), st.lists(st.lists(WORDS, min_size=2, max_size=2), min_size=2, max_size=3)),
    min_size=1,
    max_size=8,
)


def _flat(blocks: list[tuple[str, Any]]) -> list[str]:
    """All words of *blocks*, in their order."""
    return [
        word
        for kind, said in blocks
        for line in ([cell for row in said for cell in row] if kind == "table" else [said])
        for word in line.split()
    ]


def _kinds(blocks: list[tuple[str, Any]]) -> list[str]:
    """The kinds of *blocks*, as they are in a document: items that follow each other are one list."""
    names = [{"item": "list"}.get(kind, kind) for kind, _ in blocks]
    return [name for place, name in enumerate(names) if name != "list" or names[place - 1 : place] != ["list"]]


def _said(document: Document) -> list[str]:
    """All words of *document* but for the marks of its structure."""
    return [word for word in words(document) if word not in {"#", "-", "|", "---"}]


def _as_html(kind: str, said: Any) -> str:
    if kind == "table":
        return "<table>" + "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in said) + "</table>"
    return {"heading": "<h1>{}</h1>", "paragraph": "<p>{}</p>", "item": "<li>{}</li>"}[kind].format(escape(said))


def _html(blocks: list[tuple[str, Any]]) -> bytes:
    shown, open_ = [], False
    for kind, said in blocks:
        shown.append(("<ul>" if kind == "item" and not open_ else "") + ("</ul>" if open_ and kind != "item" else ""))
        shown.append(_as_html(kind, said))
        open_ = kind == "item"
    return f"<html><body>{''.join(shown)}</body></html>".encode()


def _docx(blocks: list[tuple[str, Any]]) -> bytes:
    made = {
        "heading": lambda said: paragraph(said, "Heading1"),
        "paragraph": paragraph,
        "item": lambda said: paragraph(said, properties='<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr>'),
        "table": table,
    }
    return docx("".join(made[kind](said) for kind, said in blocks))


@documents
@given(BLOCKS)
def test_what_was_written_comes_out_in_its_order_and_its_kind(blocks: list[tuple[str, Any]]) -> None:
    wanted = _flat(blocks)
    for data in (_html(blocks), _docx(blocks)):
        document = holds(parse(data))
        assert _said(document) == wanted
        assert [block.kind for block in document.blocks] == _kinds(blocks)


@documents
@given(st.lists(st.lists(ASCII, min_size=1, max_size=5), min_size=1, max_size=4))
def test_the_pages_of_a_pdf_come_out_each_with_its_lines(pages: list[list[str]]) -> None:
    document = holds(parse(pdf(pages)))
    assert words(document) == " ".join(" ".join(page) for page in pages).split()
    ends = [*document.pages[1:], len(document.text)]
    for place, (start, end) in enumerate(zip(document.pages, ends, strict=True)):
        assert document.text[start:end].split() == " ".join(pages[place]).split()
        assert document.page(start) == place + 1


@given(st.lists(LINES, min_size=1, max_size=6))
def test_text_stays_as_it_is_in_any_wide_encoding(lines: list[str]) -> None:
    text = "\n\n".join(lines)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert holds(parse(text.encode(encoding), "a.txt")).text == text


@documents
def test_it_is_the_same_in_any_thread_and_in_any_process() -> None:
    """PDFium is not made for threads, so one at a time is in it."""
    named = [(data, f"a.{kind}") for kind, data in WHOLE.items()] * 4
    here = [parse(*each) for each in named]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(parse, *zip(*named, strict=True))) == here
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        assert list(processes.map(parse, *zip(*named[:3], strict=True))) == here[:3]
