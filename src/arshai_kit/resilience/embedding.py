"""Around an embedder: whoever wraps one is asked in its place, and has its name, its limits and what it knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from arshai_kit._record import Record
from arshai_kit.effects import Plan
from arshai_kit.models import is_model
from arshai_kit.records.vectors import Embeddings, Kind

__all__ = ["EmbedderAround", "PolicedEmbedder", "is_embedder"]


@frozen(eq=False, repr=False)
class EmbedderAround(Record):
    """An embedder that wraps another; what that does not have, this one has not either."""

    embedder: Any

    @property
    def name(self) -> str:
        """What the wrapped embedder is called."""
        return self.embedder.name  # type: ignore[no-any-return]  # a string

    @property
    def provider(self) -> str:
        """Who provides the wrapped embedder."""
        return self.embedder.provider  # type: ignore[no-any-return]

    @property
    def dimensions(self) -> int | None:
        """How many numbers a vector is to have."""
        return self.embedder.dimensions  # type: ignore[no-any-return]

    @property
    def max_batch(self) -> int | None:
        """The most texts that the wrapped embedder takes at a time."""
        return self.embedder.max_batch  # type: ignore[no-any-return]

    @property
    def max_bytes(self) -> int | None:
        """The most bytes that it takes at a time."""
        return self.embedder.max_bytes  # type: ignore[no-any-return]

    @property
    def max_batch_tokens(self) -> int | None:
        """The most tokens that it takes at a time."""
        return self.embedder.max_batch_tokens  # type: ignore[no-any-return]

    @property
    def max_tokens(self) -> int | None:
        """The most tokens that it reads of a text."""
        return self.embedder.max_tokens  # type: ignore[no-any-return]

    @property
    def count(self) -> Callable[[str], int]:
        """How it counts the tokens of a text."""
        return self.embedder.count  # type: ignore[no-any-return]

    @property
    def kept(self) -> Callable[..., Any]:
        """What it knows already."""
        return self.embedder.kept  # type: ignore[no-any-return]

    def keyed(self, kind: Kind) -> Any:
        """What its vectors depend on, besides their texts and its names."""
        inner = self.embedder
        return inner.keyed(kind) if hasattr(inner, "keyed") else kind


@frozen(eq=False, repr=False)
class PolicedEmbedder(EmbedderAround):
    """An embedder around each request of which *policy* does what it does around a call."""

    policy: Any

    def embed(self, texts: Sequence[str], *, kind: Kind = None) -> Plan[Embeddings]:
        """What the embedder gives, as *policy* lets it."""
        return self.policy.around(lambda: self.embedder.embed(texts, kind=kind), self.name)  # type: ignore[no-any-return]


def is_embedder(value: Any) -> bool:
    """Whether *value* gives vectors, and is no model.

    >>> from arshai_kit.testing import hashed_embedder
    >>> is_embedder(hashed_embedder()), is_embedder(len)
    (True, False)
    """
    return not is_model(value) and callable(getattr(value, "embed", None)) and hasattr(value, "name")
