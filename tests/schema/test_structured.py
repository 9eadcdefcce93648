"""JSON to types: what is taken, what is refused, and how it is told."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import UserDict, UserList
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import attrs
import pytest
from typing_extensions import TypeAliasType, TypedDict

from arshai_kit._json import freeze
from arshai_kit.schema import Misfit, structured
from arshai_kit.schema.misfit import seen

T = TypeVar("T")


class Colour(Enum):
    """A colour."""

    GREEN = "green"
    RED = "red"


@attrs.frozen
class Item:
    """A line of an order."""

    name: str
    price: float
    count: int = 1
    _note: str | None = None


@attrs.frozen
class Order:
    """What someone buys."""

    items: tuple[Item, ...]
    by_code: dict[str, Item] = attrs.field(factory=dict)


@attrs.frozen
class Circle:
    """A round shape."""

    kind: Literal["circle"]
    radius: float


@attrs.frozen
class Square:
    """A square shape."""

    kind: Literal["square"]
    side: float
    colour: Colour = Colour.RED


@attrs.frozen
class Group:
    """Shapes and groups of them."""

    parts: list[Group | Circle | Square]


@dataclasses.dataclass
class Range(Generic[T]):
    """From low to high."""

    low: T
    high: T

    def __post_init__(self) -> None:
        if self.high < self.low:  # type: ignore[operator]
            raise ValueError("high must not be below low")


class Place(NamedTuple):
    """A point."""

    x: int
    y: int = 0


class Options(TypedDict, total=False):
    """What may be chosen."""

    verbose: bool
    level: int


@attrs.frozen
class Awkward:
    """Fields that bear the names of cattrs' own parameters."""

    cl: int
    converter: str
    attrs: float = attrs.field(kw_only=True)
    o: int = 1
    res: int = 2


@attrs.frozen
class Limits:
    """Metadata as `annotated_types` writes it."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None


Tree = TypeAliasType("Tree", "list[Tree] | int")
Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | float | bool | None")


@pytest.mark.parametrize(
    ("value", "tp", "found"),
    [
        (3.0, int, 3),
        (3, float, 3.0),
        (1.0, Literal[1, "a"], 1),
        ("green", Colour, Colour.GREEN),
        ("1.10", Decimal, Decimal("1.10")),
        (1.1, Decimal, Decimal("1.1")),
        (2, Decimal, Decimal(2)),
        ("2026-03-01T09:30:00Z", dt.datetime, dt.datetime(2026, 3, 1, 9, 30, tzinfo=dt.UTC)),
        ("2026-03-01 09:30", dt.datetime, dt.datetime(2026, 3, 1, 9, 30)),  # noqa: DTZ001  # naive as given
        ("09:30:00.5", dt.time, dt.time(9, 30, 0, 500_000)),
        ("00000000-0000-0000-0000-00000000000A", UUID, UUID(int=10)),
        ("aGk=", bytes, b"hi"),
        ("/tmp/x", Path, Path("/tmp/x")),
        ([1, 2], set[int], {1, 2}),
        ((1, 2), list[int], [1, 2]),
        (UserList([1]), tuple[int, ...], (1,)),
        (UserDict(a=1), dict[str, float], {"a": 1.0}),
        (UserDict(x=1), Place, Place(1)),
        ({"3": 1}, dict[int, int], {3: 1}),
        ([1, {"a": (2,)}], list, [1, {"a": [2]}]),
        ({"a": 1}, dict, {"a": 1}),
        ({"a": 1}, Mapping[Any, int], {"a": 1}),
        ((), tuple[()], []),
        ({}, Options, {}),
        ({"low": 1, "high": 2}, Range[int], Range(1, 2)),
        ({"name": "a", "price": 1, "note": "n"}, Item, Item("a", 1.0, 1, "n")),
        ({"cl": 1, "converter": "c", "attrs": 2, "res": 5}, Awkward, Awkward(1, "c", attrs=2.0, res=5)),
        ([[1], 2, [[]]], Tree, [[1], 2, [[]]]),
        ({"a": [1.5, None, {"b": "c"}]}, Json, {"a": [1.5, None, {"b": "c"}]}),
        ([2026], Annotated[list[int], "years", {"not": "hashable"}], [2026]),
    ],
)
def test_what_fits_is_made(value: Any, tp: Any, found: Any) -> None:
    made = structured(value, tp)
    assert made == (tuple(found) if tp == tuple[()] else found)
    assert type(made) is (tuple if tp == tuple[()] else type(found))


@pytest.mark.parametrize(
    ("value", "tp", "message"),
    [
        (3, str, "expected a string, got the integer 3"),
        ("abc", int, "expected an integer, got the string 'abc'"),
        (3.5, int, "expected an integer, got the number 3.5"),
        (True, int, "expected an integer, got true"),
        (True, float, "expected a number, got true"),
        (1, bool, "expected true or false, got the integer 1"),
        (0, None, "expected null, got the integer 0"),
        (None, str, "expected a string, got null"),
        (True, Literal[1, 2], "expected one of 1, 2, got true"),
        ("blue", Colour, "expected one of \"green\", \"red\", got the string 'blue'"),
        ([], Colour, 'expected one of "green", "red", got an array'),
        ("x", Literal["a"], "expected \"a\", got the string 'x'"),
        ({}, list[int], "expected an array, got an object"),
        ("ab", list[str], "expected an array, got the string 'ab'"),
        ([], dict[str, int], "expected an object, got an array"),
        ([], Item, "expected an object, got an array"),
        ([1], tuple[int, int], "expected 2 items, got 1"),
        ("ab", tuple[str, str], "expected an array, got the string 'ab'"),
        ([1, 1], set[int], "expected items that differ, got some twice"),
        ({"x": 1}, dict[int, int], "expected an integer as key, got the string 'x'"),
        ({"01": 1}, dict[int, int], "expected an integer as key, got the string '01'"),
        ("2026-02-30", dt.date, "day is out of range for month"),
        ("2026-W01-1", dt.date, "expected a date such as '2026-03-01'"),
        ("2026-03-01", dt.datetime, "expected a date and time such as"),
        ("12", dt.time, "expected a time such as"),
        ("0b", UUID, "expected a UUID"),
        ("{00000000-0000-0000-0000-000000000001}", UUID, "expected a UUID"),
        ("a", bytes, "expected base64"),
        ("é", bytes, "expected base64"),
        (3, bytes, "expected base64"),
        (" 1", Decimal, "expected a number, or one in a string"),
        ("NaN", Decimal, "expected a number, or one in a string"),
        (True, Decimal, "expected a number, or one in a string"),
        (3, Path, "expected a path as a string"),
        (10**400, float, "int too large"),
        (10**40, str, "a very large integer"),
        ("x" * 100, int, "the string 'xxxxxxxxxx"),
        (True, Annotated[int, "a number"] | str, "expected an integer or a string, got true"),
        (True, int | str, "expected an integer or a string, got true"),
        ({}, Colour | list[int], 'expected one of "green", "red" or an array, got an object'),
        ([1.5], list[int] | list[str], "fits none of: an array ([0]: expected an integer, got the number 1.5);"),
        ({}, dict[str, int] | Item, "fits"),
        (0, Literal[tuple(range(1, 40))], "28, 29, 30 (and 9 more), got the integer 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_words(value: Any, tp: Any, message: str) -> None:
    if message == "fits":
        assert structured(value, tp) == {}
        return
    with pytest.raises(Misfit) as caught:
        structured(value, tp)
    assert message in caught.value.message
    assert caught.value.path == ""


@pytest.mark.parametrize(
    ("value", "tp", "told"),
    [
        ({"items": [{"name": "a", "price": 1}, {"name": "a", "price": "1"}]}, Order,
         "items[1].price: expected a number, got the string '1'"),
        ({"items": [], "by_code": {"a b": {"name": "a"}}}, Order, "by_code['a b']: missing key 'price'"),
        ({"items": [{}]}, Order, "items[0]: missing keys 'name', 'price'"),
        ({"items": [{"name": "a", "price": 1, "cost": 2}]}, Order,
         "items[0]: unknown key 'cost'; known are keys 'count', 'name', 'note', 'price'"),
        ({"a": 1}, attrs.make_class("Empty", {}), "unknown key 'a'; known are no keys"),
        ({"low": 2, "high": 1}, Range[int], "high must not be below low"),
        ([{"low": 2, "high": "1"}], list[Range[int]], "[0].high: expected an integer, got the string '1'"),
        ([1, [2, "x"]], tuple[int, tuple[int, int]], "[1][1]: expected an integer, got the string 'x'"),
        ({"verbose": 1}, Options, "verbose: expected true or false, got the integer 1"),
        ({"x": 1.5}, Place, "x: expected an integer, got the number 1.5"),
        ({"parts": [{"parts": [{"kind": "circle", "radius": "1"}]}]}, Group,
         "parts[0].parts[0].radius: expected a number, got the string '1'"),
        ({"parts": [{"kind": "circle", "side": 1}]}, Group,
         "parts[0]: missing key 'radius'; unknown key 'side'; known are keys 'kind', 'radius'"),
        ({"parts": [{"kind": "square", "side": 1, "colour": "blue"}]}, Group,
         "parts[0].colour: expected one of \"green\", \"red\", got the string 'blue'"),
        ({"parts": [{"kind": "oval"}]}, Group,
         "parts[0]: fits none of: an object (Group) (missing key 'parts'; unknown key 'kind'; known are"),
        ({"parts": [{"kind": "oval", "a": 1}]}, dict[str, list[dict[str, int] | Place]],
         "parts[0].kind: expected an integer, got the string 'oval'"),
        ([[1], ["x"]], Tree, "[1][0]: expected an array or an integer, got the string 'x'"),
    ],
)  # fmt: skip
def test_the_path_leads_to_what_does_not_fit(value: Any, tp: Any, told: str) -> None:
    with pytest.raises(Misfit) as caught:
        structured(freeze(value), tp)
    assert str(caught.value).startswith(told)
    with pytest.raises(Misfit) as caught:
        structured(value, tp, where="answer")
    assert caught.value.path.startswith("answer")


@pytest.mark.parametrize(
    ("value", "tp", "found"),
    [
        (3, float | int, 3),
        (3.0, float | int, 3.0),
        (True, int | bool, True),
        ("1", Decimal | str, "1"),
        (1, Decimal | float, 1.0),
        ("2026-03-01", dt.date | str, "2026-03-01"),
        ("2026-03-01", dt.datetime | dt.date, dt.date(2026, 3, 1)),
        ("aGk=", bytes | UUID, b"hi"),
        ("green", str | Colour, Colour.GREEN),
        ("blue", str | Colour, "blue"),
        ([1, 2], list[str] | tuple[int, int], (1, 2)),
        ({"x": 1}, Place | Options, Place(1)),
        ({"level": 1}, Place | Options, {"level": 1}),
        ({"kind": "square", "side": 1}, Circle | Square, Square("square", 1.0)),
        ({"low": 1, "high": 2}, Range[int] | Range[str], Range(1, 2)),
        ({"low": "a", "high": "b"}, Range[int] | Range[str], Range("a", "b")),
        ({"a": 1}, dict[str, int] | Place, {"a": 1}),
        (None, int | None, None),
        ([1], Any | int, [1]),
        (5, Annotated[int | str, "either"] | None, 5),
    ],
)
def test_the_most_exact_type_of_a_union_is_taken(value: Any, tp: Any, found: Any) -> None:
    made = structured(value, tp)
    assert made == found
    assert type(made) is type(found)


def test_of_records_that_all_fit_the_one_with_fewest_fields_is_taken_then_the_first() -> None:
    one, other = (
        attrs.make_class("One", {"x": attrs.field(type=int)}),
        attrs.make_class("Two", {"x": attrs.field(type=int)}),
    )
    more = attrs.make_class("More", {"x": attrs.field(type=int), "y": attrs.field(type=int, default=0)})
    assert type(structured({"x": 1}, more | one)) is one
    assert type(structured({"x": 1, "y": 2}, more | one)) is more
    assert type(structured({"x": 1}, one | other)) is one
    assert type(structured({"x": 1}, other | one)) is other


def test_null_stands_for_what_may_be_left_out() -> None:
    assert structured({"name": "a", "price": 1, "count": None, "note": None}, Item) == Item("a", 1.0)
    assert structured({"verbose": None, "level": 3}, Options) == {"level": 3}
    with pytest.raises(Misfit, match="name: expected a string, got null"):
        structured({"name": None, "price": 1, "count": None}, Item)


@pytest.mark.parametrize(
    ("tp", "good", "bad", "message"),
    [
        (Annotated[int, Limits(ge=1, le=9)], [1, 9], [0, 10], "expected at"),
        (Annotated[float, Limits(gt=1, lt=9)], [1.5], [1, 9], "than"),
        (Annotated[int, Limits(multiple_of=3)], [6], [7], "a multiple of 3"),
        (Annotated[float, Limits(multiple_of=0.1)], [0.3, 3], [0.35], "a multiple of 0.1"),
        (Annotated[Decimal, Limits(multiple_of=0.1)], ["0.30"], ["0.35"], "a multiple of 0.1"),
        (Annotated[str, Limits(min_length=2, max_length=3)], ["ab"], ["a", "abcd"], "characters, got"),
        (Annotated[list[int], Limits(min_length=1)], [[1]], [[]], "at least 1 items, got 0"),
        (Annotated[str, Limits(pattern="^a")], ["ab"], ["ba"], "matches '^a', got 'ba'"),
        (Annotated[int | None, Limits(ge=1, pattern="x", min_length=3)], [None, 1], [0], "at least 1"),
    ],
)
def test_limits_of_annotated_types_hold(tp: Any, good: list[Any], bad: list[Any], message: str) -> None:
    for each in good:
        structured(each, tp)
    for each in bad:
        with pytest.raises(Misfit) as caught:
            structured({"x": [each]}, dict[str, list[tp]])
        assert caught.value.path == "x[0]"
        assert message in caught.value.message


def test_what_any_takes_thaws() -> None:
    frozen = freeze({"a": [1, {"b": []}]})
    made: Any = structured(frozen, Any)
    made["a"][1]["b"].append(2)
    assert made == {"a": [1, {"b": [2]}]}
    assert frozen == {"a": (1, {"b": ()})}


def test_too_deep_is_told() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for tp in (Any, Tree, Json):
        with pytest.raises(Misfit, match=r"^answer: nested too deeply"):
            structured(deep, tp, where="answer")


def test_a_constructor_that_fails_without_a_word_is_named_by_its_error() -> None:
    def check(_: Any, __: Any, value: int) -> None:
        raise AssertionError

    picky = attrs.make_class("Picky", {"x": attrs.field(type=int, validator=check)})
    with pytest.raises(Misfit, match=r"^\[0\]: AssertionError$"):
        structured([{"x": 0}], list[picky])  # type: ignore[valid-type]


def test_a_key_error_of_a_constructor_is_no_missing_key() -> None:
    def look_up(value: int) -> str:
        return {1: "one"}[value]

    picky = attrs.make_class("Picky", {"x": attrs.field(type=int, converter=look_up)})
    with pytest.raises(Misfit, match=r"^3$"):
        structured({"x": 3}, picky)


def test_a_value_that_is_no_json_is_named_by_its_class() -> None:
    assert seen(object()) == "a object" or seen(object()) == "an object"
    with pytest.raises(Misfit, match="expected a string or an integer, got"):
        structured(object(), str | int)
