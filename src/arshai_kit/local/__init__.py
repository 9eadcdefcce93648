"""Real models in this process, without key or network: `local()` answers, `local_embedder()` gives vectors.

A name is imported from its module when it is first asked for: who embeds does not pay for who answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arshai_kit.local.embedder import LocalEmbedder, local_embedder
    from arshai_kit.local.model import LocalModel, local
    from arshai_kit.local.transforming import SentenceTransformerEmbedder, sentence_transformer

__all__ = [
    "LocalEmbedder",
    "LocalModel",
    "SentenceTransformerEmbedder",
    "local",
    "local_embedder",
    "sentence_transformer",
]

_HOMES = {
    "embedder": ("LocalEmbedder", "local_embedder"),
    "model": ("LocalModel", "local"),
    "transforming": ("SentenceTransformerEmbedder", "sentence_transformer"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """The public *name*, from its home."""
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"arshai_kit.local.{_HOME[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
