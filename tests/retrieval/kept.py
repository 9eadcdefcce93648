"""What tests of ingesting and of searching share: documents by hand, indexes, and everything that is in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from arshai_kit.chunking import Chunk, chunking
from arshai_kit.documents import Block, Document
from arshai_kit.effects import Plan
from arshai_kit.index import EVERYTHING, Entry, Index, Passage, in_memory_index
from arshai_kit.retrieval.reading import Cut, Task, cut
from arshai_kit.testing import hashed_embedder

EMBEDDER = hashed_embedder(dimensions=64)
SENTENCES = chunking(size=40, by="characters", how="sentence")

TEXTS: Mapping[str, str] = {
    "rivers.md": "The Karun rises in the Zagros. It ends in the Arvand Rud. Boats go up to Ahvaz.",
    "taxes.md": "Taxes are due in March. Late payment costs two percent. Ask the tax office for more time.",
    "birds.md": "Storks nest on chimneys. They fly south in August. Herons stay for the winter.",
}


def entries(document: Document, chunks: Iterable[Chunk], embedder: Any = EMBEDDER) -> list[Entry[Any]]:
    """The entries of *document* with their vectors, as an ingest makes them."""
    from arshai_kit.embeddings import embed

    made = cut(Task(found=document, kind=Passage), document, "m-a-de", tuple(chunks))
    vectors = embed(embedder, [each.text for each in made.entries]) if embedder else [None] * len(made.entries)
    return [evolve(each, vector=vector) for each, vector in zip(made.entries, vectors, strict=True)]


def filled(texts: Mapping[str, str] = TEXTS, embedder: Any = EMBEDDER) -> Index[Any]:
    """An index of *texts*, a chunk for each sentence."""
    index = in_memory_index()
    for source, text in texts.items():
        document = Document(text, source)
        found = entries(document, SENTENCES(document), embedder)
        index.upsert(found, "testing/hashed#64" if embedder else "")
    return index


def everything(index: Index[Any]) -> dict[str, Entry[Any]]:
    """All that is in *index*, by page."""
    found: dict[str, Entry[Any]] = {}
    after = ""
    while page := index.scan(EVERYTHING, after, 100):
        found |= {each.id: each for each in page}
        after = page[-1].id
    return found


def planned(function: Any) -> Any:
    """*function* as one that is run as a plan."""

    def plan(*args: Any, **kwargs: Any) -> Plan[Any]:
        return function(*args, **kwargs)
        yield

    def face(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("it has a plan")

    face.plan = plan  # type: ignore[attr-defined]
    return face


def awaited(function: Any) -> Any:
    """*function* as one that is awaited."""

    async def later(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return later


NAMES = ("upsert", "delete", "dense", "sparse", "get", "scan", "count", "statistics", "close")


def dressed(index: Index[Any], how: Any) -> Index[Any]:
    """*index*, all of whose functions are dressed as *how* says."""
    return evolve(index, **{name: how(getattr(index, name)) for name in NAMES})


def folder(path: Path, texts: Mapping[str, str] = TEXTS) -> Path:
    """A folder with *texts*."""
    path.mkdir(exist_ok=True)
    for name, text in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, "utf-8")
    return path


__all__ = [
    "EMBEDDER",
    "SENTENCES",
    "TEXTS",
    "Block",
    "Cut",
    "awaited",
    "dressed",
    "entries",
    "everything",
    "filled",
    "folder",
    "planned",
]
