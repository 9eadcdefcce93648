"""Texts in, vectors out, in their order: however many there are, and however few a request may hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from math import sqrt
from operator import mul
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Handle, Join, Plan, Start, Step, call
from arshai_kit.errors import ArshaiError, BadReply, BadRequest, ContentTooLong, Misuse
from arshai_kit.faces import blocking
from arshai_kit.records.vectors import Embeddings, Kind, Vector, joined

__all__ = [
    "Embedder",
    "EmbeddingProgress",
    "Embeddings",
    "Kept",
    "Kind",
    "Texts",
    "Vector",
    "batches",
    "embed",
    "joined",
    "similarity",
]

Kept: TypeAlias = tuple[Vector, bool]
"""A vector that is known before, and whether the beginning of its text only was read."""

_TOO_MUCH: Final = re.compile(
    r"batch|per.(request|prediction|call)|too.(many|much|large|long|big)|at most|maximum|\bmax\b|larger than|exceed"
    r"|limit",
    re.I,
)
"""How a provider says that a request holds too many texts, or too much of them."""


@runtime_checkable
class Embedder(Protocol):
    """Whatever gives vectors: over HTTP, in process, or out of a cache."""

    @property
    def name(self) -> str:
        """What the provider calls it."""
        ...

    @property
    def provider(self) -> str:
        """Who provides it."""
        ...

    @property
    def dimensions(self) -> int | None:
        """How many numbers a vector is to have; `None` leaves it to the model."""
        ...

    @property
    def max_batch(self) -> int | None:
        """The most texts that it takes at a time, if there is a limit."""
        ...

    @property
    def max_bytes(self) -> int | None:
        """The most bytes that the texts taken at a time have in UTF-8, if there is a limit."""
        ...

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Plan[Embeddings]:
        """The vectors of *texts*, which are within its limits and none of which is empty."""
        ...


@frozen(eq=False, repr=False)
class Texts(Record):
    """What the step `embed` is given: *texts*, whose first stands at *place* among all, and each at its of *places*."""

    texts: tuple[str, ...]
    kind: Kind = None
    place: int = 0
    places: tuple[int, ...] = field(default=(), eq=False, repr=False)

    def part(self, start: int, stop: int | None = None) -> Texts:
        """Those from *start* to *stop*."""
        places = self.places or tuple(range(self.place, self.place + len(self.texts)))
        return Texts(self.texts[start:stop], self.kind, places[start], places[start:stop])


@frozen(eq=False, repr=False)
class EmbeddingProgress(Record):
    """How far an `embed` is: *done* of *total* texts have their vectors; *reused* were known before."""

    done: int
    total: int
    reused: int = 0


@blocking
def embed(
    embedder: Embedder,
    texts: str | Iterable[str],
    *,
    kind: Kind = None,
    side_by_side: int = 4,
    progress: Callable[[EmbeddingProgress], Any] | None = None,
) -> Plan[Embeddings]:
    """The vectors of *texts*, one or many, in their order.

    *kind* says whether they are to be found (`document`) or to find (`query`): some models put them in different
    places. As much goes into a request as *embedder* takes, *side_by_side* of them at a time; one that its provider
    finds too large is halved. *progress* is called with an `EmbeddingProgress` as it grows. When a request fails, the
    vectors of all texts before it are in the error's `partial`.
    """
    given, kind = _texts(texts), _kind(kind)
    _checked(embedder, side_by_side, progress)
    known = yield from _known(embedder, given, kind)
    places = _left(given, known)
    wanted = Texts(tuple([given[place] for place in places]), kind, 0, tuple(places))
    run = _Run(embedder, progress, len(given), len(given) - len(places))
    if run.reused:
        yield from run.told(0)
    try:
        found = yield from _asked_for(run, wanted, side_by_side)
    except ArshaiError as error:
        if known is not None and isinstance(error.partial, Embeddings):
            error.partial = _assembled(embedder, given, known, wanted, error.partial)
        raise
    return found if known is None else _assembled(embedder, given, known, wanted, found)


def batches(
    texts: Iterable[str],
    max_batch: int | None = None,
    max_bytes: int | None = None,
    max_tokens: int | None = None,
    count: Callable[[str], int] = len,
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """*texts* in runs that are within the limits, as far as single texts are, each after the place of its first.

    *count* counts the tokens of a text, where *max_tokens* limits them.

    >>> list(batches(["a", "bc", "def", "g"], max_batch=3, max_bytes=4))
    [(0, ('a', 'bc')), (2, ('def', 'g'))]
    """
    most, largest, tokens = [limit or float("inf") for limit in (max_batch, max_bytes, max_tokens)]
    start, size, weight, run = 0, 0, 0, list[str]()
    for text in texts:
        length = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        counted = count(text) if max_tokens else 0
        if run and (len(run) >= most or size + length > largest or weight + counted > tokens):
            yield start, tuple(run)
            start, size, weight, run = start + len(run), 0, 0, []
        run.append(text)
        size, weight = size + length, weight + counted
    if run:
        yield start, tuple(run)


def similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """How alike two vectors are: the cosine of the angle between them, 1 for the same direction, 0 for none.

    >>> round(similarity((3, 4), (6, 8)), 6), similarity((1, 0), (0, 1))
    (1.0, 0.0)
    """
    if len(one) != len(other):
        raise Misuse(f"vectors of {len(one)} and {len(other)} dimensions are not of one model")
    length = sqrt(_dot(one, one)) * sqrt(_dot(other, other))
    return _dot(one, other) / length if length else 0.0


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return float(sum(map(mul, one, other)))


def _texts(texts: str | Iterable[str]) -> tuple[str, ...]:
    """*texts* as they are sent, none of them empty."""
    if isinstance(texts, str):
        return _texts((texts,))
    if not isinstance(texts, Iterable) or isinstance(texts, Mapping | bytes):
        raise Misuse(f"embed takes a text or several, not {_shown(texts)}")
    given = tuple(texts)
    for place, text in enumerate(given):
        if not isinstance(text, str):
            raise Misuse(f"text {place} is no text but {_shown(text)}")
        if not text:
            raise Misuse(f"text {place} is empty: there is no vector of nothing; leave it out")
    return given


def _kind(kind: Kind) -> Kind:
    if kind not in (None, "document", "query"):
        raise Misuse(f"kind= is 'document', 'query' or None, not {kind!r}")
    return kind


def _shown(value: Any) -> str:
    return f"{value!r:.80}" if isinstance(value, str) else type(value).__name__


def _checked(embedder: Any, side_by_side: Any, progress: Any) -> None:
    if not hasattr(embedder, "embed"):
        raise Misuse(f"the first argument is an embedder, as openai_embedder(…) makes one, not {_shown(embedder)}")
    if type(side_by_side) is not int or side_by_side < 1:
        raise Misuse(f"side_by_side= must be at least 1, not {side_by_side!r}")
    if progress is not None and not callable(progress):
        raise Misuse(f"progress= is a function of a EmbeddingProgress, not {_shown(progress)}")


# What is known already


def _known(embedder: Any, given: tuple[str, ...], kind: Kind) -> Plan[Mapping[str, Kept] | None]:
    """What an embedder that keeps vectors has of those *given*; `None` of one that keeps none."""
    kept = getattr(embedder, "kept", None)
    return None if kept is None else (yield from kept(tuple(dict.fromkeys(given)), kind))


def _left(given: tuple[str, ...], known: Mapping[str, Kept] | None) -> Sequence[int]:
    """The places of the texts to ask for: all, or of those that are not *known* the first of each."""
    if known is None:
        return range(len(given))
    firsts: dict[str, int] = {}
    for place, text in enumerate(given):
        if text not in known:
            firsts.setdefault(text, place)
    return tuple(firsts.values())


def _assembled(
    embedder: Embedder, given: tuple[str, ...], known: Mapping[str, Kept], wanted: Texts, asked: Embeddings
) -> Embeddings:
    """The vectors of those *given*, as far as they are *known* or were *asked* for, up to the first that is neither."""
    cut = frozenset(asked.truncated)
    fresh = {text: (asked[place], place in cut) for place, text in enumerate(wanted.texts[: len(asked)])}
    found = {**known, **fresh}
    told = [found[text] for text in takewhile(found.__contains__, given)]
    return evolve(
        asked,
        vectors=[vector for vector, _ in told],
        truncated=[place for place, (_, short) in enumerate(told) if short],
        model=asked.model or (embedder.name if told else ""),
        provider=asked.provider or (embedder.provider if told else ""),
    )


# What is asked for


@frozen(eq=False)
class _Run:
    """One `embed`: whom it asks, and whom it tells how far it is; *done* is that of its one plan."""

    embedder: Embedder
    progress: Callable[[EmbeddingProgress], Any] | None
    total: int
    reused: int
    done: list[int] = field(factory=lambda: [0])

    def told(self, more: int) -> Plan[None]:
        """Say that so many *more* texts have their vectors."""
        self.done[0] += more
        if self.progress is not None:
            yield from call(self.progress, EmbeddingProgress(self.reused + self.done[0], self.total, self.reused))


def _parts(embedder: Any, wanted: Texts) -> list[Texts]:
    """*wanted* in parts that *embedder* takes at a time."""
    many, size, tokens = [getattr(embedder, name, None) for name in ("max_batch", "max_bytes", "max_batch_tokens")]
    found = batches(wanted.texts, many, size, tokens, getattr(embedder, "count", len))
    return [wanted.part(start, start + len(part)) for start, part in found]


def _asked_for(run: _Run, wanted: Texts, side_by_side: int) -> Plan[Embeddings]:
    parts = _parts(run.embedder, wanted)
    if not parts:
        return joined(())
    if len(parts) == 1:
        found = joined(((yield from _part(run.embedder, parts[0])),))
        yield from run.told(len(found))
        return found
    (outcome,) = yield from Join(((yield from Start(_all(run, parts, side_by_side))),))
    return outcome.unwrap()  # type: ignore[no-any-return]  # the Outcome of a Plan[Embeddings]


def _all(run: _Run, parts: Sequence[Texts], side_by_side: int) -> Plan[Embeddings]:
    """The vectors of all *parts*, which are waited for in their order, so that what an error leaves has no gap.

    It runs in a frame of its own, whose end cancels the parts that are left.
    """
    handles: list[Handle[Embeddings]] = []
    failed: list[Texts] = []
    for part in parts:
        handles.append((yield from Start(_in_turn(run.embedder, part, failed), limit=side_by_side)))
    done: list[Embeddings] = []
    for handle in handles:
        (outcome,) = yield from Join((handle,))
        if isinstance(outcome.error, ArshaiError):
            outcome.error.partial = joined([*done, *_gathered(outcome.error)])
        done.append(outcome.unwrap())
        yield from run.told(len(done[-1]))
    return joined(done)


def _in_turn(embedder: Embedder, part: Texts, failed: list[Texts]) -> Plan[Embeddings]:
    """The vectors of *part*, unless one before it has *failed*: they would never be seen."""
    if failed:
        return joined(())
    try:
        return (yield from _part(embedder, part))
    except Exception:
        failed.append(part)
        raise


def _part(embedder: Embedder, part: Texts) -> Plan[Embeddings]:
    """The vectors of *part*, in as many requests as the provider wants."""
    try:
        found = yield from Step("embed", embedder.name, part, partial(_asked, embedder, part))
    except ArshaiError as error:
        if len(part.texts) > 1 and _is_too_much(error):
            return (yield from _halves(embedder, part))
        _explained(error, part)
        raise
    if len(found) != len(part.texts):
        raise _explained(BadReply(f"{len(part.texts)} texts went to {embedder.name}, {len(found)} came back"), part)
    return found


def _asked(embedder: Embedder, part: Texts) -> Plan[Embeddings]:
    return embedder.embed(part.texts, kind=part.kind)


def _halves(embedder: Embedder, part: Texts) -> Plan[Embeddings]:
    middle = len(part.texts) // 2
    first = yield from _part(embedder, part.part(0, middle))
    try:
        second = yield from _part(embedder, part.part(middle))
    except ArshaiError as error:
        error.partial = joined([first, *_gathered(error)])
        raise
    return joined((first, second))


def _is_too_much(error: ArshaiError) -> bool:
    """Whether fewer texts may be answered where these were refused with *error*."""
    match error:
        case BadRequest(status=413) | ContentTooLong():
            return True
        case BadRequest():
            return _TOO_MUCH.search(f"{error.code} {error}") is not None
        case BadReply():
            return "max_body=" in str(error)
    return False


def _explained(error: ArshaiError, part: Texts) -> ArshaiError:
    """*error*, which says of which texts it is told, and holds no vectors yet."""
    last = part.places[-1] if part.places else part.place + len(part.texts) - 1
    error.add_note(f"of text {last}" if last == part.place else f"of texts {part.place} to {last}")
    error.partial = joined(())
    return error


def _gathered(error: ArshaiError) -> tuple[Embeddings, ...]:
    return (error.partial,) if isinstance(error.partial, Embeddings) else ()
