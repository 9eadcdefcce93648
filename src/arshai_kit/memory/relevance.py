"""Older turns that have to do with the question: scored by meaning and by age, each embedded once."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from attrs import frozen

from arshai_kit._record import Record
from arshai_kit.effects import Emit, Plan
from arshai_kit.embeddings import embed, similarity
from arshai_kit.errors import ArshaiError, Misuse
from arshai_kit.faces import drive
from arshai_kit.memory.deriving import Change, Kept, derive, kept
from arshai_kit.memory.tokens import shortened
from arshai_kit.memory.turns import digest, told
from arshai_kit.memory.views import Recalled
from arshai_kit.records import Message, Notice

__all__ = ["Relevant", "packed", "relevant", "unpacked"]

_CHUNK: Final = 128
"""The messages of a conversation whose vectors share a note."""
_LARGEST: Final = 127
_LONGEST: Final = 8000
"""So many tokens of a turn are embedded: few embedders take more."""
_REFUSED: Final = 3
"""When so many were refused, the others are not tried before the next turn."""


def packed(vector: Sequence[float]) -> str:
    """The direction of *vector*, a byte for each number, as text.

    >>> list(unpacked(packed((0.3, -0.6, 0.0))))
    [64, -127, 0]
    """
    most = max([abs(number) for number in vector], default=0.0) or 1.0
    return b64encode(bytes([round(number / most * _LARGEST) % 256 for number in vector])).decode()


def unpacked(text: str) -> Sequence[int]:
    """The numbers of a vector that `packed` wrote."""
    return memoryview(b64decode(text)).cast("b")


@frozen(eq=False, repr=False)
class Relevant(Record):
    """A view: of the older turns, those that have most to do with the prompt."""

    embedder: Any
    limit: int = 6
    keep: int = 2
    least: float = 0.0
    recency: float = 0.1
    half_life: float = 20.0

    def __call__(self, recalled: Recalled) -> Recalled:
        """*recalled*, without the turns that have little to do with its prompt."""
        return drive(self.plan(recalled))

    def plan(self, recalled: Recalled) -> Plan[Recalled]:
        """What calling it does, as a plan."""
        free, always = recalled.turns()
        cut = max(0, len(free) - self.keep)
        older, latest = free[:cut], free[cut:]
        if len(older) <= self.limit:
            return recalled
        try:
            scores = yield from self._scores(recalled, older)
        except ArshaiError as error:
            if error.ends_run:
                raise
            yield from Emit((Notice("not_ranked", recalled.key, f"{type(error).__name__}: {error}"),))
            scores = [float(number) for number in range(len(older))]
        best = sorted(range(len(older)), key=scores.__getitem__, reverse=True)[: self.limit]
        chosen = [older[number] for number in best if scores[number] != float("-inf")]
        return recalled.only([*always, *[number for turn in (*chosen, *latest) for number in turn]])

    def _scores(self, recalled: Recalled, older: Sequence[tuple[int, ...]]) -> Plan[list[float]]:
        """How much each of the *older* turns has to do with the prompt; minus infinity is too little."""
        question = told([message for message in recalled.prompt if message.role == "user"]) or told(recalled.prompt)
        if not question:
            return [float(number) for number in range(len(older))]
        texts = {number: [recalled.messages[each] for each in turn] for number, turn in enumerate(older)}
        (vector,) = yield from embed.plan(self.embedder, question, kind="query")  # fails first where all would fail
        vectors = yield from self._vectors(recalled, older, list(texts.values()))
        wanted, scores = tuple(vector), list[float]()
        for age, found in zip(range(len(older), 0, -1), vectors, strict=True):
            alike = similarity(wanted, tuple(found)) if found else 0.0
            recent = self.recency * 0.5 ** (age / self.half_life)
            scores.append(alike + recent if alike >= self.least else float("-inf"))
        return scores

    def _vectors(
        self, recalled: Recalled, older: Sequence[tuple[int, ...]], said: Sequence[Sequence[Message]]
    ) -> Plan[list[Sequence[float]]]:
        """The vectors of the *older* turns: what is not kept yet is embedded, and kept."""
        names = [digest(messages) for messages in said]
        chunks: dict[int, dict[str, str]] = {}
        for turn, name, messages in zip(older, names, said, strict=True):
            chunks.setdefault(max(0, recalled.places[turn[0]]) // _CHUNK, {})[name] = told(messages)
        known: dict[str, str] = {}
        for chunk, texts in chunks.items():
            value, _ = yield from kept(recalled, recalled.key, self._note(chunk))
            known |= value.get("vectors", {})
            missing = {name: text for name, text in texts.items() if text and name not in known}
            if missing:
                known |= yield from self._made(recalled, chunk, missing, texts)
        return [unpacked(known[name]) if name in known else () for name in names]

    def _made(
        self, recalled: Recalled, chunk: int, missing: dict[str, str], wanted: Iterable[str]
    ) -> Plan[dict[str, str]]:
        """The vectors of the texts that are *missing*, which join those that are *wanted* in the note of *chunk*."""
        made: dict[str, str] = {}

        def make() -> Plan[Change]:
            if not (yield from self._embedded(missing, made)) and len(missing) > 1:
                failed = 0
                for name in sorted(missing, key=lambda each: len(missing[each])):
                    failed += not (yield from self._embedded({name: missing[name]}, made))
                    if failed == _REFUSED:
                        break
            return partial(_joined, made, frozenset(wanted))

        if not (yield from derive(recalled, recalled.key, self._note(chunk), make)) and not made:
            yield from make()  # somebody else keeps it
        return made

    def _embedded(self, texts: Mapping[str, str], made: dict[str, str]) -> Plan[bool]:
        """Add the vectors of *texts* to those *made*; whether there are any: one that is refused takes all with it."""
        said = [shortened(each, _LONGEST) for each in texts.values()]
        try:
            found = yield from embed.plan(self.embedder, said, kind="document")
        except ArshaiError as error:
            if error.ends_run:
                raise
            return False
        made.update(zip(texts, [packed(vector) for vector in found], strict=True))
        return True

    def _note(self, chunk: int) -> str:
        return f"vectors {self.embedder.provider}/{self.embedder.name}/{self.embedder.dimensions or ''} {chunk}"


def _joined(made: dict[str, str], wanted: frozenset[str], value: Kept) -> Kept:
    vectors = {name: text for name, text in value.get("vectors", {}).items() if name in wanted}
    return {"vectors": {**vectors, **made}}


def relevant(
    embedder: Any,
    *,
    limit: int = 6,
    keep: int = 2,
    least: float = 0.0,
    recency: float = 0.1,
    half_life: float = 20.0,
) -> Relevant:
    """A view: the latest *keep* turns, and of the older ones the *limit* that have most to do with the prompt.

    A turn's score is the likeness of its meaning to the prompt's (at most 1) and, for the latest, *recency* more, half
    of it *half_life* turns earlier; one that is less alike than *least* is left out. Each turn is embedded once: the
    vectors are kept under the conversation's key, a byte for each number; of a long turn, the middle is left out. One
    that *embedder* refuses is like nothing. When it fails, the latest turns are taken, and `Notice("not_ranked", …)`
    says why.
    """
    if not hasattr(embedder, "embed"):
        raise Misuse(f"relevant() takes an embedder, as openai_embedder(…) makes one, not {type(embedder).__name__}")
    for name, number in (("limit", limit), ("keep", keep)):
        if type(number) is not int or number < 0:
            raise Misuse(f"{name}= is how many turns, a whole number, not {number!r}")
    if not half_life > 0:
        raise Misuse(f"half_life= is a number of turns above zero, not {half_life!r}")
    return Relevant(embedder, limit, keep, least, recency, half_life)
