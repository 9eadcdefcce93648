"""Documents into an index, as far as it has them not: after any end, however sudden, the next one gives what one gives.

What an index has of a source is told by its fingerprint, which every entry carries: it says what bytes were read, how
they were cut and embedded, and how many entries there are. New entries are written before old ones are taken away, so
that whoever asks meanwhile misses no document; one that is not complete is written again. There is no other ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from arshai_kit._record import Record
from arshai_kit.chunking import chunk
from arshai_kit.documents import Document, Limits
from arshai_kit.effects import Plan, Step
from arshai_kit.errors import Misuse
from arshai_kit.faces import blocking
from arshai_kit.index import Index
from arshai_kit.index.giving import batch_size
from arshai_kit.retrieval.asking import embedding, indexed
from arshai_kit.retrieval.fingerprints import how_of
from arshai_kit.retrieval.pipeline import Job, Pipeline
from arshai_kit.retrieval.reading import NEEDED
from arshai_kit.retrieval.reports import Progress, Report
from arshai_kit.retrieval.sources import Source

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from arshai_kit.embeddings import Embedder

__all__ = ["Ingest", "headed", "ingest", "plain"]


def plain(text: str, fields: Any) -> str:  # noqa: ARG001  # as every function of this kind is called
    """What is embedded of a chunk: its text, and nothing else."""
    return text


def headed(text: str, fields: Any) -> str:
    r"""What is embedded of a chunk: the title and the headings that it stands under, and its text.

    >>> from arshai_kit.index import Passage
    >>> headed("Thirty days.", Passage(title="Handbook", section=("Leave", "Annual")))
    'Handbook > Leave > Annual\n\nThirty days.'
    """
    title, section = getattr(fields, "title", ""), getattr(fields, "section", ())
    above = [title, *[each for each in section if each != title]] if title else [*section]
    return f"{' > '.join(above)}\n\n{text}" if above else text


@frozen(eq=False, repr=False)
class Ingest(Record):
    """What the step `ingest` is given: the *source*, in words."""

    source: str


@blocking
def ingest(
    index: Index[Any],
    source: Source,
    *,
    embedder: Embedder | None,
    chunker: Callable[..., Any] = chunk,
    told: Callable[[str, Any], str] = headed,
    fields: Callable[[Document], Mapping[str, Any]] | None = None,
    version: str = "",
    prune: bool = True,
    similar: float | None = 0.9,
    limits: Limits | None = None,
    executor: Executor | None = None,
    batch: int | None = None,
    ahead: int = 8,
    side_by_side: int = 4,
    progress: Callable[[Progress], Any] | None = None,
) -> Plan[Report]:
    """Bring *index* to what the documents of *source* are now; what it has of them already is left as it is.

    *source* is a folder, a file, a pattern, a URL, a `Document`, or several of these. Each document is cut by
    *chunker*; what *told* makes of a chunk is embedded, and *fields* adds to what an entry says of its document. With
    no *embedder* (`None`), the index is one of words alone. A document is written anew when its bytes, its chunker, the
    embedder or one of these functions has changed; they are known by their names and settings, so give another
    *version* when you change the code of one. With *prune*, files of this folder or pattern that are no longer there
    are taken out of the index. Documents that are near-copies, by at least *similar*, are reported.

    Documents that cannot be read are in the report, and the others go on; what the index had of them it keeps. At most
    *ahead* documents are read while *batch* chunks (by default `ARSHAI_BATCH_SIZE`, or 256), of however many documents,
    are embedded and written, in requests *side_by_side*. An *executor* reads and cuts documents in its threads, its
    processes, or on its machines. *progress* is told after each. An error of ours carries the `Report` so far in
    `partial`; run again, it goes on from there.
    """
    job = Job(
        index=index,
        source=source,
        embedder=embedder,
        chunker=chunker,
        told=told,
        further=fields,
        executor=executor,
        side_by_side=side_by_side,
        batch=batch_size(batch),
        ahead=ahead,
        progress=progress,
        prune=prune,
        similar=similar,
        limits=limits or Limits(),
        how=how_of(chunker, embedder, told, fields, version),
    )
    _check(job)
    what = Ingest(str(source) if isinstance(source, str) or hasattr(source, "__fspath__") else type(source).__name__)
    return (yield from Step("ingest", index.name, what, partial(Pipeline.run, Pipeline(job))))


def _check(job: Job) -> None:
    """Refuse what cannot work before anything is read."""
    names = {each.name for each in attrs.fields(indexed(job.index).fields)}
    if missing := [name for name in NEEDED if name not in names]:
        raise Misuse(
            f"the fields of {job.index.name} lack {', '.join(missing)}: derive {job.index.fields.__name__} from "
            "arshai_kit.index.Passage"
        )
    if job.embedder is not None:
        embedding(job.embedder)
    for name in ("ahead", "side_by_side"):
        if type(value := getattr(job, name)) is not int or value < 1:
            raise Misuse(f"{name}= is a whole number above zero, not {value!r}")
    if job.similar is not None and not 0 < job.similar <= 1:
        raise Misuse(f"similar= is a number above 0, at most 1, or None, not {job.similar!r}")
    given = {"chunker": job.chunker, "told": job.told, "fields": job.further, "progress": job.progress}
    for name, function in given.items():
        optional = function is None and name in ("fields", "progress")
        if not (optional or callable(function) or hasattr(function, "plan")):
            raise Misuse(f"{name}= is a function, not {type(function).__name__}")
