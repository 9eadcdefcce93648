"""Bytes in, a document out, in this process: pure, so that any executor can do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import evolve

from arshai_kit.documents import kinds
from arshai_kit.documents.decoding import decoded
from arshai_kit.documents.docx import docx
from arshai_kit.documents.html import html
from arshai_kit.documents.languages import language_of, tag
from arshai_kit.documents.lines import plain
from arshai_kit.documents.markdown import markdown
from arshai_kit.documents.pdf import pdf
from arshai_kit.documents.records import Document, Limits
from arshai_kit.documents.tables import comma_separated, delimiter, json_text
from arshai_kit.errors import BadDocument, DocumentTooLarge

__all__ = ["Extract", "extracted", "parse"]

Extract: TypeAlias = Callable[[str, bytes, Limits], Document]
"""Makes a document of bytes of a media type: `extracted`, or what has it done by another process."""


def parse(data: bytes, source: str = "", *, media_type: str = "", limits: Limits | None = None) -> Document:
    r"""The document in *data*, read in this process; `read` has what is risky read in another one.

    What it is shows in its bytes; the name that *source* ends with and *media_type* only tell kinds of text apart.

    >>> parse(b"# Rivers\n\nThe Karun.", "rivers.md").title
    'Rivers'
    """
    return parsed(data, source, media_type, limits or Limits(), extracted)


def parsed(data: bytes, source: str, media_type: str, limits: Limits, extract: Extract) -> Document:
    """The document in *data*, with what is risky read by *extract*."""
    try:
        found = _found(bytes(data), source, media_type, limits, extract)
    except BadDocument as error:
        if not error.source:
            shown = source or "the document"
            error.args = (f"{shown} cannot be read: {error}",)
            error.source = source
        raise
    language = tag(found.language) or language_of(_prose(found))
    return evolve(found, source=source, hash=sha256(data).hexdigest(), language=language)


def _found(data: bytes, source: str, media_type: str, limits: Limits, extract: Extract) -> Document:
    if len(data) > limits.size:
        raise DocumentTooLarge(f"it has {len(data):,} bytes, more than {limits.size:,}: size= of Limits")
    if kind := kinds.kind_of(data):
        return extract(kind, data, limits)
    text, notices = decoded(data)
    if len(text) > limits.text:
        raise DocumentTooLarge(f"its text has more than {limits.text:,} characters: text= of Limits")
    kind = kinds.kind_of_text(text, source, media_type)
    found = extract(kind, text.encode(), limits) if kind == kinds.HTML else _AS_IT_STANDS[kind](text, limits)
    return evolve(found, notices=(*notices, *found.notices)) if notices else found


_AS_IT_STANDS: Final[Mapping[str, Callable[[str, Limits], Document]]] = MappingProxyType(
    {
        kinds.PLAIN: plain,
        kinds.MARKDOWN: markdown,
        kinds.CSV: lambda text, _: comma_separated(text, delimiter(text, least=1)),
        kinds.JSON: lambda text, _: json_text(text, kinds.JSON),
        kinds.JSON_LINES: lambda text, _: json_text(text, kinds.JSON_LINES),
        kinds.XML: lambda text, _: json_text(text, kinds.XML),
    }
)


def extracted(kind: str, data: bytes, limits: Limits) -> Document:
    """The document of media type *kind* in *data*; HTML is given as UTF-8."""
    try:
        return _READERS[kind](data, limits)
    except (BadDocument, ImportError, MemoryError):
        raise
    except Exception as error:
        raise BadDocument(f"it is damaged: {type(error).__name__}: {error}") from error


_READERS: Final[Mapping[str, Callable[[bytes, Limits], Document]]] = MappingProxyType(
    {kinds.PDF: pdf, kinds.DOCX: docx, kinds.HTML: lambda data, limits: html(data.decode(), limits)}
)


def _prose(document: Document) -> str:
    """Some text of *document* that is neither code nor a table; of that, where there is no other."""
    pieces = []
    left = 800
    for block in document.blocks:
        if block.kind not in ("code", "table") and left > 0:
            pieces.append(document.text[block.start : min(block.end, block.start + left)])
            left -= len(pieces[-1])
    return "\n".join(pieces)
