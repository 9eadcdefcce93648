"""What wraps a model is a model: each policy is a visible value, explicit about what it shares, and stacks at will."""

from __future__ import annotations

from arshai_kit.batches import Arrivals, batch, batch_stream
from arshai_kit.resilience.balancing import Balance, balanced, out_of_order
from arshai_kit.resilience.breakers import Circuit, CircuitRules, breaker, unwell
from arshai_kit.resilience.budgets import Alert, Budget, budgeted
from arshai_kit.resilience.caching import Cached, cached
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
