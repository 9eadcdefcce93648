"""What stands inside a wrapper: a state that is asked twice by one call waits for itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from arshai_kit.models import is_model

__all__ = ["is_within", "within"]


def within(value: Any) -> Iterator[Any]:
    """*value*, its policy if it has one, and all models, agents and embedders that it is seen to ask; no code is."""
    yield value
    inside = (getattr(value, "model", None), *getattr(value, "models", ()))
    inner = [each for each in inside if is_model(each)]
    if type(value).__module__.startswith("arshai_kit.resilience."):
        yield getattr(value, "policy", None)
        asked = (getattr(value, "agent", None), getattr(value, "embedder", None), *getattr(value, "agents", ()))
        inner += [each for each in asked if each is not None]
    for each in inner:
        yield from within(each)


def is_within(value: Any, name: str, state: Any) -> bool:
    """Whether *state* is the one that *value*, or what it asks, has as its *name*."""
    return any(_same(getattr(each, name, None), state) for each in within(value))


def _same(one: Any, other: Any) -> bool:
    """Whether two states are one; those in a store are by their place there."""
    if one is other:
        return True
    places = [getattr(getattr(each, "_store", None), "place", None) for each in (one, other)]
    return None not in places and places[0] == places[1]
