"""Types as JSON Schema: what each becomes, what has none, and the strict form."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum, Flag
from typing import (
    Annotated,
    Any,
    Final,
    ForwardRef,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Required,
    TypeVar,
)
from uuid import UUID

import attrs
import pytest
import typing_extensions
from typing_extensions import Doc, ReadOnly, TypeAliasType, TypedDict

from arshai_kit.errors import BadSchema
from arshai_kit.schema import json_schema, strict, structured
from arshai_kit.schema.reshape import inlined

T = TypeVar("T")
Bound = TypeVar("Bound", bound=int)
Defaulted = typing_extensions.TypeVar("Defaulted", default=int)
Either = TypeVar("Either", int, str)
Metres = NewType("Metres", float)


class Colour(Enum):
    """A colour of the flag."""

    GREEN = "green"
    RED = "red"


class Weekday(Enum):
    """A day on which one works."""

    MONDAY = 1
    TUESDAY = 2


class Empty(Enum):
    """A choice of nothing."""


class Odd(Enum):
    """A choice of what JSON cannot say."""

    PAIR = (1, 2)


class Rights(Flag):
    """A flag."""

    READ = 1
    WRITE = 2


@attrs.frozen
class Limits:
    """Metadata as `annotated_types` writes it."""

    ge: float | None = None
    lt: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: Any = None


class Asked:
    """Metadata as pydantic's `Field` writes it."""

    description = "how many"
    metadata = (Limits(ge=1),)


@attrs.frozen
class Point:
    """A point.

    Attributes:
        x: to the east
        y: to the north
    """

    x: int
    y: int = 0
    _label: str = attrs.field(default="", kw_only=True, metadata={"description": "its name"})
    norm: float = attrs.field(init=False, default=0.0)
    seen: list[int] = attrs.Factory(list)
    made: float = attrs.Factory(float)
    check: Callable[[], Any] = attrs.field(default=dict, init=False)


@dataclasses.dataclass  # without a docstring: the one that Python makes is no description
class Trip(Generic[T]):  # as above
    stops: list[T]
    start: dt.date = dt.date(2026, 3, 1)
    note: str = dataclasses.field(default="", metadata={"description": "for the driver"})
    extra: dict[str, int] = dataclasses.field(default_factory=dict)
    fuel: float = float("nan")
    legs: int = dataclasses.field(init=False, default=0)


@attrs.frozen
class Short(Trip[Point]):
    """A trip in points."""

    quick: bool = True


class Place(NamedTuple):
    """A point."""

    x: int
    y: int = 0


class Options(TypedDict, total=False):
    """What may be chosen."""

    verbose: Required[bool]
    level: Annotated[NotRequired[int], "how loud"]
    name: ReadOnly[str]


@attrs.frozen
class Node:
    """A tree."""

    value: int
    left: Node | None = None
    right: Node | None = None


@attrs.frozen
class Twice:
    """One class, used twice."""

    a: Point
    b: Point


@attrs.frozen
class Endless(Generic[T]):
    """A type that never ends."""

    inner: Endless[list[T]] | None = None


class Plain:
    """No record."""


Tree = TypeAliasType("Tree", "list[Tree] | int")
Pair = TypeAliasType("Pair", tuple[T, T], type_params=(T,))
Selfish = TypeAliasType("Selfish", "Selfish")  # type: ignore[misc]

INT, STR = {"type": "integer"}, {"type": "string"}


@pytest.mark.parametrize(
    ("tp", "schema"),
    [
        (str, STR),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (Any, {}),
        (object, {}),
        (Metres, {"type": "number"}),
        (Final[int], INT),
        (int | None, {"anyOf": [INT, {"type": "null"}]}),
        (int | Any, {}),
        (int | Metres | float, {"anyOf": [INT, {"type": "number"}]}),
        (Literal["a"], {"type": "string", "enum": ["a"]}),
        (Literal["a", 1, True], {"enum": ["a", 1, True]}),
        (Literal[Colour.RED], {"type": "string", "enum": ["red"]}),
        (Colour, {"type": "string", "enum": ["green", "red"], "description": "A colour of the flag."}),
        (Weekday, {"type": "integer", "enum": [1, 2], "description": "A day on which one works."}),
        (list[int], {"type": "array", "items": INT}),
        (list, {"type": "array", "items": {}}),
        (tuple, {"type": "array", "items": {}}),
        (Iterable[int], {"type": "array", "items": INT}),
        (frozenset[str], {"type": "array", "items": STR, "uniqueItems": True}),
        (tuple[int, ...], {"type": "array", "items": INT}),
        (tuple[int, int], {"type": "array", "items": INT, "minItems": 2, "maxItems": 2}),
        (tuple[int, str],
         {"type": "array", "prefixItems": [INT, STR], "items": False, "minItems": 2, "maxItems": 2}),
        (dict, {"type": "object", "additionalProperties": True}),
        (Mapping[str, int], {"type": "object", "additionalProperties": INT}),
        (dict[int, int],
         {"type": "object", "additionalProperties": INT, "propertyNames": {"pattern": "^-?(0|[1-9][0-9]*)$"}}),
        (dict[Colour, int],
         {"type": "object", "additionalProperties": INT, "propertyNames": {"enum": ["green", "red"]}}),
        (dict[UUID, int],
         {"type": "object", "additionalProperties": INT, "propertyNames": {"format": "uuid"}}),
        (dict[Annotated[str, Limits(pattern="^a"), "a name"], int],
         {"type": "object", "additionalProperties": INT, "propertyNames": {"pattern": "^a"}}),
        (dt.datetime, {"type": "string", "format": "date-time"}),
        (dt.timedelta, {"type": "string", "format": "duration"}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (Annotated[int, "how many"], INT | {"description": "how many"}),
        (Annotated[int, Doc("how many")], INT | {"description": "how many"}),
        (Annotated[int, Asked()], INT | {"minimum": 1, "description": "how many"}),
        (Annotated[float, Limits(ge=0, lt=1.5, multiple_of=0.5)],
         {"type": "number", "minimum": 0, "exclusiveMaximum": 1.5, "multipleOf": 0.5}),
        (Annotated[str, Limits(min_length=1, max_length=3, pattern=__import__("re").compile("^a"))],
         STR | {"minLength": 1, "maxLength": 3, "pattern": "^a"}),
        (Annotated[list[int], Limits(min_length=1)], {"type": "array", "items": INT, "minItems": 1}),
        (Annotated[tuple[int, ...], Limits(max_length=0)], {"type": "array", "items": INT}),
        (Annotated[dict[str, int], Limits(max_length=3)],
         {"type": "object", "additionalProperties": INT, "maxProperties": 3}),
        (Annotated[int | str, Limits(ge=1, min_length=2)], {"anyOf": [INT, STR], "minimum": 1, "minLength": 2}),
        (Annotated[dt.date, Limits(ge=1, min_length=3)], {"type": "string", "format": "date"}),
        (list[Annotated[int, {"not": "hashable"}]], {"type": "array", "items": INT}),
        (Pair[int], {"type": "array", "items": INT, "minItems": 2, "maxItems": 2}),
        (list[Pair[int] | Tree], {
            "type": "array",
            "items": {"anyOf": [
                {"type": "array", "items": INT, "minItems": 2, "maxItems": 2},
                {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
                INT,
            ]},
            "$defs": {"Tree": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Tree"}}, INT]}},
        }),
        (Bound, INT),
        (Defaulted, INT),
        (Either, {"anyOf": [INT, STR]}),
    ],
)  # fmt: skip
def test_each_type_has_its_schema(tp: Any, schema: dict[str, Any]) -> None:
    assert json_schema(tp) == schema


def test_decimals_are_numbers_or_text() -> None:
    number, text = json_schema(Decimal)["anyOf"]
    assert number == {"type": "number"}
    assert text.keys() == {"type", "pattern"}


def test_an_attrs_class_is_an_object_of_what_its_constructor_takes() -> None:
    assert json_schema(Point) == {
        "type": "object",
        "description": "A point.",
        "properties": {
            "x": INT | {"description": "to the east"},
            "y": INT | {"description": "to the north", "default": 0},
            "label": STR | {"description": "its name", "default": ""},
            "seen": {"type": "array", "items": INT, "default": []},
            "made": {"type": "number"},
        },
        "required": ["x"],
        "additionalProperties": False,
    }


def test_a_generic_dataclass_has_its_type_put_in() -> None:
    schema = json_schema(Trip[int])
    assert "description" not in schema
    assert schema["properties"] == {
        "stops": {"type": "array", "items": INT},
        "start": {"type": "string", "format": "date", "default": "2026-03-01"},
        "note": STR | {"default": "", "description": "for the driver"},
        "extra": {"type": "object", "additionalProperties": INT, "default": {}},
        "fuel": {"type": "number"},
    }


def test_what_a_class_inherits_is_described_too() -> None:
    @attrs.frozen
    class Base(Generic[T]):
        """What is shared.

        Attributes:
            item: what it is about
        """

        item: T

    @attrs.frozen
    class Derived(Base[Point]):
        """More of it."""

        count: int = 1

    schema = json_schema(Derived)
    assert schema["description"] == "More of it."
    assert schema["properties"]["item"]["description"] == "what it is about"
    assert schema["properties"]["item"]["properties"].keys() == json_schema(Point)["properties"].keys()


def test_what_a_class_without_fields_lends_is_no_field() -> None:
    class Mixin:
        """Something that is no record."""

        colour: str = "red"

    @attrs.frozen
    class Mixed(Mixin):
        """A record all the same."""

        size: int

    assert json_schema(Mixed)["properties"] == {"size": INT}


def test_metadata_that_cannot_be_hashed_is_no_trouble() -> None:
    odd = Trip[Annotated[int, {"not": "hashable"}]]
    assert json_schema(odd)["properties"]["stops"] == {"type": "array", "items": INT}
    assert structured({"stops": [1]}, odd).stops == [1]


def test_named_tuples_and_typed_dicts_are_objects() -> None:
    assert json_schema(Place) == {
        "type": "object",
        "description": "A point.",
        "properties": {"x": INT, "y": INT | {"default": 0}},
        "required": ["x"],
        "additionalProperties": False,
    }
    schema = json_schema(Options)
    assert schema["description"] == "What may be chosen."
    assert schema["required"] == ["verbose"]
    assert schema["properties"] == {
        "verbose": {"type": "boolean"},
        "level": INT | {"description": "how loud"},
        "name": STR,
    }


def test_fields_without_annotations_take_anything() -> None:
    untyped = attrs.make_class("Untyped", ["a", "b"])
    assert json_schema(untyped)["properties"] == {"a": {}, "b": {}}


def test_a_type_that_contains_itself_is_a_definition_and_the_top_no_reference() -> None:
    schema = json_schema(Node)
    assert schema["type"] == "object"
    assert schema["properties"]["left"] == {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}], "default": None}
    assert schema["$defs"]["Node"]["properties"] == schema["properties"]
    assert json_schema(list[Node])["items"] == {"$ref": "#/$defs/Node"}


def test_a_type_used_twice_is_a_definition_and_one_used_once_is_put_in_place() -> None:
    schema = json_schema(Twice)
    assert schema["properties"]["a"] == schema["properties"]["b"] == {"$ref": "#/$defs/Point"}
    assert "$defs" not in json_schema(list[Point])


def test_types_of_one_name_get_names_of_their_own() -> None:
    other = attrs.make_class("Point", {"z": attrs.field(type=int)})
    schema = json_schema(tuple[Point, Point, other, other])  # type: ignore[valid-type]
    assert set(schema["$defs"]) == {"Point", "Point2"}
    generic = json_schema(tuple[Trip[int], Trip[int], Trip[list[str]], Trip[list[str]]])
    assert set(generic["$defs"]) == {"Trip_int", "Trip_list_str"}


def test_data_that_looks_like_a_schema_stays_data() -> None:
    definition = {"type": "object", "properties": {"$ref": {"$ref": "#/$defs/B"}, "default": {"$ref": "#/$defs/B"}}}
    schema = inlined(
        {"enum": [{"$ref": "#/$defs/A"}], "allOf": [{"$ref": "#/$defs/A"}], "additionalProperties": True},
        {"A": definition, "B": {"type": "null"}, "Unused": {}},
    )
    assert schema["enum"] == [{"$ref": "#/$defs/A"}]
    assert schema["allOf"] == [definition]
    assert schema["$defs"] == {"B": {"type": "null"}}


@pytest.mark.parametrize(
    ("tp", "told"),
    [
        (Callable[[], int], "let the model choose by a name"),
        (Plain, "Plain: Plain cannot be described in JSON Schema; use an attrs class"),
        (Rights, "use a set of an Enum"),
        (Empty, "no members to choose from"),
        (Odd, "(1, 2) is not a JSON value"),
        (Literal[b"x"], "b'x' is not a JSON value"),
        (complex, "complex cannot be described"),
        (T, "the type variable ~T stands for no type here"),
        (Trip, "Trip.stops[]: the type variable ~T stands"),
        (dict[float, int], "keys of type float cannot be written"),
        (dict[Weekday, int], "keys of type Weekday cannot be written"),
        ("Nowhere", "the name 'Nowhere' is not defined"),
        (ForwardRef("Nowhere"), "the name 'Nowhere' is not defined"),
        (Endless[int], "Endless never ends: each one contains"),
        (Selfish, "Selfish stands for itself"),
        (list[Selfish | None], "Selfish stands for itself"),
        (3, "3 cannot be described"),
        ([int], "cannot be described"),
        (attrs.make_class("Wrong", {"x": attrs.field(type=list[Plain])}), "Wrong.x[]: Plain cannot"),
        (list[tuple[int, Plain]], "[][1]: Plain cannot"),
    ],
)  # fmt: skip
def test_what_has_no_schema_is_named_with_the_remedy(tp: Any, told: str) -> None:
    with pytest.raises(BadSchema) as caught:
        json_schema(tp)
    assert told in str(caught.value)


def test_a_type_that_never_ends_makes_no_function_either() -> None:
    with pytest.raises(BadSchema, match="never ends"):
        structured({}, Endless[int])


def test_the_place_is_said_as_the_caller_calls_it() -> None:
    with pytest.raises(BadSchema, match=r"^output\.x\[\]: "):
        json_schema(attrs.make_class("Wrong", {"x": attrs.field(type=list[Plain])}), where="output")


def test_names_that_are_not_there_are_told_with_the_field() -> None:
    @attrs.frozen
    class Broken:
        """A class whose annotation leads nowhere."""

        good: int
        bad: list[Nowhere]  # type: ignore[name-defined]  # noqa: F821  # that is what is tested

    nonsense = attrs.make_class("Nonsense", {"bad": attrs.field()})
    nonsense.__annotations__ = {"bad": "()"}

    with pytest.raises(BadSchema, match=r"Broken\.bad: the name 'Nowhere'"):
        json_schema(Broken)
    with pytest.raises(BadSchema, match=r"Nonsense\.bad: its annotation .* is no type"):
        json_schema(nonsense)


# -- the strict form --


def test_the_strict_form_requires_everything_and_lets_null_stand_for_the_default() -> None:
    assert strict(json_schema(Place)) == {
        "type": "object",
        "description": "A point.",
        "properties": {"x": INT, "y": {"anyOf": [INT, {"type": "null"}], "description": "null: the default, 0"}},
        "required": ["x", "y"],
        "additionalProperties": False,
    }
    assert structured({"x": 1, "y": None}, Place) == Place(1)


def test_the_strict_form_keeps_what_may_be_null_and_says_the_default_after_the_description() -> None:
    properties = strict(json_schema(Point))["properties"]
    assert properties["y"]["description"] == "to the north (null: the default, 0)"
    node = strict(json_schema(Node))
    assert node["properties"]["left"] == {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}
    assert node["$defs"]["Node"]["required"] == ["value", "left", "right"]


def test_the_strict_form_drops_what_strict_modes_refuse() -> None:
    tight = strict(
        {
            "type": "object",
            "title": "T",
            "properties": {
                "a": {"type": "string", "minLength": 1, "format": "path"},
                "b": {"type": "string", "format": "date"},
                "c": {"$ref": "#/$defs/C", "description": "gone"},
                "d": {"description": "optional", "$ref": "#/$defs/C"},
            },
            "required": ["a", "b", "c"],
            "$defs": {"C": {"enum": [1]}},
        }
    )
    assert tight["properties"] == {
        "a": STR,
        "b": STR | {"format": "date"},
        "c": {"$ref": "#/$defs/C"},
        "d": {"anyOf": [{"$ref": "#/$defs/C"}, {"type": "null"}]},
    }
    assert "title" not in tight


@pytest.mark.parametrize(
    "tp",
    [int, list[int], dict[str, int], Tree, attrs.make_class("A", {"a": attrs.field(type=dict[str, int])}),
     attrs.make_class("B", {"b": attrs.field(type=Any)}),
     attrs.make_class("C", {"c": attrs.field(type=tuple[int, str])}),
     attrs.make_class("D", {"d": attrs.field(type=list)})],
)  # fmt: skip
def test_what_has_no_strict_form_gives_nothing(tp: Any) -> None:
    assert strict(json_schema(tp)) == {}


def test_a_record_without_fields_has_a_strict_form() -> None:
    assert strict(json_schema(attrs.make_class("Empty", {})))["properties"] == {}
    assert strict({"type": "object"}) == {}
