"""Arbitrary documents: text of any script, and blocks of every kind that point into it."""

from __future__ import annotations

from hypothesis import strategies as st

from arshai_kit.documents import Block, Document

WORDS = st.sampled_from(
    "Rain falls on the hills. Why? Dr. e.g. 3.50 — 2. باران می\u200cبارد. کجا؟ 雨が降る。 風。 ฝนตก ሰላም። बारिश। "
    "👩\u200d👩\u200d👧 🇮🇷🇩🇪 ééé e\u0301\u0302 [1] (so) “yes.” ; a: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".split()
)
GAPS = st.sampled_from([" ", " ", " ", " ", "\n", "  ", "\n\n", "\t", " \r\n", "\u00a0", "\f"])


@st.composite
def prose(draw: st.DrawFn, most: int = 30) -> str:
    """Words and blanks, in the order of no language."""
    parts = draw(st.lists(st.tuples(WORDS, GAPS), max_size=most))
    return "".join([part for pair in parts for part in pair])


anything = st.one_of(prose(), st.text(max_size=120), st.text("ab .\n", max_size=200))


@st.composite
def rows(draw: st.DrawFn) -> str:
    cells = draw(st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=8))
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|---|---|", *lines[1:]])


@st.composite
def blocks(draw: st.DrawFn) -> tuple[str, str, int]:
    """A kind, its text and, of a heading, its level."""
    kind = draw(st.sampled_from(["heading", "heading", "paragraph", "paragraph", "list", "table", "code"]))
    match kind:
        case "heading":
            level = draw(st.integers(1, 3))
            return kind, f"{'#' * level} {draw(WORDS)}", level
        case "table":
            return kind, draw(rows()), 0
        case "list":
            return kind, "\n".join([f"- {each}" for each in draw(st.lists(prose(5), min_size=1, max_size=4))]), 0
        case "code":
            lines = draw(st.lists(prose(4), min_size=1, max_size=5))
            return kind, "\n".join(["```", *[f"    {each}" for each in lines], "```"]), 0
    return kind, draw(prose()), 0


def put_together(parts: list[tuple[str, str, int]], gap: str = "\n\n", pages: tuple[int, ...] = ()) -> Document:
    """The document of these blocks, *gap* between them; the blocks with the numbers in *pages* begin one."""
    text, found, begins = "", list[Block](), [0] if pages else []
    for number, (kind, said, level) in enumerate(parts):
        if number in pages:
            begins.append(len(text))
        found.append(Block(kind, len(text), len(text) + len(said), level))  # type: ignore[arg-type]  # one of the kinds
        text += said + gap
    return Document(text, "made.md", blocks=found, pages=sorted(set(begins)))


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Blocks of all kinds, on pages or not."""
    parts = draw(st.lists(blocks(), max_size=9))
    pages = draw(st.lists(st.integers(1, 9), max_size=3))
    return put_together(parts, draw(st.sampled_from(["\n\n", "\n", "\n \n"])), tuple(pages))
