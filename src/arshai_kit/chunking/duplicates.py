"""Texts that are nearly the same: found by the least of the numbers of their runs of words, in about one pass."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from functools import lru_cache
from hashlib import blake2b
from operator import eq
from struct import Struct
from typing import Any, Final, Generic, TypeVar
from unicodedata import normalize

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.errors import Misuse

__all__ = ["Duplicate", "Seen", "alike", "likeness", "near_duplicates", "rows_of", "signature"]

K = TypeVar("K", bound=Hashable)

_RUN: Final = 3
"""So many words, one after the other, are compared as one."""
_LANES: Final = 256
"""How many numbers a signature has."""
_SURE: Final = 1e-4
"""How seldom two texts may be missed that are just alike enough."""
_LONG: Final = 4000
_SHORT: Final = 500
_MARGIN: Final = 0.15
"""Two long texts whose signatures are so much less alike than they are to be are not compared themselves."""
_LANE: Final = Struct(f"<{_LANES}H")
_ALL: Final = (1 << 64) - 1
_NONE: Final = 1 << 64
_FACTORS: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
_ALONE: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD: Final = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+")  # where words stand without blanks, a letter is one


@frozen(eq=False, repr=False)
class Duplicate(Record, Generic[K]):
    """The text under *key* is nearly that under *of*, the first of its kind: *likeness* is 1 where all runs are shared.

    It is *exact* where the texts themselves were compared, and else about what their signatures tell.
    """

    key: K
    of: K
    likeness: float
    exact: bool = True


@frozen(eq=False, repr=False)
class Seen(Record, Generic[K]):
    """The texts seen so far, each the first of its kind; one is asked of at a time, and remembered if it is new.

    >>> seen = Seen(0.9)
    >>> seen.add("a.md", signature("It rains in the hills.")), seen.add("b.md", signature("It rains in the hills!"))
    (None, Duplicate('b.md', of='a.md', likeness=1.0, exact=False))
    """

    threshold: float = 0.9
    _kept: dict[K, tuple[bytes, str | None]] = field(factory=dict, init=False, eq=False, repr=False)
    _bands: dict[tuple[int, bytes], list[K]] = field(factory=dict, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if (
            isinstance(self.threshold, bool)
            or not isinstance(self.threshold, int | float)
            or not 0 < self.threshold <= 1
        ):
            raise Misuse(f"threshold= is the least likeness, above 0 and at most 1, not {self.threshold!r}")

    def add(self, key: K, given: Any) -> Duplicate[K] | None:
        """What the text, document, chunk or signature *given* under *key* is nearly the same as, if there is any."""
        signed, text = _looked_at(given)
        width = rows_of(self.threshold) * 2
        bands = [(start, signed[start : start + width]) for start in range(0, len(signed), width)]
        for other in dict.fromkeys(near for band in bands for near in self._bands.get(band, ())):
            found = _compared(key, signed, text, other, *self._kept[other], self.threshold)
            if found.likeness >= self.threshold:
                return found
        self._kept[key] = signed, text
        for band in bands:
            self._bands.setdefault(band, []).append(key)
        return None


def near_duplicates(texts: Any, *, threshold: float = 0.9) -> tuple[Duplicate[Any], ...]:
    """Which of *texts* are nearly the same as one before them.

    They are strings, documents, chunks, or signatures kept from earlier; a mapping has them under keys, and else they
    are called by their places. Likeness is that of Jaccard: how many of all their runs of three words two texts share,
    whatever the case of their letters and the marks between them. Each is compared to those before it, the first of
    their kind, that may be as alike as *threshold*; of ten thousand pairs that are just so alike, about one is missed.
    The time it takes grows with the number of texts, not of pairs; but for texts of a dozen words, most of them shared.

    >>> rain = "In the hills of Gilan it rains two days in three, and the roofs are steep."
    >>> near_duplicates([rain, "Snow lies long on Damavand.", rain.upper()])
    (Duplicate(2, of=0, likeness=1.0),)
    """
    seen = Seen[Any](threshold)
    found = [seen.add(key, text) for key, text in (texts.items() if isinstance(texts, Mapping) else enumerate(texts))]
    return tuple([each for each in found if each is not None])


def signature(text: str) -> bytes:
    """What is kept of *text* to compare it with others: 512 bytes, the same on every machine.

    >>> len(signature("Rain falls.")), signature("Rain falls.") == signature("rain  FALLS")
    (512, True)
    """
    least = [_NONE] * _LANES
    for run in _runs(text):
        mixed = (run ^ run >> 32) * _FACTORS[0] & _ALL
        mixed ^= mixed >> 29
        lane = mixed % _LANES
        if mixed < least[lane]:
            least[lane] = mixed
    return _LANE.pack(*[(each >> 8) * _FACTORS[1] >> 40 & 0xFFFF for each in _filled(least)])


def alike(one: bytes, other: bytes) -> float:
    """About how alike two texts are, told by their signatures: off by some 0.02, and more where they are short.

    >>> alike(signature("Rain falls."), signature("Rain falls.")), alike(signature("Rain."), signature("Snow."))
    (1.0, 0.0)
    """
    return float(sum(map(eq, _LANE.unpack(one), _LANE.unpack(other)))) / _LANES


def likeness(one: str, other: str) -> float:
    """How alike two texts are: the runs that they share, of all that they have.

    >>> likeness("a b c d", "a b c e")
    0.3333333333333333
    """
    mine = _runs_of_few(one) if len(one) <= _SHORT else _runs(one)
    others = _runs_of_few(other) if len(other) <= _SHORT else _runs(other)
    return len(mine & others) / len(mine | others) if mine or others else 1.0


def _compared(
    key: K, signed: bytes, text: str | None, of: K, other: bytes, others: str | None, threshold: float
) -> Duplicate[K]:
    """How alike two are; two long texts that cannot be alike enough are not looked at themselves."""
    if text is None or others is None or min(len(text), len(others)) > _LONG:
        about = alike(signed, other)
        if text is None or others is None or about < threshold - _MARGIN:
            return Duplicate(key, of, about, exact=False)
    return Duplicate(key, of, likeness(text, others))


def rows_of(threshold: float) -> int:
    """How many numbers make a band, so that texts as alike as *threshold* share one as good as always.

    >>> rows_of(1.0), rows_of(0.9), rows_of(0.5)
    (256, 8, 2)
    """
    rows = _LANES
    while rows > 1 and (1 - threshold**rows) ** (_LANES // rows) > _SURE:
        rows //= 2
    return rows


def _looked_at(given: Any) -> tuple[bytes, str | None]:
    """The signature of what is *given*, and its text, where that is there."""
    if isinstance(given, bytes):
        if len(given) != _LANE.size:
            raise Misuse(f"a signature has {_LANE.size} bytes, and this has {len(given)}")
        return given, None
    text = given if isinstance(given, str) else getattr(given, "text", None)
    if not isinstance(text, str):
        raise Misuse(f"texts, documents, chunks and signatures are compared, not {type(given).__name__}")
    return signature(text), text


def _runs(text: str) -> set[int]:
    """The numbers of all runs of words in *text*; a text of fewer words is one run."""
    words = _WORD.findall(normalize("NFKC", text).casefold())
    numbers = {word: _number(word) for word in set(words)}
    row = [numbers[word] for word in words]
    if row:
        row += [0] * (_RUN - len(row))
    one, two, three = _FACTORS
    return {(a * one ^ b * two ^ c * three) & _ALL for a, b, c in zip(row, row[1:], row[2:], strict=False)}


@lru_cache(maxsize=8192)
def _runs_of_few(text: str) -> frozenset[int]:
    """`_runs` of a short text, which is compared with many: a few words more often share a band than long texts."""
    return frozenset(_runs(text))


def _number(word: str) -> int:
    """A number of *word* that is the same in every process, as that of `hash` is not."""
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _filled(least: list[int]) -> list[int]:
    """*least*, where each lane without a number has that of the next one to its left or right, and how far that is.

    Which side is fixed for each lane: so lanes of two texts are equal as often as the texts are alike, few as their
    runs may be.
    """
    empty = least.count(_NONE)
    if empty in (0, _LANES):
        return least if not empty else [0] * _LANES
    left, right = _nearest(least), _nearest(least[::-1])[::-1]
    return [left[lane] if lane * _FACTORS[0] >> 60 & 1 else right[lane] for lane in range(_LANES)]


def _nearest(least: list[int]) -> list[int]:
    """For each lane its own number, or that of the nearest to its left, in a circle, mixed with how far that is."""
    found, last, far = list[int](), _NONE, 0
    for each in least + least:
        last, far = (each, 0) if each < _NONE else (last, far + 1)
        found.append((last + far * _FACTORS[2]) & _ALL)
    return found[_LANES:]
