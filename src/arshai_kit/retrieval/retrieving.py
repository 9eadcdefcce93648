"""The passages that answer a question: found by meaning and by words, put in order, told with what stands around."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Plan, Step, call, side_by_side
from arshai_kit.embeddings import embed
from arshai_kit.errors import Misuse
from arshai_kit.faces import blocking
from arshai_kit.index import EVERYTHING, Filter, Hit, Index, blend
from arshai_kit.index.fields import columns
from arshai_kit.retrieval.asking import asked, embedding, indexed, space
from arshai_kit.retrieval.diversity import diverse
from arshai_kit.retrieval.extending import extended

if TYPE_CHECKING:
    from arshai_kit.embeddings import Embedder
    from arshai_kit.records.vectors import Vector
    from arshai_kit.rerank import Rerank

__all__ = ["Mode", "Question", "retrieve"]

Mode: TypeAlias = Literal["hybrid", "dense", "sparse"]

_MODES: Final = ("hybrid", "dense", "sparse")
_WEIGHTS: Final = (0.6, 0.4)
_TIMES: Final = 4
_PLACE: Final = ("source", "document", "number", "start", "end", "section")
_LEAST: Final = 32
"""So many candidates at least, where they are chosen from."""

Hits: TypeAlias = tuple[Hit[Any], ...]


@frozen(eq=False, repr=False)
class Question(Record):
    """What the step `search` is given."""

    text: str
    mode: Mode = "hybrid"
    limit: int = 8
    where: Filter = field(default=EVERYTHING)


def blended(dense: Sequence[Hit[Any]], sparse: Sequence[Hit[Any]]) -> Sequence[Hit[Any]]:
    """One ranking out of both, by their scores: three parts meaning, two parts words.

    So weighted for the questions of the labelled set that are there to choose by; `fuse`, by reciprocal rank, asks
    nothing of scores, and heeds words that stand everywhere as much as any.
    """
    return blend(dense, sparse, weights=_WEIGHTS)


@blocking
def retrieve(
    index: Index[Any],
    question: str,
    *,
    embedder: Embedder | None = None,
    limit: int = 8,
    where: Filter = EVERYTHING,
    mode: Mode = "hybrid",
    diversity: float = 0.0,
    neighbours: int = 0,
    parents: int = 0,
    rerank: Rerank | None = None,
    fusion: Callable[..., Sequence[Hit[Any]]] = blended,
    candidates: int | None = None,
) -> Plan[Hits]:
    """At most *limit* passages of *index* that answer *question*, the best first.

    *mode* finds them by meaning (`dense`), by words (`sparse`), or by both, which *fusion* makes one ranking of. So
    many *candidates* of each ranking are put into order by *rerank*, and chosen from for *diversity*, from 0 to 1
    (maximal marginal relevance). A hit's text then goes on to so many *neighbours* on either side, or to its whole
    section and so many headings above it (*parents*: 1 is the section itself); those that meet become one.

    *embedder* is the one that the index was made with, else `OtherVectors` is raised.
    """
    asking = _Asking(indexed(index), embedder, mode, limit, diversity, neighbours, parents, rerank, fusion, candidates)
    said = Question(asking.checked(question), mode, limit, where)
    return (yield from Step("search", index.name, said, partial(asking.found, said)))


@frozen
class _Asking:
    """How an index is asked; of one question."""

    index: Index[Any]
    embedder: Embedder | None
    mode: Mode
    limit: int
    diversity: float
    neighbours: int
    parents: int
    rerank: Rerank | None
    fusion: Callable[..., Sequence[Hit[Any]]]
    candidates: int | None

    def checked(self, question: str) -> str:
        """*question*, if it is one, and everything else is what it should be."""
        if not isinstance(question, str) or not question.strip():
            raise Misuse("the question is empty: there is nothing to look for")
        if self.mode not in _MODES:
            raise Misuse(f"mode= is 'hybrid', 'dense' or 'sparse', not {self.mode!r}")
        for name, least in (("limit", 1), ("neighbours", 0), ("parents", 0), ("candidates", self.limit)):
            value = getattr(self, name)
            if (type(value) is not int or value < least) and not (name == "candidates" and value is None):
                raise Misuse(f"{name}= is a whole number of at least {least}, not {value!r}")
        if isinstance(self.diversity, bool) or not isinstance(self.diversity, int | float):
            raise Misuse(f"diversity= is a number from 0 to 1, not {self.diversity!r}")
        if not 0 <= self.diversity <= 1:
            raise Misuse(f"diversity= is a number from 0 to 1, not {self.diversity!r}")
        if self.mode != "sparse":
            if self.embedder is None:
                raise Misuse(f"mode={self.mode!r} asks by meaning: give embedder=, or ask by words, mode='sparse'")
            embedding(self.embedder)
        self.fitting()
        return question

    def fitting(self) -> None:
        """Refuse functions that are none, and passages whose fields do not say where they stand."""
        for name in ("fusion", "rerank"):
            value = getattr(self, name)
            if not callable(value) and (value is not None or name == "fusion"):
                raise Misuse(f"{name}= is a function, not {value!r:.80}")
        kind: type = self.index.fields
        lacking = [name for name in _PLACE if name not in columns(kind)]
        if lacking and (self.neighbours or self.parents):
            raise Misuse(
                f"neighbours= and parents= go by where a passage is, and {kind.__name__} lacks {', '.join(lacking)}: "
                "derive it from arshai_kit.index.Passage"
            )

    @property
    def several(self) -> int:
        """How many hits are wanted of each ranking."""
        chosen = self.rerank is not None or self.diversity or self.mode == "hybrid"
        return self.candidates or (max(_LEAST, self.limit * _TIMES) if chosen else self.limit)

    def found(self, said: Question) -> Plan[Hits]:
        """The hits, in their order, with what stands around them."""
        hits: Hits = tuple((yield from self.ranked(said)))
        if self.rerank is not None and hits:
            given = yield from call(self.rerank, said.text, hits[: self.several])
            hits = _hits(given, "rerank= is a function from a question and hits to hits", self.rerank)
        if self.diversity and len(hits) > 1:
            entries = yield from asked(self.index, self.index.get, [hit.id for hit in hits])
            vectors = {each.id: each.vector for each in entries if each.vector is not None}
            hits = diverse(hits, vectors, limit=self.limit, diversity=self.diversity)
        hits = hits[: self.limit]
        if hits and (self.neighbours or self.parents):
            return (yield from extended(self.index, hits, neighbours=self.neighbours, parents=self.parents))
        return hits

    def ranked(self, said: Question) -> Plan[Sequence[Hit[Any]]]:
        """The hits of one ranking, or of both."""
        if self.mode == "dense":
            return (yield from self.dense(said))
        if self.mode == "sparse":
            return (yield from self.sparse(said))
        outcomes = yield from side_by_side((self.dense(said), self.sparse(said)))
        dense, sparse = [outcome.unwrap() for outcome in outcomes]
        return _hits(self.fusion(dense, sparse), "fusion= is a function from two rankings to hits", self.fusion)

    def dense(self, said: Question) -> Plan[Sequence[Hit[Any]]]:
        """The hits nearest in meaning; an index without vectors has none, and that is a mistake."""
        embedder, index = self.embedder, self.index
        assert embedder is not None  # noqa: S101  # checked
        vectors = yield from embed.plan(embedder, said.text, kind="query")
        vector: Vector = vectors[0]
        hits: Sequence[Hit[Any]] = yield from asked(
            index, index.dense, vector, self.several, said.where, space(embedder)
        )
        if not hits:
            held = yield from asked(index, index.statistics)
            if held.entries and not held.vectors:
                raise Misuse(f"{index.name} holds no vectors: ingest with an embedder, or ask by words, mode='sparse'")
        return hits

    def sparse(self, said: Question) -> Plan[Sequence[Hit[Any]]]:
        """The hits by words."""
        return (yield from asked(self.index, self.index.sparse, said.text, self.several, said.where))  # type: ignore[no-any-return]


def _hits(value: Any, told: str, function: Any) -> Hits:
    """What *function* gave, if it is hits."""
    hits = tuple(value) if isinstance(value, Sequence) else ()
    if not isinstance(value, Sequence) or not all(isinstance(each, Hit) for each in hits):
        name = getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)
        raise Misuse(f"{told}; {name} gave {type(value).__name__}")
    return hits
