"""Values to plain JSON, and what cannot be written."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import OrderedDict, namedtuple
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest

from arshai_kit._json import FrozenDict
from arshai_kit.schema import Misfit, structured, unstructured


class Size(IntEnum):
    """A size."""

    SMALL = 1


class Mood(StrEnum):
    """A mood."""

    CALM = "calm"


class Loud(str):
    """Text of a class of its own."""

    __slots__ = ()


@attrs.frozen
class Stop:
    """A stop, with a field that its constructor does not take."""

    _name: str
    seconds: int = attrs.field(init=False, default=3)


@dataclasses.dataclass
class Trip:
    """Stops, and a field that its constructor does not take."""

    stops: list[Stop]
    note: str = dataclasses.field(init=False, default="computed")


Point = namedtuple("Point", "x y")  # noqa: PYI024  # untyped ones are met in the wild


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Trip([Stop("Oslo")]), {"stops": [{"name": "Oslo"}]}),
        (Point(1, [2]), {"x": 1, "y": [2]}),
        ({Mood.CALM: 1, 3: 2, dt.date(2026, 3, 1): 3}, {"calm": 1, "3": 2, "2026-03-01": 3}),
        ([Size.SMALL, Mood.CALM, Loud("x"), True, None, 2.5], [1, "calm", "x", True, None, 2.5]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (FrozenDict(a=(1, FrozenDict())), {"a": [1, {}]}),
        (OrderedDict(a=range(2)), {"a": [0, 1]}),
        ({"a": 1}.keys(), ["a"]),
        (bytearray(b"ab"), "YWI="),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("a/b"), "a/b"),
        (dt.timedelta(0), "PT0S"),
        (dt.timedelta(days=-1, microseconds=500_000), "-PT86399.5S"),
        (dt.timedelta(days=2), "P2D"),
        (dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC), "2026-03-01T09:00:00+00:00"),
    ],
)
def test_values_become_plain_json(value: Any, plain: Any) -> None:
    found = unstructured(value)
    assert found == plain
    assert repr(found) == repr(plain)


def test_the_order_of_a_set_does_not_hang_on_chance() -> None:
    words = [f"word{n}" for n in range(20)]
    assert unstructured(set(words)) == sorted(words)


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ({"a": [1, object()]}, "result.a[1]", "an instance of 'object'"),
        (Trip([Stop(print)]), "result.stops[0].name", "'builtin_function_or_method'"),  # type: ignore[arg-type]
        ((n for n in "ab"), "result", "'generator'"),
        (ValueError("x"), "result", "'ValueError'"),
        ([float("nan")], "result[0]", "nan cannot"),
        ([float("-inf")], "result[0]", "-inf cannot"),
        ([Decimal("NaN")], "result[0]", "NaN cannot"),
        ({(1, 2): 3}, "result", "the key (1, 2)"),
        ({None: 3}, "result", "the key None"),
        ({1: 2, "1": 3}, "result", "two of its keys"),
        (memoryview(b"a"), "result", "'memoryview'"),
    ],
)
def test_what_cannot_be_written_is_named(value: Any, path: str, message: str) -> None:
    with pytest.raises(Misfit) as caught:
        unstructured(value, where="result")
    assert caught.value.path == path
    assert message in caught.value.message


def test_a_circle_is_told_not_walked() -> None:
    circle: list[Any] = [{"a": []}]
    circle[0]["a"].append(circle)
    with pytest.raises(Misfit, match=r"^\[0\]\.a\[0\]: circular"):
        unstructured(circle)


def test_what_is_there_twice_is_no_circle() -> None:
    shared = [1]
    assert unstructured([shared, shared]) == [[1], [1]]


def test_too_deep_is_told() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Misfit, match="too deeply"):
        unstructured(deep)


@pytest.mark.parametrize(
    "text", ["P", "PT", "1H", "P1H", "PT1D", "P1Y", "PT1.5H", "P1.5D", "PT1.1234567S", 3, "P99999999999D"]
)
def test_what_is_no_duration_is_refused(text: Any) -> None:
    with pytest.raises(Misfit):
        structured(text, dt.timedelta)


def test_durations_are_read_as_models_write_them() -> None:
    wanted = dt.timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5.5)
    assert structured("P1W2DT3H4M5.5S", dt.timedelta) == wanted
