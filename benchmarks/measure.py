"""Samples taken in turn, and the ratios between them: what one contender costs against another in the same moment."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from attrs import frozen

Figures: TypeAlias = Mapping[str, float]
"""What one sample costs: `cpu` in nanoseconds, and what else was measured (`rss` in bytes, `errors`)."""

Sampler: TypeAlias = Callable[[], Figures]
Work: TypeAlias = Callable[[int], int]
"""Does something so many times; tells the nanoseconds of CPU that it took."""

CONTROL_MAY_BE_OFF = 0.05
SAMPLE_NS = 60_000_000


@frozen
class Ratio:
    """The median of the ratios of all pairs, and the quartiles around it.

    *least* is the ratio of the quickest samples, which a busy machine disturbs the least.
    """

    median: float
    low: float
    high: float
    least: float = 0.0

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def batch(act: Callable[[], object]) -> Work:
    """The work of doing *act* again and again, on the clock of this process, all its threads included."""

    def work(times: int) -> int:
        began = time.process_time_ns()
        for _ in range(times):
            act()
        return time.process_time_ns() - began

    return work


def sampler(work: Work, times: int) -> Sampler:
    """Sample *work*, beginning without garbage; the collector stays on, because it is part of the cost."""

    def sample() -> Figures:
        gc.collect()
        return {"cpu": work(times) / times}

    return sample


def enough(work: Work, nanoseconds: int = SAMPLE_NS) -> int:
    """How often *work* is to be done for a sample that the clock can tell; warms up on the way."""
    times = 1
    while (taken := work(times)) < nanoseconds / 4:
        times *= 2
    return max(1, round(times * nanoseconds / taken))


def turns(names: Sequence[str], rounds: int) -> Iterable[tuple[str, ...]]:
    """The order of each round: everyone is first as often as the others, and goes before and after each neighbour.

    >>> list(turns("ab", 2))
    [('a', 'b'), ('b', 'a')]
    >>> list(turns("abc", 4))
    [('a', 'b', 'c'), ('a', 'c', 'b'), ('b', 'c', 'a'), ('b', 'a', 'c')]
    """
    for number in range(rounds):
        if len(names) == 2:
            yield tuple(names if number % 2 == 0 else reversed(names))
            continue
        first = number // 2 % len(names)
        order = (*names[first:], *names[:first])
        yield order if number % 2 == 0 else (order[0], *reversed(order[1:]))


def taken(samplers: Mapping[str, Sampler], rounds: int) -> tuple[Mapping[str, Figures], ...]:
    """*rounds* rounds of one sample each, in alternating order."""
    return tuple({name: samplers[name]() for name in order} for order in turns(tuple(samplers), rounds))


def ratio(rounds: Sequence[Mapping[str, Figures]], of: str, to: str, figure: str = "cpu") -> Ratio:
    """How many times as much *of* took as *to*, pair by pair.

    >>> pair = {"ours": {"cpu": 3.0}, "hand": {"cpu": 2.0}}
    >>> str(ratio([pair, pair], "ours", "hand"))
    '1.50 (1.50 to 1.50)'
    """
    ratios = [each[of][figure] / each[to][figure] for each in rounds]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    least = min(each[of][figure] for each in rounds) / min(each[to][figure] for each in rounds)
    return Ratio(statistics.median(ratios), low, high, least)


def median(rounds: Sequence[Mapping[str, Figures]], of: str, figure: str = "cpu") -> float:
    """What *of* took, as a rule."""
    return statistics.median(each[of][figure] for each in rounds)


def total(rounds: Sequence[Mapping[str, Figures]], of: str, figure: str) -> float:
    """What *of* came to in all rounds together."""
    return sum(each[of].get(figure, 0.0) for each in rounds)


def counts(control: Ratio) -> bool:
    """Whether a run counts: the same work against itself came out as the same.

    >>> counts(Ratio(1.02, 0.9, 1.1)), counts(Ratio(0.94, 0.9, 1.0))
    (True, False)
    """
    return abs(control.median - 1) <= CONTROL_MAY_BE_OFF
