"""Providers are values: a name, an address and a key make a model, or an embedder."""

from typing import TYPE_CHECKING, Any

from arshai_kit.providers.azure import azure
from arshai_kit.providers.common import Options
from arshai_kit.providers.compatible import openai_compatible
from arshai_kit.providers.gateway import gateway
from arshai_kit.providers.gemini import gemini
from arshai_kit.providers.openai import openai, retrieve
from arshai_kit.providers.openrouter import openrouter

if TYPE_CHECKING:
    from arshai_kit.providers.embedders import (
        azure_embedder,
        gemini_embedder,
        openai_compatible_embedder,
        openai_embedder,
    )
    from arshai_kit.providers.named import model

__all__ = [
    "Options",
    "azure",
    "azure_embedder",
    "gateway",
    "gemini",
    "gemini_embedder",
    "model",
    "openai",
    "openai_compatible",
    "openai_compatible_embedder",
    "openai_embedder",
    "openrouter",
    "retrieve",
]


def __getattr__(name: str) -> Any:
    """What is imported when it is asked for: whoever only talks to models needs no embedders, and no names for them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"arshai_kit.providers.{'named' if name == 'model' else 'embedders'}"), name)
    globals()[name] = found
    return found
