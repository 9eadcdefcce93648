"""How far an ingest is, and what has come of it so far; owned by one plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import evolve

from arshai_kit._flight import is_async
from arshai_kit.documents import Unreadable
from arshai_kit.effects import Call, Emit, Now, Plan
from arshai_kit.records import Notice
from arshai_kit.records.vectors import Embeddings, joined
from arshai_kit.retrieval.reports import Progress, Report

__all__ = ["Tally"]


class Tally:
    """What is counted; *progress* is told of it."""

    def __init__(self, progress: Callable[[Progress], Any] | None, name: str) -> None:
        self.progress, self.name = progress, name
        self.report = Report()
        self.began = self.seconds = 0.0
        self.total: int | None = None
        self.bytes = self.size = self.cut = 0
        self._spent: Embeddings = joined(())

    def begin(self) -> Plan[None]:
        """Look at the clock."""
        self.began = yield from Now()

    def count(self, **more: Any) -> None:
        """Add *more* to what is reported."""
        self.report = evolve(self.report, **{name: getattr(self.report, name) + each for name, each in more.items()})

    def spend(self, found: Embeddings) -> None:
        """Add what *found* has cost, and forget its vectors."""
        self.cut += len(found.truncated)
        self._spent = joined((self._spent, evolve(found, vectors=(), truncated=(), raw=())))

    def told(self) -> Report:
        """What has come of it so far."""
        notices = self.report.notices
        if self.cut:
            notices += (f"{self.cut:,} chunks are longer than the embedder reads: make them smaller, chunking(size=…)",)
        return evolve(
            self.report, notices=notices, usage=self._spent.usage, cost=self._spent.cost, seconds=self.seconds
        )

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Count no document twice: what is read again in this block has been counted."""
        before = self.report
        yield
        names = ("documents", "new", "changed", "unchanged", "skipped")
        self.report = evolve(self.report, **{name: getattr(before, name) for name in names})

    def failed(self, what: Unreadable) -> None:
        """A document, or a folder, could not be read."""
        self.report = evolve(self.report, failed=(*self.report.failed, what))

    def ended(self, source: str, size: int | None) -> Plan[None]:
        """One more document is done with; whoever wants to know is told."""
        self.count(documents=1)
        self.bytes += size or 0
        self.seconds = (yield from Now()) - self.began
        now = self.so_far(source)
        if self.progress is not None:
            if is_async(self.progress):
                yield from Call(self.progress, now)
            else:  # in place: a line on a screen, and in the order of what is done
                self.progress(now)
        figures = {"done": now.done, "total": now.total, "chunks": now.chunks, "seconds": now.seconds}
        yield from Emit((Notice("ingest", self.name, source, figures),))

    def so_far(self, source: str) -> Progress:
        """How far it is."""
        share = min(1.0, self.bytes / self.size) if self.size else None
        report = self.report
        return Progress(report.documents, self.total, source, chunks=report.chunks, seconds=self.seconds, share=share)
