"""What an ingest costs, against the same work by hand: `python -m benchmarks.ingest [--quick] [--markdown FILE]`.

Both sides use one reader of documents, one splitter, one embedder and `sqlite3`, and know what has not changed by the
hash of its bytes. The folder holds Markdown. Memory is that of a process of its own for each number of documents.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from arshai_kit.chunking import Chunk, chunking
from arshai_kit.chunking.duplicates import Seen, signature
from arshai_kit.documents import Document, read
from arshai_kit.index import sqlite_index
from arshai_kit.retrieval import ingest
from benchmarks.contest import CONTROL, HAND, KIT
from benchmarks.hashing import DIMENSIONS, Hashed, hashed
from benchmarks.measure import Figures, Sampler, counts, median, ratio, taken
from benchmarks.table import HEAD as LINES
from benchmarks.table import Line, markdown, measured_on, publish, readable

TEXTS = Path(__file__).parent.parent / "tests/retrieval/labelled/documents/python"
WORDS = " ".join(each.read_text(encoding="utf-8") for each in sorted(TEXTS.glob("*.txt"))).split()
SECTIONS, PARAGRAPH = 20, 90
"""A document of the large folder has so many sections, each a paragraph of so many words: a chunk."""
CHUNKER = chunking(size=700, by="characters")
BATCH = 256
NAMES = count()
WORK = {
    "new": "ingest of {:,} chunks",
    "copies": "the same, near-copies found, as is the default",
}
AGAIN = ("documents, unchanged", "each by hand", "each by us", "ratio")
MEMORY = ("documents", "chunks", "peak memory", "more than with the fewest")


def folder_of(folder: Path, documents: int, sections: int = SECTIONS) -> Path:
    """*folder*, filled with so many documents."""
    chance = random.Random(7)  # noqa: S311  # everyone gets the same
    for number in range(documents):
        parts = [f"# Document {number}\n"]
        for section in range(sections):
            parts.append(f"## Part {section} of {number}\n\n{' '.join(chance.choices(WORDS, k=PARAGRAPH))}.\n")
        (folder / f"{number:06}.md").write_text("\n".join(parts))
    return folder


# -- by hand --

SCHEMA = """
create table if not exists passages (
    id text primary key, source text, hash text, number int, "start" int, "end" int, page int, section text,
    title text, author text, created text, language text, media_type text, text text, vector blob
);
create index if not exists by_source on passages (source);
create index if not exists by_language on passages (language);
create virtual table if not exists words using fts5 (text, content='');
"""


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A database with places for passages, their vectors and their words."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
        db.executescript(SCHEMA)
        yield db


def by_hand(folder: Path, path: Path, *, copies: bool = False) -> int:
    """What whoever does not use us would write: how many passages are there; told of near-copies, if asked."""
    seen = Seen[str](0.9)
    with opened(path) as db:
        known = dict(db.execute("select distinct source, hash from passages"))
        waiting: list[tuple[Document, str, Chunk]] = []
        for file in sorted(folder.iterdir()):
            digest = sha256(file.read_bytes()).hexdigest()
            if known.get(str(file)) == digest:
                continue
            document = read(file)
            if str(file) in known:
                with db:
                    told = "select rowid, title, section, text from passages where source = ?"
                    old = [(row, headed(t, json.loads(s), x)) for row, t, s, x in db.execute(told, (str(file),))]
                    db.executemany("insert into words (words, rowid, text) values ('delete', ?, ?)", old)
                    db.execute("delete from passages where source = ?", (str(file),))
            if copies:
                seen.add(str(file), signature(document.text))
            waiting += [(document, digest, piece) for piece in CHUNKER(document)]
            while len(waiting) >= BATCH:
                written(db, waiting[:BATCH])
                del waiting[:BATCH]
        if waiting:
            written(db, waiting)
        (found,) = db.execute("select count(*) from passages").fetchone()
        return int(found)


def headed(title: str, section: Sequence[str], text: str) -> str:
    """A text under its headings."""
    return f"{' > '.join([title, *section])}\n\n{text}"


def written(db: sqlite3.Connection, waiting: Sequence[tuple[Document, str, Chunk]]) -> None:
    """Embed what waits, each under its headings, and write it; its words are those of the headings too."""
    told = [headed(document.title, piece.section, piece.text) for document, _, piece in waiting]
    data, size = hashed(told).tobytes(), 4 * DIMENSIONS
    rows = [
        (
            sha256(f"{document.source}\0{piece.number}\0{piece.text}".encode()).hexdigest(),
            document.source,
            digest,
            piece.number,
            piece.start,
            piece.end,
            piece.page,
            json.dumps(piece.section),
            document.title,
            document.author,
            document.created,
            document.language,
            document.media_type,
            piece.text,
            data[place * size : (place + 1) * size],
        )
        for place, (document, digest, piece) in enumerate(waiting)
    ]
    with db:
        for row, text in zip(rows, told, strict=True):
            done = db.execute(f"insert into passages values ({','.join('?' * 15)})", row)  # noqa: S608  # only marks
            db.execute("insert into words (rowid, text) values (?, ?)", (done.lastrowid, text))


# -- ours --


def ours(folder: Path, path: Path, *, copies: bool = False) -> int:
    """The same by us."""
    with closing(sqlite_index(path)) as index:
        report = ingest(index, folder, embedder=Hashed(), chunker=CHUNKER, similar=0.9 if copies else None)
        assert not report.failed, report.failed
        return int(index.statistics().entries)


# -- both, in turn --


def sample(work: Callable[[Path, Path], int], folder: Path, place: Path, how: str, chunks: int) -> Figures:
    """What *work* takes into a new database, or into one that it has filled before."""
    path = place / f"{next(NAMES)}.db"
    if how == "again":
        work(folder, path)
    began = time.process_time_ns()
    found = work(folder, path)
    return {"cpu": time.process_time_ns() - began, "errors": float(found != chunks)}


def unchanged(folder: Path, place: Path, rounds: int) -> tuple[str, ...]:
    """What it costs to learn that nothing has changed."""
    works = {HAND: by_hand, KIT: ours}
    samplers: dict[str, Sampler] = {
        name: partial(sample, work, folder, place, "again", 0) for name, work in works.items()
    }
    found, documents = taken(samplers, rounds), len(list(folder.iterdir()))
    each = [readable("cpu", median(found, name) / documents) for name in works]
    return (f"{documents:,}", *each, str(ratio(found, KIT, HAND)))


def line(how: str, folder: Path, place: Path, rounds: int, chunks: int) -> Line:
    """One row of the table."""
    copies = how == "copies"
    works = {HAND: partial(by_hand, copies=copies), KIT: partial(ours, copies=copies)}
    works[CONTROL] = works[HAND]
    samplers: dict[str, Sampler] = {
        name: partial(sample, work, folder, place, how, chunks) for name, work in works.items()
    }
    found = taken(samplers, rounds)
    control = ratio(found, CONTROL, HAND)
    errors = round(sum(each[name]["errors"] for each in found for name in works))
    return Line(
        how, WORK[how].format(chunks), ratio(found, KIT, HAND), 1.2, control, readable("cpu", median(found, HAND)),
        counts=counts(control), pairs=rounds, errors=errors,
    )  # fmt: skip


# -- memory --


def child(documents: int) -> None:
    """Ingest so many documents of one section into a file, and print the most memory that was had."""
    with TemporaryDirectory() as place:
        folder = Path(place) / "documents"
        folder.mkdir()
        chunks = ours(folder_of(folder, documents, 2), Path(place) / "index.db")
        print(json.dumps([chunks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))


def memory(sizes: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """The rows of the table of memory."""
    least = 0.0
    for size in sizes:
        command = [sys.executable, "-m", "benchmarks.ingest", "--child", str(size)]
        chunks, peak = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)  # noqa: S603
        least = least or peak
        yield f"{size:,}", f"{chunks:,}", readable("rss", peak), readable("rss", peak - least)


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit code says nothing about speed, which depends on the machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--documents", type=int, default=500, help=f"of {SECTIONS} chunks each (500)")
    parser.add_argument("--rounds", type=int, default=7, help="ingests of each (7)")
    parser.add_argument("--sizes", default="100,1000,10000", help="documents, for the memory")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args(given)
    if asked.child:
        child(asked.child)
        return 0
    if asked.quick:
        asked.documents, asked.rounds, asked.sizes = 5, 2, "5,20"
    with TemporaryDirectory() as place:
        (folder := Path(place) / "documents").mkdir()
        folder_of(folder, asked.documents)
        chunks = by_hand(folder, Path(place) / "first.db")
        rounds = max(2, asked.rounds)
        lines = [line(how, folder, Path(place), rounds, chunks) for how in WORK]
        again = unchanged(folder, Path(place), rounds)
    tables = [
        markdown(LINES, [each.cells() for each in lines]),
        markdown(AGAIN, [again]),
        markdown(MEMORY, memory([int(size) for size in asked.sizes.split(",")])),
    ]
    publish("\n\n".join([*tables, f"{measured_on(packages=('numpy',))}\n"]), asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
