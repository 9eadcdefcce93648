"""Folders of documents at the command line: ingested into a file, searched, and asked, with links to what is found."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from arshai_kit._json import dumps
from arshai_kit.chunking import chunking
from arshai_kit.cli.screen import aside, complain, is_watched, linked, say, waiting
from arshai_kit.cli.talk import Heard, answer
from arshai_kit.embeddings import Embedder
from arshai_kit.errors import Misuse
from arshai_kit.index import Hit, Index, sqlite_index
from arshai_kit.models import Model, Prompt
from arshai_kit.records import user
from arshai_kit.retrieval import Link, Progress, Report, check, cite, compress, ingest, links, retrieve
from arshai_kit.retrieval.compressing import GAP

__all__ = ["EMBEDDERS", "answered", "chosen_embedder", "index_file", "ingested", "searched"]

EMBEDDERS = "local, none, openai:NAME, gemini:NAME, azure:DEPLOYMENT or openai-compatible:NAME@URL"
_SIZE = 200
"""Tokens of a chunk: the local embedder reads no more than 256 of a text."""
_SHOWN = 400
_FEW = 3
_SMALL = 40
"""So many tokens of so few passages are quoted, and given to the local model: with more, it answers something else."""
_LARGE = 6000
Hits: TypeAlias = tuple[Hit[Any], ...]
_SERVED = re.compile(r"(?P<name>.+?)@(?P<url>https?://.+)", re.DOTALL)


def index_file(place: str, given: Path | None) -> Path:
    """Where the index of *place* is kept: the file *given*, or one of its own among the user's caches."""
    if given is not None:
        return given
    where = place if re.match(r"https?://", place) else str(Path(place).absolute().resolve())
    name = re.sub(r"[^\w.-]+", "-", Path(where).name or "root").strip("-.")[:40] or "documents"
    own = sha256(where.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return _caches() / "arshai-kit" / "knowledge" / f"{name}-{own}.sqlite"


def _caches() -> Path:
    """Where this system wants a user's caches to be."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _opened(file: Path) -> Index[Any]:
    """The index in *file*, which its owner alone can read: it holds what the documents say."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not file.exists():
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    return sqlite_index(file)


def chosen_embedder(text: str) -> Embedder | None:
    """The embedder called *text*; `none` is none, for searches by words alone.

    >>> chosen_embedder("openai-compatible:nomic-embed-text@http://localhost:11434/v1").name
    'nomic-embed-text'
    """
    from arshai_kit.providers import embedders

    kind, _, name = text.partition(":")
    match kind:
        case "none" if not name:
            return None
        case "local" if not name:
            from arshai_kit.local import local_embedder

            return local_embedder()
        case "openai" | "gemini" | "azure" if name:
            made: Embedder = getattr(embedders, f"{kind}_embedder")(name)
            return made
        case "openai-compatible" if found := _SERVED.fullmatch(name):
            return embedders.openai_compatible_embedder(found["name"], base_url=found["url"])
    raise Misuse(f"--embedder {text}: it takes {EMBEDDERS}")


# -- ingesting --


def ingested(place: str, file: Path | None, embedder: str, *, prune: bool, workers: int) -> int:
    """Bring the index of *place* to what the documents there are; the exit code."""
    chosen, file = chosen_embedder(embedder), index_file(place, file)
    report = _ingested(_opened(file), place, chosen, prune=prune, workers=workers)
    for notice in report.notices:
        aside(notice)
    for copy in report.duplicates:
        aside(f"{shown_path(copy.key)} is {copy.likeness:.0%} the same as {shown_path(copy.of)}")
    say(f"{told(report)}\n")
    aside(f"in {file}")
    return 1 if report.failed and not report.new + report.changed + report.unchanged else 0


def _ingested(index: Index[Any], place: str, embedder: Embedder | None, **how: Any) -> Report:
    """The same, with a bar while it lasts; what could not be read is told."""
    with _executor(how.pop("workers", 0)) as executor, _bar() as progress:
        report = ingest(
            index,
            place,
            embedder=embedder,
            chunker=chunking(size=_SIZE, how="page"),
            progress=progress,
            executor=executor,
            **how,
        )
    for each in report.failed:
        complain(f"{shown_path(each.source)}: {each.error}")
    return report


@contextmanager
def _executor(workers: int) -> Iterator[Any]:
    """So many processes, if any."""
    if not workers:
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    ignoring = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; this process ends the others
    with ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, ignoring) as executor:
        yield executor


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None] | None]:
    """A bar with the rate and the time left, if somebody looks on."""
    if not is_watched(sys.stderr):
        yield None
        return
    from rich import progress as bars
    from rich.console import Console

    rate = bars.TextColumn("{task.fields[rate]:.1f}/s")
    columns = (bars.BarColumn(), bars.MofNCompleteColumn(), rate, bars.TextColumn("{task.fields[left]}"))
    with bars.Progress(bars.TextColumn("reading"), *columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate=0.0, left="")

        def tell(now: Progress) -> None:
            left = "" if now.left is None else f"{_span(now.left)} left"
            bar.update(task, completed=now.done, total=now.total, rate=now.rate, left=left)

        yield tell


def _span(seconds: float) -> str:
    """*seconds* for people.

    >>> _span(7.4), _span(75), _span(7325)
    ('7 s', '1:15', '2:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def told(report: Report) -> str:
    """*report* in a line.

    >>> told(Report(documents=3, new=2, unchanged=1, chunks=40, seconds=0.5))
    '3 documents: 2 new, 1 unchanged; 40 chunks written in 0.5 s'
    """
    states = {
        "new": report.new,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "without text": len(report.skipped),
        "unreadable": len(report.failed),
        "gone": len(report.gone),
    }
    parts = ", ".join([f"{count:,} {name}" for name, count in states.items() if count]) or "none"
    cost = f", ${report.cost:.4f}" if report.cost else ""
    documents = "1 document" if report.documents == 1 else f"{report.documents:,} documents"
    return f"{documents}: {parts}; {report.chunks:,} chunks written in {report.seconds:.1f} s{cost}"


# -- searching --


def searched(question: str, place: str, file: Path | None, embedder: str, *, as_json: bool, **how: Any) -> int:
    """Print what is found; 1 where nothing is."""
    file = index_file(place, file)
    hits = _found(question, file, chosen_embedder(embedder), **how)
    for link, hit in zip(links(hits), hits, strict=True):
        if as_json:
            fields = hit.fields
            line = {"source": fields.source, "page": fields.page, "section": fields.section, "score": hit.score}
            say(f"{dumps({**line, 'text': hit.text}).decode()}\n")
        else:
            _show(link, hit.fields.source)
            say(f"    {_short(hit.text)}\n")
    if hits:
        return 0
    if not sqlite_index(file).count():
        raise Misuse(f"the index is empty ({file}): arshai-kit ingest DIR fills it")
    complain("nothing was found")
    return 1


def _found(question: str, file: Path, embedder: Embedder | None, *, mode: str = "", **how: Any) -> Hits:
    """The passages in the index in *file* that answer *question*."""
    if embedder is None and mode not in ("", "sparse"):
        raise Misuse(f"--mode {mode} asks by meaning, and --embedder none knows no meaning: leave out one of them")
    if not file.exists():
        raise Misuse(f"there is no index yet ({file}): arshai-kit ingest DIR makes one")
    chosen: Any = mode or ("sparse" if embedder is None else "hybrid")
    with waiting("searching"):
        return retrieve(_opened(file), question, embedder=embedder, mode=chosen, **how)


def _show(link: Link, source: str) -> None:
    """A line that says where a passage is from, and leads there where a terminal can."""
    place = f", page {link.page}" if link.page is not None else ""
    section = f" § {' > '.join(link.section)}" if link.section else ""
    linked(f"[{link.number}] {shown_path(source)}{place}{section}", address(link.target))


def shown_path(source: str) -> str:
    """*source* as short as it can be from here."""
    try:
        return str(Path(source).relative_to(Path.cwd()))
    except ValueError:
        return source


def address(target: str) -> str:
    """What a terminal opens for the *target* of a link.

    >>> address("/docs/a%20b.pdf#page=3"), address("https://example.org/a"), address("notes.md")
    ('file:///docs/a%20b.pdf#page=3', 'https://example.org/a', '')
    """
    return target if "://" in target else f"file://{target}" if target.startswith("/") else ""


def _short(text: str) -> str:
    """*text* in a few lines."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


# -- answering --


def answered(
    model: Model | None,
    question: str,
    heard: Heard,
    place: str | None,
    file: Path | None,
    embedder: str,
    **how: Any,
) -> int:
    """Answer *question* out of the documents at *place*, or of an index as it is; say where from; the exit code.

    Without a *model*, the answer is what the documents say, in their own words.
    """
    chosen, where = chosen_embedder(embedder), index_file(place or ".", file)
    if place is not None:
        _ingested(_opened(where), place, chosen, prune=True)
    hits = _found(question, where, chosen)
    if not hits:
        complain(f"nothing in {place or where} has to do with this")
        return 3
    if model is None or model.provider == "local":
        given = tuple([each for hit in hits[:_FEW] for each in compress([hit], tokens=_SMALL, question=question)])
    else:
        given = compress(hits, tokens=_LARGE, question=question)
    if model is None:
        return _quoted(given)
    code = answer(model, _prompt(model, question, given), heard, **how)
    if not how["as_json"] and how["output"] is None:
        _sources(heard.text, given)
    return code


def _prompt(model: Model, question: str, given: Hits) -> Prompt:
    """What *model* is asked: one that is very small is asked for no more than a sentence."""
    if model.provider != "local":
        return cite(question, given)
    texts = "\n".join([_plain(hit.text) for hit in given])
    return user(f"{texts}\n\nAnswer the question in one sentence, by the text above: {question}")


def _quoted(given: Hits) -> int:
    """Say what the documents say."""
    for number, hit in enumerate(given, 1):
        say(f"{_plain(hit.text)} [{number}]\n\n")
    for link, hit in zip(links(given), given, strict=True):
        _show(link, hit.fields.source)
    return 0


def _plain(text: str) -> str:
    r"""*text* in a line, without what marks the ends of what was left out.

    >>> _plain("[…] Rain falls.\n\nSnow lies. […]")
    'Rain falls. Snow lies.'
    """
    return " ".join(text.split()).removeprefix(GAP).removesuffix(GAP).strip()


def _sources(text: str, given: Hits) -> None:
    """Say where an answer is from: what it names, or what bears it; and what in it nothing bears."""
    found = check(text, given)
    used = set(found.cited) or {number for each in found.sentences for number in each.passages[:1]}
    say("\n")
    for link, hit in zip(links(given), given, strict=True):
        if link.number in used or not used:
            _show(link, hit.fields.source)
    for sentence in found.unsupported:
        aside(f"no passage bears this: {_short(sentence.text)}", "yellow")
