"""An embedder for tests, without a model: its vectors are alike where texts have words, or parts of them, in common."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from math import sqrt
from zlib import crc32

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Plan
from arshai_kit.records import Usage
from arshai_kit.records.vectors import Embeddings, Kind, Vector

__all__ = ["HashedEmbedder", "hashed_embedder"]

_WORD = re.compile(r"\w+")
_PART = 3


@frozen(eq=False, repr=False)
class HashedEmbedder(Record):
    """An embedder that counts words and their parts under numbers that are made of them."""

    dimensions: int = 256
    max_batch: int | None = None
    max_bytes: int | None = None
    name: str = field(default="hashed", kw_only=True)
    provider: str = field(default="testing", kw_only=True)

    def embed(self, texts: Sequence[str], *, kind: Kind = None) -> Plan[Embeddings]:  # noqa: ARG002  # all are alike
        """The vectors of *texts*, each of the length 1, whatever *kind* they are of; a word is a token."""
        vectors = [_vector(text, self.dimensions) for text in texts]
        tokens = sum([len(_WORD.findall(text)) for text in texts])
        return Embeddings(vectors, Usage(tokens), Decimal(0), self.name, self.provider)
        yield  # a plan that asks the world for nothing


def hashed_embedder(
    *, dimensions: int = 256, max_batch: int | None = None, max_bytes: int | None = None
) -> HashedEmbedder:
    """An embedder without a model: the same text always has the same vector, and texts are alike that share words.

    It knows no meaning: a car has nothing of an automobile.

    >>> from arshai_kit.embeddings import embed, similarity
    >>> rain, rains, tax = embed(hashed_embedder(), ["it may rain today", "it rains today", "file your taxes"])
    >>> similarity(rain, rains) > 0.5 > similarity(rain, tax)
    True
    """
    return HashedEmbedder(dimensions, max_batch, max_bytes)


def _vector(text: str, dimensions: int) -> Vector:
    counts = [0.0] * dimensions
    for feature in _features(text.casefold()):
        place = crc32(feature.encode("utf-8", "surrogatepass"))
        counts[place % dimensions] += 1 if place & 0x8000_0000 else -1
    length = sqrt(sum([count * count for count in counts])) or 1
    return Vector.of([count / length for count in counts])


def _features(text: str) -> Iterator[str]:
    """The words of *text*, and all runs of three letters in them; the text itself if it has no words."""
    words = _WORD.findall(text) or [text]
    for word in words:
        yield word
        edged = f"<{word}>"
        yield from (edged[start : start + _PART] for start in range(len(edged) - _PART + 1))
