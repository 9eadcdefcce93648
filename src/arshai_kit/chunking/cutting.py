"""A document cut into chunks: every character that is not blank is in one, where it stands, and none is too large."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, TypeAlias

from attrs import frozen

from arshai_kit._record import Record
from arshai_kit.chunking.packing import Piece, packed
from arshai_kit.chunking.records import Chunk
from arshai_kit.chunking.sections import above, by_groups, by_sections, divided, header, places_of, wholes
from arshai_kit.chunking.units import PROSE, SENTENCES, Measure, Unit, Whole, pieces
from arshai_kit.documents import Document
from arshai_kit.errors import Misuse
from arshai_kit.memory.tokens import estimated_text, text_tokenizer

__all__ = ["By", "Chunking", "How", "chunk", "chunking", "measured"]

By: TypeAlias = Literal["tokens", "characters", "o200k_base", "cl100k_base"] | Measure
"""What the size of a chunk counts."""
How: TypeAlias = Literal["structural", "recursive", "sentence", "page"] | Callable[[Document], Iterable[Any]]
"""Where a document is cut."""
_WAYS: Final = ("structural", "recursive", "sentence", "page")


@frozen(eq=False, repr=False)
class Chunking(Record):
    """How documents are cut: called with one, it gives its chunks."""

    size: int = 400
    overlap: int = 0
    by: By = "tokens"
    how: How = "structural"

    def __attrs_post_init__(self) -> None:
        if type(self.size) is not int or self.size < 1:
            raise Misuse(f"size= is the most that a chunk may count, a whole number above zero, not {self.size!r}")
        if type(self.overlap) is not int or not 0 <= self.overlap < self.size:
            raise Misuse(f"overlap= is a whole number from 0 and less than size={self.size}, not {self.overlap!r}")
        if not callable(self.how) and self.how not in _WAYS:
            raise Misuse(f"how= is one of {', '.join(map(repr, _WAYS))}, or a function of a document, not {self.how!r}")
        measured(self.by)

    def __call__(self, document: Document | str) -> tuple[Chunk, ...]:
        """The chunks of *document*."""
        if not isinstance(document, Document | str):
            raise Misuse(f"a document or a text is cut into chunks, not {type(document).__name__}")
        document = Document(document) if isinstance(document, str) else document
        measure = measured(self.by)
        return tuple(_chunks(document, *_grouped(document, self.how, measure, self.size), self, measure))


def chunking(*, size: int = 400, overlap: int = 0, by: By = "tokens", how: How = "structural") -> Chunking:
    """`chunk` with these settings, as a value: what `ingest` takes as its `chunker=`.

    >>> chunking(size=12, by="characters")("Rain falls. Wind blows.")[1].text
    'Wind blows.'
    """
    return Chunking(size, overlap, by, how)


def chunk(
    document: Document | str, *, size: int = 400, overlap: int = 0, by: By = "tokens", how: How = "structural"
) -> tuple[Chunk, ...]:
    """*document* in chunks of at most *size*, each of which repeats at most *overlap* of the one before it.

    *by* says what is counted: `tokens`, as `estimated_text` does; `o200k_base` or `cl100k_base`, the real tokens of
    OpenAI's models (extra `tokens`); `characters`; or a function that counts, for which more text is never less.

    *how* says where it is cut. `structural`: sections apart, and headings, paragraphs, lists, tables and code whole
    where they fit; `recursive`: paragraphs, of the text alone; `sentence`: sentences; `page`: pages apart. What is too
    large gives way to rows, items or lines, or to sentences, then to clauses, words and, at last, letters. A function
    of the document gives the chunks itself, as texts or as pairs of places; those too large are cut like all else.

    >>> [each.text for each in chunk("Rain falls. Wind blows. Snow lies.", size=24, by="characters")]
    ['Rain falls. Wind blows.', 'Snow lies.']
    """
    return chunking(size=size, overlap=overlap, by=by, how=how)(document)


def measured(by: By) -> Measure:
    """The function that counts what *by* names."""
    match by:
        case "tokens":
            return estimated_text
        case "characters":
            return len
        case "o200k_base" | "cl100k_base":
            return text_tokenizer(by)
    if not callable(by):
        raise Misuse(
            f"by= is 'tokens', 'characters', 'o200k_base', 'cl100k_base' or a function that counts, not {by!r}"
        )
    return by


def _grouped(document: Document, how: How, measure: Measure, size: int) -> tuple[list[Whole], Iterable[list[Unit]]]:
    """What is to be kept whole, and the units of all that shares chunks."""
    text = document.text
    match how:
        case "recursive" | "sentence":
            found = [*pieces(text, 0, len(text), PROSE if how == "recursive" else SENTENCES)]
            return found, by_groups(text, [found] if found else (), measure, size)
        case "page" if document.pages:
            places: Iterable[int] = document.pages
        case "structural" | "page":
            found = [*wholes(document)]
            return found, by_sections(text, found, measure, size)
        case _:
            places = places_of(document, how(document))
    groups = [*divided(text, wholes(document), places)]
    return [whole for group in groups for whole in group], by_groups(text, groups, measure, size)


def _chunks(
    document: Document, found: list[Whole], groups: Iterable[list[Unit]], asked: Chunking, measure: Measure
) -> Iterator[Chunk]:
    text = document.text
    made = [
        (piece, units[slice(*piece.units)])
        for units in groups
        for piece in packed(text, units, measure, asked.size, asked.overlap)
    ]
    sections = above(document, [(piece.start, piece.end) for piece, _ in made])
    for number, ((piece, units), section) in enumerate(zip(made, sections, strict=True)):
        yield Chunk(
            text[piece.start : piece.end],
            piece.start,
            piece.end,
            number,
            section=section,
            page=document.page(piece.start),
            size=piece.size,
            cut=any(unit.whole >= 0 for unit in units),
            header=_header(text, found, piece, units[0]),
        )


def _header(text: str, found: list[Whole], piece: Piece, unit: Unit) -> str:
    """The head of the table in whose midst a piece begins."""
    whole = found[unit.whole] if unit.whole >= 0 else None
    if whole is None or whole.kind != "table" or piece.start == whole.start:
        return ""
    return header(text, whole)
