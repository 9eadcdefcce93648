"""Providers are values: a name, an address and a key make a model."""

from arshai_kit.providers.common import Options
from arshai_kit.providers.compatible import openai_compatible

__all__ = ["Options", "openai_compatible"]
