"""Types to JSON Schema, and JSON to types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arshai_kit.schema import arguments, describe, json_schema, structured
from benchmarks import wire
from benchmarks.byhand import weather
from benchmarks.kit import Item

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


def test_describing_a_tool(benchmark: BenchmarkFixture) -> None:
    """What a function's signature costs, which is asked once."""
    assert benchmark(describe, weather).parameters["required"] == ["city", "days"]


def test_structuring_arguments(benchmark: BenchmarkFixture) -> None:
    """What the arguments of each call cost."""
    assert benchmark(arguments, describe(weather), {"city": "Tehran", "days": 3}) == ((), {"city": "Tehran", "days": 3})


def test_a_schema(benchmark: BenchmarkFixture) -> None:
    """What a type costs, which is asked once."""
    assert benchmark(json_schema, list[Item])["type"] == "array"


def test_structuring_200_items(benchmark: BenchmarkFixture) -> None:
    """Plain JSON to typed records."""
    assert benchmark(structured, wire.items(200), list[Item])[-1] == Item(**wire.items(200)[-1])
