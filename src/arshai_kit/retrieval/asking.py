"""How an index is asked, whoever made it, and whose vectors it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from arshai_kit.effects import Instant, Plan, call, planned
from arshai_kit.errors import Misuse
from arshai_kit.index import Hit, Index

if TYPE_CHECKING:
    from arshai_kit.embeddings import Embedder

__all__ = ["asked", "embedding", "indexed", "passages_of", "space"]


def asked(index: Index[Any], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Plan[Any]:
    """What *function* of *index* answers: as a plan if it has one, in place if it is in memory, else by a worker."""
    if index.in_memory and planned(function) is None:
        return (yield from Instant(function, *args, **kwargs))
    return (yield from call(function, *args, **kwargs))


def space(embedder: Embedder) -> str:
    """Whose vectors *embedder* gives; those of different spaces cannot be compared.

    >>> from types import SimpleNamespace as Made
    >>> space(Made(provider="openai", name="text-embedding-3-small", dimensions=512))
    'openai/text-embedding-3-small#512'
    """
    dimensions = embedder.dimensions
    return f"{embedder.provider}/{embedder.name}{f'#{dimensions}' if dimensions else ''}"


def indexed(value: Any) -> Index[Any]:
    """*value*, if it is an index."""
    if not isinstance(value, Index):
        raise Misuse(f"the first argument is an index, as sqlite_index(path) makes one, not {type(value).__name__}")
    return value


def embedding(value: Any) -> Embedder:
    """*value*, if it gives vectors."""
    if not hasattr(value, "embed"):
        raise Misuse(f"embedder= is one, as local_embedder() makes it, not {type(value).__name__}")
    return value  # type: ignore[no-any-return]  # looked at


def passages_of(value: Iterable[Hit[Any]]) -> tuple[Hit[Any], ...]:
    """*value*, if it is hits."""
    hits = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    for each in hits:
        if not isinstance(each, Hit):
            raise Misuse(f"hits are passages that were found, as retrieve gives them, not {type(each).__name__}")
    if isinstance(value, Hit):
        raise Misuse("hits are several: [hit] is one of them")
    return hits
