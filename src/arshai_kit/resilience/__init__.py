"""What wraps a model is a model: each policy is a visible value, explicit about what it shares, and stacks at will."""

from __future__ import annotations

__all__: list[str] = []
