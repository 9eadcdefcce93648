"""A program that embeds the texts 0 … COUNT, and says how far it is: `embedding.py FILE COUNT`.

Its vectors are kept in the SQLite file FILE. Before each request, it waits for a line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from attrs import frozen

from arshai_kit.effects import Call, Plan
from arshai_kit.embeddings import EmbeddingProgress, Embeddings, Kind, embed
from arshai_kit.resilience import SqliteCache, cached
from arshai_kit.testing import hashed_embedder
from arshai_kit.testing.embedder import HashedEmbedder

__all__: list[str] = []


@frozen
class Waiting(HashedEmbedder):
    """An embedder that waits for a line."""

    def embed(self, texts: Sequence[str], *, kind: Kind = None) -> Plan[Embeddings]:
        """The vectors of *texts*, once it may."""
        yield from Call(sys.stdin.readline)
        return (yield from hashed_embedder(dimensions=self.dimensions).embed(texts, kind=kind))


def main(path: str, count: str) -> None:
    """Embed, one request after the other."""
    embedder = cached(Waiting(8, 5), SqliteCache(path))

    def told(progress: EmbeddingProgress) -> None:
        print(progress.done, flush=True)

    embed(embedder, [f"text {number}" for number in range(int(count))], side_by_side=1, progress=told)


if __name__ == "__main__":
    main(*sys.argv[1:])
