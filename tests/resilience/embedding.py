"""A program that embeds the texts 0 … COUNT, and says how far it is: `embedding.py FILE COUNT`.

Its vectors are kept in the SQLite file FILE. It begins when it is told to, by a line, and waits for another after each
request.
"""

from __future__ import annotations

import sys

from arshai_kit.embeddings import EmbeddingProgress, embed
from arshai_kit.resilience import SqliteCache, cached
from arshai_kit.testing import hashed_embedder

__all__: list[str] = []


def main(path: str, count: str) -> None:
    """Embed, one request after the other."""
    embedder = cached(hashed_embedder(dimensions=8, max_batch=5), SqliteCache(path))

    def told(progress: EmbeddingProgress) -> None:
        print(progress.done, flush=True)
        sys.stdin.readline()

    embed(embedder, [f"text {number}" for number in range(int(count))], side_by_side=1, progress=told)


if __name__ == "__main__":
    main(*sys.argv[1:])
