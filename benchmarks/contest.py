"""Contests: where a piece of work is measured, who does it, and what it may cost against doing it by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeAlias

from attrs import frozen

from benchmarks.measure import Sampler, Work, enough, sampler

HAND, KIT, LAYER, CONTROL = "hand", "kit", "layer", "control"


@frozen
class Site:
    """Where the fake provider is, what child processes find in their environment, and how thoroughly to measure."""

    address: str
    environment: Mapping[str, str]
    quick: bool = False

    def base(self, scenario: str) -> str:
        """The base address of an API whose calls are answered as *scenario* says."""
        return f"{self.address}/{scenario}/v1"

    def url(self, scenario: str) -> str:
        """The address of Chat Completions that answers as *scenario* says."""
        return f"{self.base(scenario)}/chat/completions"

    def size(self, full: int, quick: int) -> int:
        """*full*, or *quick* when it is only to be seen that all this runs."""
        return quick if self.quick else full


Maker: TypeAlias = Callable[[Site], AbstractContextManager[Work]]
Contenders: TypeAlias = Callable[[Site], AbstractContextManager[Mapping[str, Sampler]]]


@frozen
class Row:
    """A piece of work, whoever does it, and the limits: how many times what it takes by hand, figure by figure."""

    key: str
    work: str
    limits: Mapping[str, float]
    contenders: Contenders
    layered: float | None = 1.1


def both(by_hand: Maker, ours: Maker) -> Contenders:
    """Let the two ways of one piece of work compete, *by_hand* twice, and *ours* with a layer once more."""

    @contextmanager
    def contenders(site: Site) -> Iterator[Mapping[str, Sampler]]:
        with ExitStack() as stack:
            works = {HAND: stack.enter_context(by_hand(site)), KIT: stack.enter_context(ours(site))}
            works |= {LAYER: layered(works[KIT]), CONTROL: stack.enter_context(by_hand(site))}
            yield warm(site, works)

    return contenders


def warm(site: Site, works: Mapping[str, Work]) -> Mapping[str, Sampler]:
    """A sampler for each of *works*, all with as many repetitions; what is done for the first time is done here."""
    times = 1 if site.quick else enough(works[HAND])
    for work in works.values():
        work(times)
    return {name: sampler(work, times) for name, work in works.items()}


def layered(work: Work) -> Work:
    """*work*, with one layer on every step."""

    def under(times: int) -> int:
        from benchmarks.kit import one_layer

        with one_layer():
            return work(times)

    return under
