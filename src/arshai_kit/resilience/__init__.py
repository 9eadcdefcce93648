"""What wraps a model is a model: each policy is a visible value, explicit about what it shares, and stacks at will.

A name is imported from its module when it is first asked for: who wraps nothing pays for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arshai_kit.batches import Arrivals, batch, batch_stream
    from arshai_kit.resilience.balancing import Balance, balanced, out_of_order
    from arshai_kit.resilience.breakers import Circuit, CircuitRules, breaker, unwell
    from arshai_kit.resilience.budgets import Alert, Budget, budgeted
    from arshai_kit.resilience.caching import Cached, cached
    from arshai_kit.resilience.caching_vectors import CachedEmbedder
    from arshai_kit.resilience.deadlines import deadline
    from arshai_kit.resilience.fallbacks import fallback, worth_another
    from arshai_kit.resilience.ledgers import Ledger
    from arshai_kit.resilience.limits import estimated_tokens, limited
    from arshai_kit.resilience.quotas import Quota
    from arshai_kit.resilience.shared import RedisCircuit, RedisQuota
    from arshai_kit.resilience.shared_ledgers import RedisLedger
    from arshai_kit.resilience.stores import Cache, MemoryCache, RedisCache, SqliteCache

__all__ = [
    "Alert",
    "Arrivals",
    "Balance",
    "Budget",
    "Cache",
    "Cached",
    "CachedEmbedder",
    "Circuit",
    "CircuitRules",
    "Ledger",
    "MemoryCache",
    "Quota",
    "RedisCache",
    "RedisCircuit",
    "RedisLedger",
    "RedisQuota",
    "SqliteCache",
    "balanced",
    "batch",
    "batch_stream",
    "breaker",
    "budgeted",
    "cached",
    "deadline",
    "estimated_tokens",
    "fallback",
    "limited",
    "out_of_order",
    "unwell",
    "worth_another",
]

_HOMES = {
    "batches": ("Arrivals", "batch", "batch_stream"),
    "resilience.balancing": ("Balance", "balanced", "out_of_order"),
    "resilience.breakers": ("Circuit", "CircuitRules", "breaker", "unwell"),
    "resilience.budgets": ("Alert", "Budget", "budgeted"),
    "resilience.caching": ("Cached", "cached"),
    "resilience.caching_vectors": ("CachedEmbedder",),
    "resilience.deadlines": ("deadline",),
    "resilience.fallbacks": ("fallback", "worth_another"),
    "resilience.ledgers": ("Ledger",),
    "resilience.limits": ("estimated_tokens", "limited"),
    "resilience.quotas": ("Quota",),
    "resilience.shared": ("RedisCircuit", "RedisQuota"),
    "resilience.shared_ledgers": ("RedisLedger",),
    "resilience.stores": ("Cache", "MemoryCache", "RedisCache", "SqliteCache"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """The public *name*, from its home."""
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"arshai_kit.{_HOME[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
