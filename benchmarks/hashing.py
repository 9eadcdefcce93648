"""An embedder that costs next to nothing, and whose vectors mean nothing: what is around it is what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import shake_128
from typing import Any

DIMENSIONS = 384


def hashed(texts: Sequence[str]) -> Any:
    """A vector of the length 1 for each of *texts*, as rows of one array."""
    import numpy as np

    drawn = b"".join([shake_128(text.encode()).digest(DIMENSIONS) for text in texts])
    rows = np.frombuffer(drawn, np.int8).reshape(len(texts), DIMENSIONS).astype("<f4")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Hashed:
    """The same as an embedder of the library's."""

    name = "hashed"
    provider = "benchmarks"
    dimensions = DIMENSIONS
    max_batch: int | None = None
    max_bytes: int | None = None

    def embed(self, texts: Sequence[str], *, kind: Any) -> Any:  # noqa: ARG002  # all are alike
        """The vectors of *texts*, as a plan."""
        from decimal import Decimal

        from arshai_kit.records import Usage
        from arshai_kit.records.vectors import Embeddings, Vector

        yield from ()
        data = hashed(texts).tobytes()
        size = 4 * DIMENSIONS
        vectors = [Vector(data[start : start + size]) for start in range(0, len(data), size)]
        return Embeddings(vectors, Usage(), Decimal(0), self.name, self.provider)
