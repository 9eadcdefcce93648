"""The work of one ingest: a few documents are read ahead while others are embedded and written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from arshai_kit._flight import is_async
from arshai_kit._record import Record
from arshai_kit.documents import Document, Found, Limits, Unreadable, read
from arshai_kit.effects import Call, Handle, Join, Plan, Start, call, planned
from arshai_kit.errors import ArshaiError, BadDocument, Misuse, OtherVectors
from arshai_kit.index import Index, field
from arshai_kit.retrieval.asking import asked
from arshai_kit.retrieval.elsewhere import Elsewhere
from arshai_kit.retrieval.holding import Held
from arshai_kit.retrieval.reading import Cut, Read, Task, cut, prepared
from arshai_kit.retrieval.reports import Progress, Report
from arshai_kit.retrieval.similar import MOST, Similar
from arshai_kit.retrieval.sources import Within, found, is_gone, listable, within
from arshai_kit.retrieval.tallying import Tally
from arshai_kit.retrieval.writing import Incoming, Writer

__all__ = ["Job", "Pipeline"]

_BLOCK: Final = 256
"""After so many documents, what the run remembers of them is let go."""
_ROUNDS: Final = 3
"""So often what somebody else has written over is written again."""
_AT_ONCE: Final = 200


@frozen(eq=False, repr=False, kw_only=True)
class Job(Record):
    """What is to be done, and how."""

    index: Index[Any]
    source: Any
    embedder: Any
    chunker: Callable[..., Any]
    told: Callable[[str, Any], str]
    further: Callable[[Document], Mapping[str, Any]] | None
    executor: Any
    side_by_side: int
    batch: int
    ahead: int
    progress: Callable[[Progress], Any] | None
    prune: bool
    similar: float | None
    limits: Limits
    how: str

    @property
    def in_run(self) -> bool:
        """Whether the chunker asks somebody, so that it cannot be called where documents are read."""
        return planned(self.chunker) is not None or is_async(self.chunker)


class Pipeline:
    """One ingest; owned by one plan."""

    def __init__(self, job: Job) -> None:
        self.job, self.index = job, job.index
        self.work: Any = prepared if job.executor is None else Elsewhere(job.executor, prepared)
        self.tally = Tally(job.progress, job.index.name)
        self.writer = Writer(
            job.index, job.embedder, job.told, self.tally, batch=job.batch, side_by_side=job.side_by_side
        )
        self.similar = None if job.similar is None else Similar(job.similar)
        self.held = Held()
        self.listed = False
        self.seen: set[str] = set()
        self.fatal: list[Exception] = []
        self.unlisted: list[str] = []
        self.written: dict[str, tuple[str, Found | None]] = {}

    def run(self) -> Plan[Report]:
        """Do all of it."""
        yield from self.tally.begin()
        try:
            yield from self.look()
            yield from self.all((yield from self.items()))
            yield from self.settle()
            if self.job.prune:
                yield from self.take_out()
            yield from self.compare()
        except ArshaiError as error:
            error.partial = self.tally.told()
            raise
        finally:
            if isinstance(self.work, Elsewhere):
                self.work.close()
        return self.tally.told()

    def look(self) -> Plan[None]:
        """Learn what the index has; vectors of somebody else are refused before anything is embedded."""
        held = yield from asked(self.index, self.index.statistics, ("source", "document"))
        wanted = self.writer.space
        if wanted and held.space and held.space != wanted:
            raise OtherVectors(
                f"{self.index.name} holds vectors of {held.space}, and {wanted} gives others: take another index, or "
                "delete what is in this one"
            )
        self.held = Held.of(held.facets)

    def items(self) -> Plan[Iterator[Any]]:
        """The documents: of places, listed at once; else as they come."""
        those = found(self.job.source, self.unreadable, self.had)
        self.listed = listable(self.job.source)
        if not self.listed:
            return those
        items: list[Any] = yield from Call(_once, those)
        self.tally.total = len(items)
        self.tally.size = sum([_size(each) or 0 for each in items])
        return iter(items)

    def had(self, inside: Within) -> bool:
        """Whether the index has something of a place: where nothing is now, that is gone, and no mistake."""
        return any(map(inside, self.held.sources))

    def unreadable(self, what: Unreadable) -> None:
        """Keep what could not be listed: what the index has of it, or of what is in it, it keeps."""
        self.unlisted.append(what.source)
        self.tally.failed(what)

    # -- reading ahead --

    def all(self, items: Iterator[Any]) -> Plan[None]:
        """Take up all of *items*; each block is a plan of its own, which ends with all that it held."""
        more = True
        while more:
            (outcome,) = yield from Join(((yield from Start(self.block(items))),))
            more = outcome.unwrap()

    def block(self, items: Iterator[Any]) -> Plan[bool]:
        """Take up some of *items*, a few ahead of what is written; whether there may be more."""
        ahead: deque[tuple[Any, Handle[Any]]] = deque()
        taken, item = 0, None
        while taken < _BLOCK and (item := (yield from self.next(items))) is not None:
            taken += 1
            ahead.append((item, (yield from Start(self.read(item)))))
            if len(ahead) >= self.job.ahead:
                yield from self.first(ahead)
        while ahead:
            yield from self.first(ahead)
        yield from self.writer.end(everything=item is None)
        return item is not None

    def next(self, items: Iterator[Any]) -> Plan[Any]:
        """The next of *items* that has not been there yet; nothing at their end."""
        while True:
            item = next(items, None) if self.listed else (yield from Call(next, items, None))
            if item is None:
                return None
            if item.source not in self.seen:
                self.seen.add(item.source)
                return item
            if isinstance(item, Document):
                why = f"{item.source} is the source of two documents, and the first was taken: each has one of its own"
                self.tally.failed(Unreadable(item.source, BadDocument(why, source=item.source)))
                yield from self.tally.ended(item.source, _size(item))

    def read(self, item: Found | Document) -> Plan[Read | Cut]:
        """What has come of reading *item*, and of cutting it."""
        job = self.job
        if isinstance(item, Found) and item.url:
            item = yield from _fetched(item, job.limits)
        task = Task(
            found=item,
            known=self.held.known(item.source, job.how),
            how=job.how,
            kind=job.index.fields,
            chunker=None if job.in_run else job.chunker,
            further=job.further,
            compared=self.similar is not None,
            limits=job.limits,
        )
        came: Read | Cut = yield from call(self.work, task)
        if isinstance(came, Cut) or came.document is None:
            return came
        try:
            chunks = yield from call(job.chunker, came.document)
        except Exception as error:  # of whom the chunker asks, who fails for all others too
            self.fatal.append(error)
            raise
        return (yield from Call(cut, task, came.document, came.mark, chunks))

    def first(self, ahead: deque[tuple[Any, Handle[Read | Cut]]]) -> Plan[None]:
        """Deal with what has come of the first of those that are read *ahead*."""
        item, handle = ahead.popleft()
        (outcome,) = yield from Join((handle,))
        fatal = any(each is outcome.error for each in self.fatal)
        if outcome.error is not None and (fatal or not _is_of_document(outcome.error)):
            raise outcome.error
        result = outcome.value
        if isinstance(result, Cut):
            yield from self.came(item, result)
            return
        if outcome.error is not None:
            self.tally.failed(Unreadable(item.source, outcome.error))
        else:
            self.tally.count(unchanged=1)
        yield from self.tally.ended(item.source, _size(item))

    def came(self, item: Any, result: Cut) -> Plan[None]:
        """Let what *item* has become go its way."""
        self.written[item.source] = result.fingerprint, item if isinstance(item, Found) else None
        told = {"notices": tuple([f"{item.source}: {each}" for each in result.notices])}
        if self.similar is not None and result.signature is not None:
            self.similar.add(item.source, result.signature)
        self.tally.count(**told)
        had = self.held.sources.get(item.source, 0) > 0
        yield from self.writer.take(Incoming(item.source, _size(item), result, had))

    # -- afterwards --

    def settle(self) -> Plan[None]:
        """See that the index has what was written, whole: somebody else may have written the same sources meanwhile."""
        for _ in range(_ROUNDS):
            if not self.written:
                return
            yield from self.look()
            broken = [each for source, (print_, each) in self.written.items() if not self.held.whole(source, print_)]
            again = [each for each in broken if each is not None]
            if not broken:
                return
            if not again:
                break
            self.written, self.listed = {}, True
            self.seen -= {each.source for each in again}
            with self.tally.silent():
                yield from self.all(iter(again))
        self.tally.count(notices=("somebody else writes into this index too: ingest again when they are done",))

    def compare(self) -> Plan[None]:
        """Tell which documents are near-copies."""
        if self.similar is None:
            return
        self.tally.count(duplicates=(yield from Call(self.similar.found)))
        if self.similar.over:
            self.tally.count(notices=(f"only the first {MOST:,} documents were compared with each other",))

    def take_out(self) -> Plan[None]:
        """Take out of the index what would be among the documents, if it were still there."""
        inside = yield from Call(within, self.job.source)
        kept = tuple([f"{folder.rstrip('/')}/" for folder in self.unlisted])
        missing = [each for each in self.held.sources if inside(each) and each not in self.seen]
        missing = [each for each in missing if each not in self.unlisted and not each.startswith(kept)]
        gone: Sequence[str] = yield from Call(lambda: sorted(filter(is_gone, missing)))
        for place in range(0, len(gone), _AT_ONCE):
            part = gone[place : place + _AT_ONCE]
            yield from asked(self.index, self.index.delete, field("source").in_(part))
        self.tally.count(gone=tuple(gone))


def _size(item: Any) -> int | None:
    return item.size if isinstance(item, Found) else len(item.text)


def _once(items: Iterable[Any]) -> list[Any]:
    """*items*, each place once; two documents of one source stay, to be told."""
    seen: set[str] = set()
    found = []
    for each in items:
        if isinstance(each, Document) or each.source not in seen:
            found.append(each)
        seen.add(each.source)
    return found


def _fetched(found: Found, limits: Limits) -> Plan[Document]:
    """What lies at an address; one that must not be asked is told like one that cannot be read."""
    try:
        return (yield from read.plan(found, limits=limits))
    except Misuse as error:
        raise BadDocument(f"{found.source} cannot be read: {error}", source=found.source) from error


def _is_of_document(error: Exception) -> bool:
    """Whether *error* is the fault of one document, so that the others go on."""
    if isinstance(error, ArshaiError):
        return not (isinstance(error, Misuse) or error.ends_run)
    return isinstance(error, OSError | UnicodeError | ImportError)  # a kind of document that needs an extra
