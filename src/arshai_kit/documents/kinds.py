"""What bytes are: told by their marks, and of text by how it is written; a name only tells kinds of text apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import orjson

from arshai_kit.documents.markdown import looks_like_markdown
from arshai_kit.documents.tables import delimiter
from arshai_kit.errors import BadDocument
from arshai_kit.records.media import sniffed

__all__ = ["CSV", "DOCX", "HTML", "JSON", "JSON_LINES", "MARKDOWN", "PDF", "PLAIN", "XML", "kind_of", "kind_of_text"]

PDF: Final = "application/pdf"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
HTML: Final = "text/html"
MARKDOWN: Final = "text/markdown"
PLAIN: Final = "text/plain"
CSV: Final = "text/csv"
JSON: Final = "application/json"
JSON_LINES: Final = "application/jsonl"
XML: Final = "application/xml"

_PACKED: Final = (
    (b"word/", DOCX, ""),
    (b"xl/", "", "a spreadsheet of Excel: save it as CSV"),
    (b"ppt/", "", "a presentation of PowerPoint: save it as PDF"),
    (b"mimetypeapplication/epub", "", "an EPUB book: save it as HTML or PDF"),
    (b"mimetypeapplication/vnd.oasis", "", "an OpenDocument file: save it as DOCX or PDF"),
)
_OTHERS: Final = (
    (b"{\\rtf", "a file in RTF: save it as DOCX"),
    (b"\x1f\x8b", "packed with gzip: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "packed with 7-Zip: unpack it"),
    (b"Rar!\x1a\x07", "packed with RAR: unpack it"),
    (b"BZh91AY&SY", "packed with bzip2: unpack it"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"%!PS", "a file in PostScript: save it as PDF"),
    (b"SQLite format 3\0", "a database"),
)
_VERSIONS: Final = (b"\2", b"\3", b"\4")  # of the tags in front of an MP3; a text may begin with "ID3" too
_LONG: Final = 4_000_000
_BLANK: Final = b"\xef\xbb\xbf\0\t\r\n\f "
_OFFICE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LOCKED: Final = "EncryptedPackage".encode("utf-16-le")
_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("md", "markdown", "mdown"), MARKDOWN),
        **dict.fromkeys(("csv", "tsv"), CSV),
        **dict.fromkeys(("jsonl", "ndjson"), JSON_LINES),
        **dict.fromkeys(("html", "htm", "xhtml"), HTML),
        **dict.fromkeys(("txt", "text", "log"), PLAIN),
        "json": JSON,
        "xml": XML,
    }
)
_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "application/xhtml+xml": HTML,
        "application/x-ndjson": JSON_LINES,
        "text/tab-separated-values": CSV,
        "text/x-markdown": MARKDOWN,
        "text/xml": XML,
    }
)
_WHOLE: Final = re.compile(r"\s*(?:<\?xml[^>]{0,200}\?>\s*)?<(?:!doctype\s+html|html)(?=[\s>])", re.I)
"""A page from its beginning: nothing else is written so, whatever it is called."""
_MARKUP: Final = re.compile(
    r"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--(?:(?!-->).){0,5000}-->\s*){0,5}"
    r"<(?:!doctype\s+html|html|head|body|title|meta|div|p|h[1-6]|table|ul|ol|article|section|main|span|br|a)(?=[\s/>])",
    re.I | re.S,
)
_XML: Final = re.compile(r"\s*<(?:\?xml|!DOCTYPE|[A-Za-z_][\w.-]*:?[\w.-]*\s+xmlns)\b")
_TAGS: Final = re.compile(r"</?(?:p|div|span|h[1-6]|table|tr|td|ul|ol|li|a|b|i|br|body|html)\b[^<>]{0,500}>", re.I)


def kind_of(data: bytes) -> str:
    """The media type of *data* where it is no text; nothing, if it may be text.

    >>> kind_of(b"%PDF-1.7 ..."), kind_of(b"Hello")
    ('application/pdf', '')
    """
    if data[:64].lstrip(_BLANK).startswith(b"%PDF-") or (b"%PDF-" in data[:1024] and b"startxref" in data[-2048:]):
        return PDF
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _packed(data)
    if data.startswith(_OFFICE):
        if _LOCKED in data:
            raise BadDocument("it is locked with a password")
        raise BadDocument("it is a file of an old Office (.doc, .xls, .ppt): save it as DOCX, CSV or PDF")
    if what := next((what for mark, what in _OTHERS if data.startswith(mark)), ""):
        raise BadDocument(f"it is {what}")
    if (seen := sniffed(data)) and (seen != "audio/mpeg" or data[3:4] in _VERSIONS or not data[:2].isascii()):
        raise BadDocument(f"it is no document, but {seen}")
    return ""


def _packed(data: bytes) -> str:
    """What a ZIP file is: the names of its parts stand in it as they are."""
    for mark, kind, what in _PACKED:
        if mark in data:
            if what:
                raise BadDocument(f"it is {what}")
            return kind
    raise BadDocument("it is a ZIP file: unpack it")


def kind_of_text(text: str, name: str = "", media_type: str = "") -> str:
    r"""Which kind of text *text* is; *name* and *media_type* decide where it may be several.

    >>> kind_of_text('{"a": 1}'), kind_of_text("<p>Hello</p>", "page.txt"), kind_of_text("a,b\n1,2\n", "t.csv")
    ('application/json', 'text/html', 'text/csv')
    """
    told = _told(name, media_type)
    head = text[:8192]
    if (told not in (MARKDOWN, CSV) and _MARKUP.match(head)) or _WHOLE.match(head):
        return HTML
    if head.lstrip()[:1] in ("{", "[") and (kind := _json(text)):
        return kind
    if _XML.match(head):
        return XML
    if told == HTML:
        return HTML if _TAGS.search(head) else PLAIN
    if told == CSV:
        return CSV if delimiter(text, least=1) else PLAIN
    if told == MARKDOWN:
        return MARKDOWN
    if delimiter(text, least=4 if told else 3):
        return CSV
    return MARKDOWN if looks_like_markdown(text) else PLAIN


def _told(name: str, media_type: str) -> str:
    kind = media_type.partition(";")[0].strip().lower()
    kind = _TYPES.get(kind, kind)
    if kind in _NAMES.values() and kind != PLAIN:
        return kind
    path = name.partition("?")[0].partition("#")[0] if "://" in name else name
    return _NAMES.get(path.rpartition(".")[2].lower(), "")


def _json(text: str) -> str:
    """Whether *text* is JSON, or lines of it; of what is long, only its beginning is read, and its end looked at."""
    lines = [line for line in text[:200_000].split("\n") if line.strip()][:200]
    if len(lines) > 1 and all(map(_holds_json, lines[:-1])):
        return JSON_LINES
    if len(text) > _LONG:
        return JSON if text.rstrip()[-1] in "]}" else ""
    return JSON if _holds_json(text) else ""


def _holds_json(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict | list)
    except orjson.JSONDecodeError:
        return False
