"""Vectors: what texts mean, as numbers, in the four bytes each that they come with, for there may be millions."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.errors import Misuse
from arshai_kit.records.responses import RateLimit, Usage

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["Embeddings", "Kind", "Vector", "joined"]

Kind: TypeAlias = Literal["document", "query"] | None
"""What a text is to be found by (`query`), or is to be found (`document`); `None` where it does not matter."""

_SIZE = 4
_SIGN = 0x80
_NO_NUMBER = 0x7F  # the highest byte of NaN and infinity, and of numbers near the end of all that there are


def _whole(_: Any, __: Any, data: Any) -> None:
    if not isinstance(data, bytes) or len(data) % _SIZE:
        raise Misuse("a vector is made of the bytes of its 32-bit numbers; Vector.of((0.6, 0.8)) makes one of numbers")


@frozen(eq=False, repr=False)
class Vector(Record, Sequence[float]):
    """A vector: a sequence of 32-bit floats, kept as their bytes (little-endian).

    A tuple of floats would take eight times the memory, and an `array` can neither be hashed nor be kept from
    changing; bytes are both, cost one copy, and are what providers and databases hold. Equal is what has the same
    bytes. NumPy reads a vector where it lies: `np.asarray(vector)` copies nothing, and `np.asarray(vectors)` or
    `np.frombuffer(b"".join([v.data for v in vectors]), "<f4")` each number once.

    >>> vector = Vector.of((0.6, 0.8))
    >>> len(vector), vector.data.hex(), vector[1] == 0.8, vector == Vector(vector.data)
    (2, '9a99193fcdcc4c3f', False, True)
    """

    data: bytes = field(default=b"", validator=_whole)

    @classmethod
    def of(cls, values: Iterable[float]) -> Vector:
        """The vector of *values*, each of them rounded to 32 bits."""
        numbers = values if isinstance(values, list | tuple) else tuple(values)
        try:
            made = cls(struct.pack(f"<{len(numbers)}f", *numbers))
        except (struct.error, OverflowError, TypeError) as error:
            raise Misuse(f"a vector is made of numbers that fit into 32 bits: {error}") from None
        return made.checked()

    def checked(self) -> Vector:
        r"""This vector, unless it holds what is no number: nothing can be compared with that.

        >>> Vector(b"\0\0\xc0\x7f").checked()
        Traceback (most recent call last):
            ...
        arshai_kit.errors.Misuse: a vector holds what is no number: NaN, or infinity
        """
        highest = self.data[_SIZE - 1 :: _SIZE]
        if (_NO_NUMBER in highest or _NO_NUMBER | _SIGN in highest) and not isfinite(sum(self)):
            raise Misuse("a vector holds what is no number: NaN, or infinity")
        return self

    def normalised(self) -> Vector:
        """This vector with the length 1, which some providers see to only where the vector is not shortened.

        >>> [round(each, 6) for each in Vector.of((3, 4)).normalised()]
        [0.6, 0.8]
        """
        length = sqrt(sum([each * each for each in self]))
        return Vector.of([each / length for each in self]) if length else self

    def __len__(self) -> int:
        return len(self.data) // _SIZE

    def __iter__(self) -> Iterator[float]:
        return iter(struct.unpack(f"<{len(self)}f", self.data))

    @overload
    def __getitem__(self, place: int) -> float: ...
    @overload
    def __getitem__(self, place: slice) -> Vector: ...
    def __getitem__(self, place: int | slice) -> float | Vector:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            return Vector(self.data[start * _SIZE : stop * _SIZE]) if step == 1 else Vector.of(tuple(self)[place])
        number: float = struct.unpack_from("<f", self.data, range(len(self))[place] * _SIZE)[0]
        return number

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """How NumPy reads a vector without a copy."""
        return {"version": 3, "shape": (len(self),), "typestr": "<f4", "data": self.data}

    def __repr__(self) -> str:
        first = ", ".join([f"{each:.4g}" for each in self[:3]])
        return f"Vector({first}, … {len(self):,} in all)" if len(self) > 3 else f"Vector({first})"


def _tuple(value: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value)


@frozen(eq=False, repr=False)
class Embeddings(Record, Sequence[Vector]):
    """The vectors of some texts, in their order: a sequence of them.

    *usage* and *cost* (US dollars, `None` when unknown) are those of all requests. *truncated* are the places of texts
    of which the provider says that it has read the beginning only. *raw* are the bodies of the replies without their
    vectors; it, the *id* and *request_id* of the last reply and the *rate_limits* that came with it are outside
    equality.
    """

    vectors: tuple[Vector, ...] = field(default=(), converter=_tuple)
    usage: Usage = field(factory=Usage)
    cost: Decimal | None = None
    model: str = ""
    provider: str = ""
    truncated: tuple[int, ...] = field(default=(), converter=_tuple)
    id: str = field(default="", eq=False, kw_only=True)
    request_id: str = field(default="", eq=False, kw_only=True)
    rate_limits: tuple[RateLimit, ...] = field(default=(), converter=_tuple, eq=False, repr=False, kw_only=True)
    raw: tuple[Any, ...] = field(default=(), converter=_tuple, eq=False, repr=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.vectors)

    @overload
    def __getitem__(self, place: int) -> Vector: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Vector, ...]: ...
    def __getitem__(self, place: int | slice) -> Vector | tuple[Vector, ...]:
        return self.vectors[place]


def joined(parts: Iterable[Embeddings]) -> Embeddings:
    """All of *parts* as one, in their order; of none of them, what cost nothing.

    >>> one, two = Embeddings([Vector.of((1, 0))], Usage(3)), Embeddings([Vector.of((0, 1))], Usage(4), truncated=[0])
    >>> joined((one, two))
    Embeddings((Vector(1, 0), Vector(0, 1)), usage=Usage(7), truncated=(1,))
    """
    from decimal import Decimal  # slow to import, and no vector needs it

    given = tuple(parts)
    costs = [part.cost for part in given]
    known = [cost for cost in costs if cost is not None]
    starts = accumulate([len(part) for part in given], initial=0)
    last = {
        name: next((found for part in reversed(given) if (found := getattr(part, name))), getattr(_NOTHING, name))
        for name in ("model", "provider", "id", "request_id", "rate_limits")
    }
    return Embeddings(
        [vector for part in given for vector in part.vectors],
        sum([part.usage for part in given], Usage()),
        sum(known, Decimal(0)) if len(known) == len(costs) else None,
        truncated=[start + place for start, part in zip(starts, given, strict=False) for place in part.truncated],
        raw=[body for part in given for body in part.raw],
        **last,
    )


_NOTHING = Embeddings()
