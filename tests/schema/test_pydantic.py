"""Pydantic models: described by pydantic, validated by pydantic, told in our words."""

from __future__ import annotations

import datetime as dt
from typing import Any

import attrs
import pytest

from arshai_kit._json import freeze
from arshai_kit.errors import BadSchema
from arshai_kit.schema import Misfit, arguments, describe, json_schema, strict, structured, unstructured

pydantic = pytest.importorskip("pydantic")
pytestmark = pytest.mark.needs("pydantic")


class Address(pydantic.BaseModel):  # type: ignore[name-defined, misc]
    """Where someone lives."""

    street: str = pydantic.Field(min_length=1, description="with the number")


class Person(pydantic.BaseModel):  # type: ignore[name-defined, misc]
    """Someone."""

    model_config = pydantic.ConfigDict(strict=True)

    name: str = pydantic.Field(alias="fullName")
    born: dt.date
    homes: tuple[Address, ...] = ()
    best_friend: Person | None = None


class Numbers(pydantic.RootModel[list[int]]):  # type: ignore[name-defined, misc]
    """Only numbers."""


class Opaque(pydantic.BaseModel):  # type: ignore[name-defined, misc]
    """Holds what has no schema."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    it: Exception


@attrs.frozen
class Club:
    """People."""

    members: list[Person]
    seat: Address


WIRE = {"fullName": "Ann", "born": "2000-01-02", "homes": [{"street": "A 1"}]}


def test_its_own_schema_is_taken_with_its_definitions() -> None:
    schema = json_schema(Person)
    assert schema["properties"].keys() == {"fullName", "born", "homes", "best_friend"}
    assert schema["$defs"].keys() == {"Person", "Address"}
    assert strict(schema)["required"] == ["fullName", "born", "homes", "best_friend"]
    club = json_schema(Club)
    assert club["properties"]["members"]["items"] == {"$ref": "#/$defs/Person"}
    assert json_schema(Numbers)["type"] == "array"


def test_definitions_of_one_name_do_not_mix() -> None:
    other: Any = pydantic.create_model("Address", zip=(int, ...))
    holder: Any = pydantic.create_model("Holder", a=(other, ...), b=(other, ...))
    ours = attrs.make_class("Both", {"x": attrs.field(type=Person), "y": attrs.field(type=holder)})
    schema = json_schema(ours)
    assert schema["$defs"]["Address"]["properties"].keys() == {"street"}
    assert schema["$defs"]["Address2"]["properties"].keys() == {"zip"}
    assert schema["properties"]["y"]["properties"]["a"] == {"$ref": "#/$defs/Address2"}
    twice = json_schema(attrs.make_class("Twice", {"x": attrs.field(type=holder), "y": attrs.field(type=holder)}))
    assert twice["properties"]["x"] == twice["properties"]["y"] == {"$ref": "#/$defs/Holder"}


def test_values_are_made_as_from_json_even_in_strict_models() -> None:
    person = structured(freeze(WIRE), Person)
    assert person == Person(fullName="Ann", born=dt.date(2000, 1, 2), homes=(Address(street="A 1"),))
    assert unstructured(person) == {**WIRE, "best_friend": None}
    assert structured({"members": [WIRE], "seat": {"street": "B"}}, Club).members == [person]
    assert structured([1, 2], Numbers).root == [1, 2]
    assert structured([1], Numbers | str).root == [1]
    assert structured({"street": "A"}, Address | dict[str, int]) == Address(street="A")


@pytest.mark.parametrize(
    ("value", "tp", "told"),
    [
        ({**WIRE, "born": 3}, Person, "born: "),
        ({**WIRE, "homes": [{"street": "A"}, {"street": ""}]}, Person, "homes[1].street: "),
        ({"members": [{**WIRE, "fullName": 3}], "seat": {"street": "A"}}, Club, "members[0].fullName: "),
        ([1, "x"], Numbers, "[1]: Input should be a valid integer"),
        (3, Person, "Input should be an object, got the integer 3"),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(value: Any, tp: Any, told: str) -> None:
    with pytest.raises(Misfit) as caught:
        structured(value, tp)
    assert str(caught.value).startswith(told)


def test_a_model_may_be_a_parameter() -> None:
    def greet(person: Person, others: list[Address] | None = None) -> str:
        """Greet."""
        return f"{person}{others}"

    found = describe(greet)
    assert arguments(found, {"person": WIRE}) == ((), {"person": structured(WIRE, Person)})
    with pytest.raises(Misfit, match=r"^others\[0\]\.street: Field required"):
        arguments(found, {"person": WIRE, "others": [{}]})


def test_what_pydantic_cannot_describe_or_write_is_said() -> None:
    with pytest.raises(BadSchema, match=r"^it: pydantic cannot describe Opaque"):
        json_schema(Opaque, where="it")
    with pytest.raises(Misfit, match=r"^\[0\]: "):
        unstructured([Opaque(it=ValueError())])
