"""Real models in this process, without key or network: `local()` answers, `local_embedder()` gives vectors."""

from __future__ import annotations

from arshai_kit.local.embedder import LocalEmbedder, local_embedder
from arshai_kit.local.model import LocalModel, local

__all__ = ["LocalEmbedder", "LocalModel", "local", "local_embedder"]
