"""Providers are values: a name, an address and a key make a model, or an embedder."""

from typing import TYPE_CHECKING, Any

from arshai_kit.providers.common import Options
from arshai_kit.providers.compatible import openai_compatible

if TYPE_CHECKING:
    from arshai_kit.providers.embedders import (
        azure_embedder,
        gemini_embedder,
        openai_compatible_embedder,
        openai_embedder,
    )

__all__ = [
    "Options",
    "azure_embedder",
    "gemini_embedder",
    "openai_compatible",
    "openai_compatible_embedder",
    "openai_embedder",
]


def __getattr__(name: str) -> Any:
    """An embedder's constructor, imported when it is asked for: whoever only talks to models needs none."""
    if not name.endswith("_embedder"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("arshai_kit.providers.embedders"), name)
