"""An index: entries with a text, a vector and typed fields, found by meaning, by words, and by their fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from arshai_kit._json import Json, freeze
from arshai_kit._record import Record
from arshai_kit.records.vectors import Vector

__all__ = ["Entry", "Hit", "Index", "Passage", "Statistics"]

F = TypeVar("F")


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(value)


@frozen(eq=False, repr=False, kw_only=True)
class Passage(Record):
    """The fields that `ingest` writes, each a column to filter by; a class of your own may add to them.

    *source* is where the document is, *document* the fingerprint of what was read there (its bytes, and how they were
    cut and embedded), *chunks* how many entries such a document has; *number* is this one's place among them, from 0,
    *start* and *end* its place in the text. *section* are the headings above it, the outermost first; their words, and
    those of the *title*, are searched beside those of the text.
    """

    source: str = field(default="", metadata={"indexed": True})
    document: str = field(default="", metadata={"indexed": True})
    chunks: int = 0
    number: int = 0
    start: int = 0
    end: int = 0
    page: int | None = None
    section: tuple[str, ...] = field(default=(), converter=_texts, metadata={"searched": True})
    title: str = field(default="", metadata={"searched": True})
    author: str = ""
    created: str = ""
    language: str = ""
    media_type: str = ""


@frozen(eq=False, repr=False)
class Entry(Record, Generic[F]):
    """What an index keeps under *id*; where *vector* is `None`, it is found by its words alone."""

    id: str
    text: str
    vector: Vector | None
    fields: F


@frozen(eq=False, repr=False)
class Hit(Record, Generic[F]):
    """An entry that was found: the higher its *score*, the better.

    *scores* keeps each ranking's own: `dense` (cosine, at most 1), `sparse` (BM25, positive), `hybrid` (fused) and
    `rerank`. Those of different rankings cannot be compared.
    """

    id: str
    text: str
    score: float
    fields: F
    scores: Mapping[str, float] = field(factory=dict, converter=freeze)


@frozen(eq=False, repr=False)
class Statistics(Record):
    """How much an index holds: *entries*, of them *vectors* with one, of *dimensions* numbers each; *bytes* in all.

    *space* says whose the vectors are, as `provider/model`; it is empty, and *dimensions* 0, while there are none.
    *facets* has for each field that was asked for its values and how often each is there, the most frequent first; of
    a field of several texts each by itself.
    """

    entries: int = 0
    vectors: int = 0
    dimensions: int = 0
    space: str = ""
    bytes: int = 0
    facets: Mapping[str, Json] = field(factory=dict, converter=freeze)


@frozen(eq=False, repr=False)
class Index(Record, Generic[F]):
    """Where passages are found: a record of functions, each sync, async, or with a `.plan`.

    ============ =============================================== ======================================================
    `upsert`     `(entries, space="") -> int`                    all or none of *entries*, each in place of what has its
                                                                 id (the last, if several have it); how many. All
                                                                 vectors of an index are of one *space* and size, else
                                                                 `OtherVectors`; an empty *space* is any
    `delete`     `(where, everything=False) -> int`              what *where* is true of; the empty filter is refused,
                                                                 unless *everything* is `True`
    `dense`      `(vector, limit, where=…, space="") -> (Hit,)`  nearest by cosine, the best first, ties by id
    `sparse`     `(text, limit, where=…) -> (Hit,)`              by BM25 over the words of the text and of the fields
                                                                 that are searched, the best first, ties by id
    `get`        `(ids) -> (Entry,)`                             those that there are, in the order of *ids*
    `scan`       `(where=…, after="", limit=…) -> (Entry,)`      in the order of ids, those beyond *after*: a page
    `count`      `(where=…) -> int`                              how many there are
    `statistics` `(facets=()) -> Statistics`                     of each field in *facets*, how often which value
    `close`      `() -> None`                                    let go of files and connections; asked again, they are
                                                                 opened again
    ============ =============================================== ======================================================

    *fields* is the attrs class of the entries' fields. With *in_memory*, no function waits for anything, and they are
    called in place. *batch* is how many entries are best written at a time, and how many a page of `scan` has.
    """

    upsert: Callable[..., Any] = field(repr=False)
    delete: Callable[..., Any] = field(repr=False)
    dense: Callable[..., Any] = field(repr=False)
    sparse: Callable[..., Any] = field(repr=False)
    get: Callable[..., Any] = field(repr=False)
    scan: Callable[..., Any] = field(repr=False)
    count: Callable[..., Any] = field(repr=False)
    statistics: Callable[..., Any] = field(repr=False)
    close: Callable[..., Any] = field(repr=False)
    fields: type[F] = field(kw_only=True)
    name: str = field(default="index", kw_only=True)
    batch: int = field(default=256, kw_only=True)
    in_memory: bool = field(default=False, kw_only=True)
    backend: Any = field(default=None, kw_only=True, repr=False)
