"""From a document that is there to the entries of an index: read, cut, and told from what the index has of it already.

This is the pure part of an ingest, but for reading a file: it runs in this process or in another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.chunking import Chunk
from arshai_kit.chunking.duplicates import signature
from arshai_kit.documents import Document, Found, Limits, read
from arshai_kit.documents.reading import content
from arshai_kit.errors import Misuse
from arshai_kit.index import Entry
from arshai_kit.retrieval.fingerprints import entry_ids, mark, mark_of

__all__ = ["NEEDED", "Cut", "Read", "Task", "cut", "prepared"]

NEEDED = ("source", "document", "chunks", "number", "start", "end")
"""The fields that an index must have to be ingested into."""
_OURS = frozenset({*NEEDED, "page", "section"})
"""What nobody else may fill: it tells what has changed, and where a chunk stands."""


@frozen(eq=False, repr=False, kw_only=True)
class Task(Record):
    """What is to be done with a document: *known* is what the index has of it, complete; *how* what makes the entries.

    Without a *chunker* it is only read.
    """

    found: Found | Document
    known: str = ""
    how: str = ""
    kind: type[Any]
    chunker: Callable[..., Any] | None = None
    further: Callable[[Document], Mapping[str, Any]] | None = None
    compared: bool = False
    limits: Limits = field(factory=Limits)


@frozen(eq=False, repr=False, kw_only=True)
class Read(Record):
    """A document that has been read, and is to be cut; `None` where the index has it as it is."""

    document: Document | None = None
    mark: str = ""


@frozen(eq=False, repr=False, kw_only=True)
class Cut(Record):
    """The *entries* of a document, which have no vectors yet, and what else is told of it."""

    entries: tuple[Entry[Any], ...] = ()
    fingerprint: str = ""
    notices: tuple[str, ...] = ()
    signature: Any = None


def prepared(task: Task) -> Read | Cut:
    """What has come of reading the document of *task*, and of cutting it where a chunker is given."""
    found = task.found
    if isinstance(found, Found):
        data = content(found, limits=task.limits)
        if _marked(found.source, data, task.how) == task.known:
            return Read(mark=task.known)
        found = read(evolve(found, path="", data=data), limits=task.limits)
        made = mark_of(found.source, found.hash, task.how)
    else:  # whoever gives a document may have changed its text, whatever bytes it is of
        made = mark_of(found.source, _hash(found), task.how)
    if made == task.known:
        return Read(mark=made)
    return Read(document=found, mark=made) if task.chunker is None else cut(task, found, made, task.chunker(found))


def _marked(source: str, data: bytes, how: str) -> str:
    from hashlib import sha256

    return mark_of(source, sha256(data).hexdigest(), how)


def _hash(document: Document) -> str:
    """What stands for the bytes of a document that is given as one: all that it says."""
    told = {each.name: getattr(document, each.name) for each in attrs.fields(Document) if each.name != "hash"}
    return mark(*[f"{name}={value!r}" for name, value in told.items()], length=64)


def cut(task: Task, document: Document, made: str, chunks: Iterable[Chunk]) -> Cut:
    """The entries of *document*, whose chunks are *chunks*."""
    given = tuple(chunks) if isinstance(chunks, Iterable) else (None,)
    filled = [each for each in given if isinstance(each, Chunk) and each.text.strip()]
    if not all(isinstance(each, Chunk) for each in given):
        raise Misuse("chunker= is a function from a document to chunks, as arshai_kit.chunking.chunk is one")
    fingerprint = f"{made}-{len(filled)}"
    names = {each.name for each in attrs.fields(task.kind)}
    facts = {name: getattr(document, name) for name in ("title", "author", "created", "language", "media_type")}
    facts |= {"source": document.source, "document": fingerprint, "chunks": len(filled)}
    further = {} if task.further is None else _further(task.further(document), names, task.kind)
    facts = {name: value for name, value in {**facts, **further}.items() if name in names}
    entries = []
    for number, (own, each) in enumerate(
        zip(entry_ids(document.source, [c.text for c in filled]), filled, strict=True)
    ):
        places = {"number": number, "start": each.start, "end": each.end, "page": each.page, "section": each.section}
        told = {name: value for name, value in places.items() if name in names}
        entries.append(Entry(own, each.text, None, task.kind(**facts, **told)))
    own_signature = signature(document.text) if task.compared and entries else None
    return Cut(entries=tuple(entries), fingerprint=fingerprint, notices=document.notices, signature=own_signature)


def _further(given: Any, names: set[str], kind: type[Any]) -> Mapping[str, Any]:
    """What `fields=` has *given*, if it may be given."""
    if not isinstance(given, Mapping):
        raise Misuse(f"fields= is a function from a document to a mapping of fields, and gave {type(given).__name__}")
    if unknown := sorted(given.keys() - names):
        raise Misuse(f"fields= gave {', '.join(unknown)}, which {kind.__name__} of the index has not")
    if ours := sorted(given.keys() & _OURS):
        raise Misuse(f"fields= gave {', '.join(ours)}, which an ingest fills itself: call yours otherwise")
    return given
