"""What holds for every type: the schema, the value and its JSON agree."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st

from arshai_kit._json import freeze
from arshai_kit.schema import Misfit, json_schema, strict, structured, unstructured
from tests.schema.kinds import json_values, typed_values, types

jsonschema = pytest.importorskip("jsonschema", reason="the schemas are judged by it")


def judge(schema: dict[str, Any]) -> Any:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker(["date", "uuid"]))


@given(typed_values)
def test_what_is_written_is_read_back(typed: tuple[Any, Any]) -> None:
    tp, value = typed
    wire = json.loads(json.dumps(unstructured(value)))
    note(f"{tp} {wire}")
    assert structured(wire, tp) == value


@given(typed_values)
def test_frozen_json_is_read_alike(typed: tuple[Any, Any]) -> None:
    tp, value = typed
    assert structured(freeze(unstructured(value)), tp) == value


@given(typed_values)
def test_the_schema_of_a_type_accepts_its_values(typed: tuple[Any, Any]) -> None:
    tp, value = typed
    schema = json_schema(tp)
    note(f"{schema}")
    judge(schema).validate(unstructured(value))


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths to all parts of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in items for place in places(each, (*path, key)))]


def changed(value: Any, place: tuple[str | int, ...], other: Any) -> Any:
    """*value*, with *other* at one place (or nothing, where that is `...`)."""
    if not place:
        return other
    value = copy.deepcopy(value)
    inside = value
    for step in place[:-1]:
        inside = inside[step]
    if other is ...:
        del inside[place[-1]]
    else:
        inside[place[-1]] = other
    return value


@given(typed_values, st.data())
def test_what_the_schema_refuses_is_refused(typed: tuple[Any, Any], data: st.DataObject) -> None:
    """Values that are almost right; `null` aside, which stands for what may be left out."""
    tp, value = typed
    wire = unstructured(value)
    place = data.draw(st.sampled_from(places(wire)))
    other = data.draw(st.just(...) | json_values if place else json_values)
    broken = changed(wire, place, other)
    schema = json_schema(tp)
    note(f"{broken} {schema}")
    if other is not None and not judge(schema).is_valid(broken):
        with pytest.raises(Misfit):
            structured(broken, tp)


@given(types, json_values)
def test_any_json_at_all_fits_or_is_a_misfit(typed: tuple[Any, Any], value: Any) -> None:
    """No other error comes out, whatever a model sends, and what fits is of the type."""
    try:
        found = structured(value, typed[0], where="answer")
    except Misfit as caught:
        misfit = caught
    else:
        assert structured(unstructured(found), typed[0]) == found
        return
    assert misfit.path.startswith("answer")
    assert misfit.message


@given(typed_values)
def test_a_strict_schema_accepts_what_names_every_property(typed: tuple[Any, Any]) -> None:
    tp, value = typed
    schema = json_schema(tp)
    if tight := strict(schema):
        wire = unstructured(value)
        filled = {name: wire.get(name) for name in tight["properties"]}
        left_out = (schema["properties"][name] for name in filled.keys() - wire.keys())
        assume(
            not any(judge(each | {"$defs": schema.get("$defs", {})}).is_valid(None) for each in left_out)
        )  # else it is a value of its own
        assert tight["required"] == list(tight["properties"])
        assert structured(filled, tp) == structured(wire, tp)
        if wire.keys() == filled.keys() and "$defs" not in tight:
            assert not [error for error in judge(tight).iter_errors(filled) if error.validator != "required"]
