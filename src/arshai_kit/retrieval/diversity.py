"""Passages that say different things: each next one is like the question, and unlike those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from operator import mul
from typing import Any, TypeVar

from arshai_kit.index import Hit

__all__ = ["diverse"]

H = TypeVar("H", bound=Hit[Any])


def diverse(
    hits: Sequence[H], vectors: Mapping[str, Sequence[float]], *, limit: int, diversity: float
) -> tuple[H, ...]:
    """At most *limit* of *hits*, chosen by maximal marginal relevance; their scores are as they were.

    *diversity* 0 keeps their order, 1 looks at nothing but how little each says again. A hit without a vector is like
    no other.

    >>> hits = [Hit("a", "", 1.0, None), Hit("b", "", 0.9, None), Hit("c", "", 0.5, None)]
    >>> vectors = {"a": (1.0, 0.0), "b": (1.0, 0.0), "c": (0.0, 1.0)}
    >>> [hit.id for hit in diverse(hits, vectors, limit=2, diversity=0.5)]
    ['a', 'c']
    """
    wanted = _relevance(hits)
    unit = [_unit(vectors.get(hit.id, ())) for hit in hits]
    said = dict.fromkeys(range(len(hits)), -1.0)
    """How much each that is left is like the most alike of those that are chosen."""
    chosen: list[int] = []
    while said and len(chosen) < limit:
        best = max(said, key=lambda place: ((1 - diversity) * wanted[place] - diversity * said[place], -place))
        del said[best]
        chosen.append(best)
        for place, most in said.items():
            said[place] = max(most, sum(map(mul, unit[place], unit[best])))
    return tuple([hits[place] for place in chosen])


def _relevance(hits: Sequence[Hit[Any]]) -> list[float]:
    """The scores of *hits*, the best 1 and the worst 0."""
    low = min([hit.score for hit in hits], default=inf)
    span = max([hit.score for hit in hits], default=inf) - low
    return [(hit.score - low) / span if span else 1.0 for hit in hits]


def _unit(vector: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(vector)
    length = sqrt(sum(map(mul, numbers, numbers)))
    return tuple([each / length for each in numbers]) if length else ()
