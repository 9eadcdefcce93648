"""A folder made searchable by `ingest`, and by langchain's loaders, splitter and vector stores, with one embedder.

    python -m benchmarks.langchain_rag --theirs VENV/bin/python [--ours VENV/bin/python] [--quick] [--markdown FILE]

Each sample is a process of its own, from its first import on. In the environment of *theirs* are langchain-community,
langchain-text-splitters, beautifulsoup4 and faiss-cpu; that of *ours* is by default this one. Without *theirs*, ours
is measured alone. The folder is that of the labelled set, so many times over, each copy with a line of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.retrieval.labelled import DOCUMENTS

from benchmarks.measure import Figures, Sampler, median, ratio, taken
from benchmarks.ragchild import WHO
from benchmarks.table import markdown, measured_on, publish, readable

CHILD = Path(__file__).with_name("ragchild.py")
HEAD = ("by", "chunks", "CPU in all", "times ours", "CPU of a question", "times ours", "peak memory", "times ours")


def copies(folder: Path, times: int, kind: str = "*") -> int:
    """Fill *folder* with the documents, *times* over; how many files there are."""
    files = [each for each in sorted(DOCUMENTS.rglob(kind)) if each.is_file()]
    for number in range(times):
        for each in files:
            path = folder / f"copy {number}" / each.relative_to(DOCUMENTS)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(each.read_bytes() + f"\nCopy {number} of {each.name}.\n".encode())
    return len(files) * times


def sample(python: str, who: str, embedder: str, folder: Path) -> Figures:
    """What one process took."""
    path = os.pathsep.join(each for each in (str(Path("src").resolve()), os.environ.get("PYTHONPATH", "")) if each)
    done = subprocess.run(  # noqa: S603  # our own script
        [python, CHILD, who, embedder, folder],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
    )
    return {name: float(figure) for name, figure in json.loads(done.stdout).items()}


def lines(embedder: str, folder: Path, pythons: Mapping[str, str], rounds: int) -> list[tuple[str, ...]]:
    """A table of all, with one embedder."""
    samplers: dict[str, Sampler] = {
        who: partial(sample, python, who, embedder, folder) for who, python in pythons.items()
    }
    found = taken(samplers, rounds)
    return [
        (
            who,
            f"{median(found, who, 'chunks'):,.0f}",
            readable("cpu", median(found, who)),
            str(ratio(found, who, "kit")),
            readable("cpu", median(found, who, "ask")),
            str(ratio(found, who, "kit", "ask")),
            readable("rss", median(found, who, "rss")),
            str(ratio(found, who, "kit", "rss")),
        )
        for who in samplers
    ]


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit code says nothing about speed, which depends on the machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.langchain_rag", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--theirs", default="", help="a Python that has langchain")
    parser.add_argument("--ours", default=sys.executable, help="a Python that has what we need (this one)")
    parser.add_argument("--copies", type=int, default=10, help="how often the documents are there (10)")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each (5)")
    parser.add_argument("--minilm", action="store_true", help="also with the real model, in one copy")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    asked = parser.parse_args(given)
    if asked.quick:
        asked.copies, asked.rounds = 1, 2
    pythons = {who: asked.ours if who.startswith("kit") else asked.theirs for who in WHO}
    told = []
    for embedder, times in [("hashed", asked.copies), ("minilm", 1)][: 2 if asked.minilm else 1]:
        with TemporaryDirectory() as place:
            files = copies(Path(place), times, "koans.*" if asked.quick else "*")
            print(f"{embedder}, {files} files …", file=sys.stderr, flush=True)
            there = {who: python for who, python in pythons.items() if python}
            table = markdown(HEAD, lines(embedder, Path(place), there, max(2, asked.rounds)))
            told.append(f"Of {files:,} files, with the embedder {embedder}:\n\n{table}")
    publish("\n\n".join([*told, f"{measured_on()}\n"]), asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
