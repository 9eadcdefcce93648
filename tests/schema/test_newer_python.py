"""The `type` statement and type parameters, which older Pythons cannot even read."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from arshai_kit.errors import BadSchema
from arshai_kit.schema import Misfit, arguments, describe, json_schema, structured, unstructured

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")

SOURCE = """
import attrs
from typing import NamedTuple, TypedDict

type Name = str
type Tree = list[Tree] | int
type Pair[T] = tuple[T, T]
type Json = dict[str, Json] | list[Json] | str | int | float | bool | None
type Again = Again

@attrs.frozen
class Page[T]:
    "A page of items."
    items: list[T]
    next: "Page[T] | None" = None

class Point[T](NamedTuple):
    x: T
    y: Pair[T]

class Shape[T: int](TypedDict):
    side: T

def ask(page: Page[Name], tree: Tree = 1) -> Json:
    "Ask."

def pick[T: (int, str)](item: T) -> T:
    "Pick."
"""


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(SOURCE, "newer.py", "exec", dont_inherit=True), names)
    return names


def test_aliases_stand_for_what_they_say(made: dict[str, Any]) -> None:
    assert json_schema(made["Name"]) == {"type": "string"}
    assert json_schema(made["Pair"][int])["items"] == {"type": "integer"}
    assert structured([1, 2], made["Pair"][int]) == (1, 2)
    tree = json_schema(made["Tree"])
    assert tree["anyOf"][0] == {"type": "array", "items": {"$ref": "#/$defs/Tree"}}
    assert structured([[1], 2], made["Tree"]) == [[1], 2]
    with pytest.raises(Misfit, match=r"^\[0\]\[0\]: expected an array or an integer"):
        structured([["x"]], made["Tree"])
    assert structured({"a": (1, None)}, made["Json"]) == {"a": [1, None]}


def test_an_alias_of_itself_is_refused(made: dict[str, Any]) -> None:
    with pytest.raises(BadSchema, match="Again stands for itself"):
        json_schema(made["Again"])


def test_classes_with_type_parameters_are_read_and_written(made: dict[str, Any]) -> None:
    page = made["Page"]
    value = page([1], page([2]))
    assert structured(unstructured(value), page[int]) == value
    assert json_schema(page[int])["properties"]["items"] == {"type": "array", "items": {"type": "integer"}}
    point = made["Point"]
    assert structured({"x": "a", "y": ["b", "c"]}, point[str]) == point("a", ("b", "c"))
    assert json_schema(made["Shape"])["properties"] == {"side": {"type": "integer"}}


def test_functions_with_type_parameters_are_described(made: dict[str, Any]) -> None:
    found = describe(made["ask"])
    assert arguments(found, {"page": {"items": ["a"]}}) == ((), {"page": made["Page"](["a"])})
    assert describe(made["pick"]).parameters["properties"]["item"] == {
        "anyOf": [{"type": "integer"}, {"type": "string"}]
    }


@pytest.mark.skipif(sys.version_info < (3, 13), reason="defaults of type parameters came with Python 3.13")
def test_a_type_parameter_may_have_a_default() -> None:
    names: dict[str, Any] = {"__name__": __name__}
    exec("import attrs\n@attrs.frozen\nclass Box[T = int]:\n    item: T\n", names)
    assert json_schema(names["Box"])["properties"] == {"item": {"type": "integer"}}
