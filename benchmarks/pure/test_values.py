"""Freezing JSON, and reading and writing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arshai_kit._json import dumps, freeze, loads
from benchmarks import wire

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


def test_freezing_arguments(benchmark: BenchmarkFixture) -> None:
    """What every tool call costs."""
    assert benchmark(freeze, {"city": "Tehran", "days": 3}) == {"city": "Tehran", "days": 3}


def test_freezing_200_items(benchmark: BenchmarkFixture) -> None:
    """What a large answer costs."""
    assert len(benchmark(freeze, wire.items(200))) == 200


def test_reading_200_items(benchmark: BenchmarkFixture) -> None:
    """Bytes to plain JSON."""
    assert benchmark(loads, dumps(wire.items(200))) == wire.items(200)


def test_writing_200_frozen_items(benchmark: BenchmarkFixture) -> None:
    """Frozen JSON to bytes."""
    assert benchmark(dumps, freeze(wire.items(200))) == dumps(wire.items(200))
