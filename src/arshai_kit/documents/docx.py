"""DOCX as text with its structure: its parts are read as they unfold, and never whole.

A part with a document type definition is refused, so that nothing in it can refer to anything; macros, and whatever
else is packed beside the text, are not looked at.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from struct import error as struct_error
from typing import Any, Final
from xml.parsers import expat
from zlib import error as zlib_error

from arshai_kit.documents.building import iso, one_line
from arshai_kit.documents.docx_body import Attributes, Body, numbering, styles
from arshai_kit.documents.kinds import DOCX
from arshai_kit.documents.records import Document, Limits
from arshai_kit.errors import BadDocument, DocumentTooLarge

__all__ = ["docx"]


_WORD: Final = ("/wordprocessingml/2006/main", "/wordprocessingml/main")
_PARTS: Final = 20_000
_STEP: Final = 256 * 1024
_DEEPEST: Final = 1000
_DAMAGE: Final = (zipfile.BadZipFile, zlib_error, OSError, EOFError, NotImplementedError, ValueError, struct_error)


def docx(data: bytes, limits: Limits) -> Document:
    """The DOCX in *data* as a document, its headings, lists and tables written as Markdown writes them."""
    pack = _Pack(data, limits)
    main = pack.main()
    folder = main.rpartition("/")[0]
    body = Body(styles(pack, f"{folder}/styles.xml"), numbering(pack, f"{folder}/numbering.xml"), limits)
    pack.walk(main, body.start, body.end, body.data)
    for name in ("footnotes", "endnotes"):
        pack.walk(f"{folder}/{name}.xml", body.start, body.end, body.data)
    body.close()
    if any(name.endswith("vbaProject.bin") for name in pack.names):
        body.builder.notices.append("left out: macros")
    return body.builder.document(DOCX, **_told(pack, body.title))


def _told(pack: _Pack, title: str) -> dict[str, Any]:
    """What the document says of itself."""
    said: dict[str, str] = {}
    place = [""]

    def start(name: str, _: Attributes) -> None:
        place[0] = name.rpartition(":")[2]

    def data(text: str) -> None:
        said[place[0]] = (said.get(place[0], "") + text)[:2000]

    pack.walk("docProps/core.xml", start, lambda _: place.__setitem__(0, ""), data)
    kept = {name: one_line(said[name]) for name in ("subject", "description", "keywords", "category") if name in said}
    return {
        "title": one_line(said.get("title", "")) or title,
        "author": one_line(said.get("creator", "")),
        "created": iso(said.get("created", "")),
        "modified": iso(said.get("modified", "")),
        "language": one_line(said.get("language", "")),
        "metadata": {name: text for name, text in kept.items() if text},
    }


class _Pack:
    """The parts of a ZIP file, unfolded only as far as the limits allow."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        try:
            self.file = zipfile.ZipFile(BytesIO(data))
        except (*_DAMAGE, OverflowError) as error:
            raise BadDocument(f"it is damaged: {error}") from None
        self.names = frozenset(self.file.namelist()[:_PARTS])
        self.left, self.limits = limits.unfolded, limits

    def main(self) -> str:
        """The name of the part with the text."""
        found: list[str] = []

        def start(name: str, told: Attributes) -> None:
            if name.endswith(":Relationship") and told.get("Type", "").endswith("/officeDocument"):
                found.append(told.get("Target", "").lstrip("/"))

        self.walk("_rels/.rels", start)
        name = found[0] if found and found[0] in self.names else "word/document.xml"
        if name not in self.names:
            raise BadDocument("it is damaged: the part with its text is not there")
        return name

    def walk(
        self,
        name: str,
        start: Callable[[str, Attributes], Any],
        end: Callable[[str], Any] | None = None,
        data: Callable[[str], Any] | None = None,
    ) -> None:
        """Read the part *name*, if there is one, and tell what begins, ends and stands in it."""
        if name not in self.names:
            return
        parser = _parser(start, end, data)
        try:
            with self.file.open(name) as part:
                while piece := part.read(_STEP):
                    self.left -= len(piece)
                    if self.left < 0:
                        raise DocumentTooLarge(
                            f"it unfolds to more than {self.limits.unfolded:,} bytes: unfolded= of Limits"
                        )
                    parser.Parse(piece, False)
            parser.Parse(b"", True)
        except RuntimeError as error:  # of `zipfile`, where a password is wanted
            raise BadDocument(_locked(error)) from None
        except (expat.ExpatError, *_DAMAGE) as error:
            raise BadDocument(f"its part {name} is damaged: {error}") from None


def _locked(error: Exception) -> str:
    return "it is locked with a password" if "password" in str(error) else f"it is damaged: {error}"


def _parser(start: Any, end: Any, data: Any) -> expat.XMLParserType:
    """A parser that tells names without their namespaces' addresses, and refuses what could refer to anything."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.buffer_size = _STEP
    depth = 0

    def opened(name: str, told: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise BadDocument(f"its parts are nested more than {_DEEPEST} deep")
        start(_short(name), told)

    def closed(name: str) -> None:
        nonlocal depth
        depth -= 1
        if end is not None:
            end(_short(name))

    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.CharacterDataHandler = data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refused
    return parser


def _refused(*_: Any) -> None:
    raise BadDocument("it holds a document type definition, as no program writes it: it may be made to do harm")


@lru_cache(2048)
def _short(name: str) -> str:
    """`w:p` for what Word calls so, by either of its addresses; others by the end of theirs."""
    space, _, local = name.rpartition(" ")
    return f"{'w' if space.endswith(_WORD) else space.rpartition('/')[2]}:{local}"
