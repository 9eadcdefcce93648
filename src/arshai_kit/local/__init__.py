"""A real model in this process, without key or network: `local()`."""

from __future__ import annotations

from arshai_kit.local.model import LocalModel, local

__all__ = ["LocalModel", "local"]
