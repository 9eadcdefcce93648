"""One ranking out of several: by the places that hits have in each (`fuse`), or by their scores (`blend`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any, TypeVar

from arshai_kit._json import FrozenDict
from arshai_kit.errors import Misuse
from arshai_kit.index.records import Hit

__all__ = ["blend", "fuse"]

F = TypeVar("F")


def fuse(*rankings: Iterable[Hit[F]], k: float = 60, weights: Sequence[float] | None = None) -> tuple[Hit[F], ...]:
    """One ranking out of several, by reciprocal rank: a hit's score is the sum of weight / (*k* + place) over them.

    It asks nothing of the scores of a ranking, so those of any two may be fused. *weights* are 1 each by default; a
    ranking of weight 0 is not looked at. The higher *k*, the less do the first places matter. What each ranking scored
    stays in `.scores`, beside `hybrid`, the sum. Equal sums stand by their ids.

    >>> hits = {id: Hit(id, "", 1.0, None) for id in "abc"}
    >>> [hit.id for hit in fuse([hits["a"], hits["b"]], [hits["b"], hits["c"]])]
    ['b', 'a', 'c']
    """
    if not isinstance(k, int | float) or isinstance(k, bool) or not 0 <= k < inf:
        raise Misuse(f"k= is a number from 0 up, not {k!r}")
    return _summed(rankings, weights, lambda hits: [1 / (k + place) for place in range(1, len(hits) + 1)])


def blend(*rankings: Iterable[Hit[F]], weights: Sequence[float] | None = None) -> tuple[Hit[F], ...]:
    """One ranking out of several, by their scores: each ranking's are put between 0 and 1, weighted and added.

    The best of a ranking has 1 there, the last 0, and so has what is not in it; where all are equal, each has 1. Unlike
    `fuse`, it heeds how much better one hit is than the next, and one that stands out moves all others.

    >>> dense = [Hit("a", "", 0.9, None), Hit("b", "", 0.8, None), Hit("c", "", 0.1, None)]
    >>> sparse = [Hit("b", "", 7.0, None), Hit("d", "", 2.0, None)]
    >>> [(hit.id, round(hit.score, 2)) for hit in blend(dense, sparse, weights=(0.5, 0.5))]
    [('b', 0.94), ('a', 0.5), ('c', 0.0), ('d', 0.0)]
    """
    return _summed(rankings, weights, _between)


def _between(hits: Sequence[Hit[Any]]) -> list[float]:
    """The scores of *hits*, from 0 to 1."""
    scores = [hit.score for hit in hits]
    if not all(map(isfinite, scores)):
        raise Misuse("a score of a ranking is no number")
    least, most = min(scores), max(scores)
    return [(score - least) / (most - least) if most > least else 1.0 for score in scores]


def _summed(
    rankings: tuple[Iterable[Hit[F]], ...],
    weights: Sequence[float] | None,
    valued: Callable[[Sequence[Hit[F]]], list[float]],
) -> tuple[Hit[F], ...]:
    """The hits of all *rankings* by the weighted sum of what each of them is *valued*, the best first."""
    given = [_once(ranking) for ranking in rankings]
    heeded = [(hits, weight) for hits, weight in zip(given, _weights(weights, len(given)), strict=True) if weight]
    sums: dict[str, float] = {}
    found: dict[str, Hit[F]] = {}
    for hits, weight in heeded:
        for hit, value in zip(hits, valued(hits) if hits else [], strict=True):
            sums[hit.id] = sums.get(hit.id, 0.0) + weight * value
            known = found.get(hit.id)
            found[hit.id] = hit if known is None else _scored(known, known.score, hit.scores)
    order = sorted(found, key=lambda own: (-sums[own], own))
    return tuple([_scored(found[own], sums[own], {}, hybrid=sums[own]) for own in order])


def _scored(hit: Hit[F], score: float, others: Mapping[str, float], **more: float) -> Hit[F]:
    """*hit* with another *score*, its own scores beside those of *others*."""
    return Hit(hit.id, hit.text, score, hit.fields, FrozenDict({**others, **hit.scores, **more}))


def _once(ranking: Iterable[Hit[F]]) -> list[Hit[F]]:
    """The hits of *ranking*, each where it stands first."""
    if isinstance(ranking, Hit):
        raise Misuse("a ranking is a sequence of hits, not one of them")
    found: dict[str, Hit[F]] = {}
    for hit in ranking:
        found.setdefault(hit.id, hit)
    return list(found.values())


def _weights(weights: Sequence[float] | None, count: int) -> Sequence[float]:
    if weights is None:
        return [1.0] * count
    if len(weights) != count or any(not isinstance(each, int | float) or not 0 <= each < inf for each in weights):
        raise Misuse(f"weights= has a number from 0 up for each ranking, of which there are {count}, not {weights!r}")
    return weights
