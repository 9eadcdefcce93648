"""One folder made searchable and asked, in a process of its own: `ragchild.py WHO EMBEDDER FOLDER` prints figures.

Run as a script, not with -m: what a process imports is part of what it costs, so nothing is imported before its time.
WHO is one of `WHO`; EMBEDDER is `hashed` (costs next to nothing) or `minilm`, the same code for everyone.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)

SIZE = 1600
"""Of a chunk, in characters, without overlap, for everyone."""
ASKED = "How much free disk space does VACUUM need?"
TIMES = 50


def ours(embedder: str, folder: str, path: str) -> tuple[int, Callable[[], object]]:
    """An ingest: how many chunks there are, and how to ask."""
    from functools import partial

    from arshai_kit.chunking import chunk
    from arshai_kit.index import EVERYTHING, in_memory_index, sqlite_index
    from arshai_kit.retrieval import ingest, retrieve

    index = sqlite_index(path) if path else in_memory_index()
    asking = _embedder(embedder)
    report = ingest(index, folder, embedder=asking, chunker=partial(chunk, size=SIZE, overlap=0, by="characters"))
    assert report.new, report
    assert not report.failed, report
    return index.count(EVERYTHING), lambda: retrieve(index, ASKED, embedder=asking, mode="dense")


def _embedder(name: str) -> Any:
    if name == "hashed":
        from benchmarks.hashing import Hashed

        return Hashed()
    from arshai_kit.local import local_embedder

    return local_embedder()


def theirs(embedder: str, folder: str, path: str) -> tuple[int, Callable[[], object]]:
    """A loader, a splitter and a vector store of langchain: as its tutorials have them."""
    from langchain_community.document_loaders import BSHTMLLoader, DirectoryLoader, TextLoader
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    utf = {"encoding": "utf-8"}
    loaders = [
        DirectoryLoader(folder, glob=f"**/*.{kind}", loader_cls=TextLoader, loader_kwargs=utf) for kind in ("md", "txt")
    ]
    pages = DirectoryLoader(folder, glob="**/*.html", loader_cls=BSHTMLLoader, loader_kwargs={"open_encoding": "utf-8"})
    documents = [document for loader in (*loaders, pages) for document in loader.load()]
    splitter = RecursiveCharacterTextSplitter(chunk_size=SIZE, chunk_overlap=0)
    pieces = splitter.split_documents(documents)
    store = _store(path)(_embeddings(embedder))
    store.add_documents(pieces)
    return len(pieces), lambda: store.similarity_search(ASKED, k=8)


def _store(path: str) -> Callable[[Any], Any]:
    if not path:
        from langchain_core.vectorstores import InMemoryVectorStore

        made: Callable[[Any], Any] = InMemoryVectorStore
        return made
    import faiss
    from langchain_community.docstore.in_memory import InMemoryDocstore
    from langchain_community.vectorstores import FAISS

    from benchmarks.hashing import DIMENSIONS

    return lambda embeddings: FAISS(embeddings, faiss.IndexFlatIP(DIMENSIONS), InMemoryDocstore(), {})


def _embeddings(name: str) -> Any:
    """The same vectors for them; their class is there only where they are installed."""
    from langchain_core.embeddings import Embeddings

    return type("Same", (_Same, Embeddings), {})(_vectors(name))


class _Same:
    """What their embeddings do."""

    def __init__(self, vectors: Callable[[list[str]], Any]) -> None:
        self._vectors = vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [list(map(float, vector)) for vector in self._vectors(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def _vectors(name: str) -> Callable[[list[str]], Any]:
    if name == "hashed":
        from benchmarks.hashing import hashed

        return hashed
    from arshai_kit import embed
    from arshai_kit.local import local_embedder

    embedder = local_embedder()
    return lambda texts: embed(embedder, texts)


WHO: dict[str, tuple[Callable[[str, str, str], tuple[int, Callable[[], object]]], bool]] = {
    "kit": (ours, False),
    "kit in a file": (ours, True),
    "langchain": (theirs, False),
    "langchain with FAISS": (theirs, True),
}


def main(who: str, embedder: str, folder: str) -> None:
    """Do it, and print what it took."""
    began, work = time.process_time_ns(), WHO[who]
    with TemporaryDirectory() as place:
        chunks, ask = work[0](embedder, folder, str(Path(place) / "index.db") if work[1] else "")
        filled = time.process_time_ns()
        ask()
        asked = time.process_time_ns()
        for _ in range(TIMES):
            ask()
        each = (time.process_time_ns() - asked) / TIMES
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"cpu": filled - began, "ask": each, "rss": peak, "chunks": chunks}))


if __name__ == "__main__":
    main(*sys.argv[1:])
