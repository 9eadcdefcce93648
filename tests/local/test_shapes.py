"""Every sentence of a schema's grammar is JSON that fits the schema; what a grammar cannot promise is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from arshai_kit.errors import BadSchema
from arshai_kit.local.grammar import Grammar, gbnf
from arshai_kit.local.leaves import FORMATS, digits_between
from arshai_kit.local.shapes import json_grammar, written
from arshai_kit.schema import json_schema
from tests.local.gbnf import accepts, read
from tests.local.strategies import schemas, walk

jsonschema = pytest.importorskip("jsonschema", reason="the answers are judged by it")


def judged(schema: Any, value: Any) -> None:
    """Raise what `jsonschema` has against *value*, floats taken as the decimals that they are written as."""
    checker = jsonschema.FormatChecker(["date", "uuid", "email"])
    try:
        jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)
    except RecursionError:  # a schema that refers to nothing but itself: the witness has no answer
        reject()


@given(schemas(), st.lists(st.integers(), min_size=5, max_size=5))
def test_every_sentence_fits_its_schema(schema: Mapping[str, Any], seeds: list[int]) -> None:
    try:
        grammar = json_grammar(schema)
    except BadSchema:
        return
    rules = read(gbnf(grammar))
    for seed in seeds:
        said = walk(grammar, random.Random(seed))
        judged(schema, json.loads(said))
        if len(said) < 150:
            assert accepts(rules, said)


@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)), lambda inner: st.one_of(
    st.lists(inner, max_size=3),
    st.dictionaries(st.sampled_from(
        "type properties required items minItems maxItems anyOf oneOf allOf enum const $ref not minimum maximum format"
        " prefixItems additionalProperties minLength maxLength uniqueItems exclusiveMinimum string $defs".split()
    ), inner, max_size=4),
), max_leaves=12))  # fmt: skip
def test_what_is_no_schema_is_refused_by_its_own_error(schema: Any) -> None:
    with suppress(BadSchema):
        json_grammar(schema)


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "friends": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
    },
    "required": ["name"],
}


def accepted(schema: Any, *texts: str) -> list[bool]:
    """Whether each of *texts* is a sentence of the grammar of *schema*."""
    rules = read(gbnf(json_grammar(schema)))
    return [accepts(rules, text) for text in texts]


def test_members_come_in_order_and_optional_ones_at_will() -> None:
    assert accepted(
        PERSON,
        '{"name": "Ada"}',
        '{"name": "Ada", "age": 36}',
        '{"name": "Ada", "friends": [{"name": "Bob"}, {"name": "Eve", "age": 9}]}',
        '{"age": 36}',
        '{"age": 36, "name": "Ada"}',
        '{"name": "Ada", "age": 131}',
        '{"name": "Ada", "more": 1}',
        '{"name":"Ada"}',
    ) == [True, True, True, False, False, False, False, False]


def test_members_before_the_first_required_one() -> None:
    schema = {
        "properties": {name: {"type": "null"} for name in "abc"},
        "required": ["b"],
        "type": "object",
    }
    texts = ['{"b": null}', '{"a": null, "b": null}', '{"b": null, "c": null}', '{"a": null, "c": null}', "{}"]
    assert accepted(schema, *texts) == [True, True, True, False, False]
    assert accepted({**schema, "required": []}, *texts) == [True] * 5


def test_a_type_that_holds_itself_ends() -> None:
    schema = {"type": "object", "properties": {"of": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}, "required": ["of"]}
    deep = ['{"of": null}', *(('{"of": ' * depth) + "null" + "}" * depth for depth in (2, 4, 6))]
    assert accepted(schema, *deep) == [True, True, True, False]
    with pytest.raises(BadSchema, match="nothing can fit"):
        json_grammar({"type": "object", "properties": {"of": {"$ref": "#"}}, "required": ["of"]})
    with pytest.raises(BadSchema, match="nothing can fit"):
        json_grammar({"$ref": "#"})


@given(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(0, 25_000))
def test_whole_numbers_of_a_range(low: int, high: int, number: int) -> None:
    assume(low <= high)
    rules = read(gbnf(Grammar(digits_between(low, high))))
    for each in {low - 1, low, high, high + 1, number}:
        if each >= 0:
            assert accepts(rules, str(each)) is (low <= each <= high)
            assert not accepts(rules, f"0{each}")


@given(st.decimals(-99, 99, places=2), st.decimals(-99, 99, places=2), st.decimals(-120, 120, places=3), st.booleans())
def test_numbers_within_limits(low: Decimal, high: Decimal, number: Decimal, strict: bool) -> None:
    names = ("exclusiveMinimum", "exclusiveMaximum") if strict else ("minimum", "maximum")
    try:
        (fits,) = accepted({"type": "number", names[0]: float(low), names[1]: float(high)}, str(number.normalize()))
    except BadSchema:
        return
    if fits:
        assert (low < number < high) if strict else (low <= number <= high)


def test_numbers_around_nought() -> None:
    schema = {"type": "number", "minimum": 0, "maximum": 1}
    assert accepted(schema, "0", "1", "0.5", "0.25", "1.5", "-0.5", "0.50") == [True] * 4 + [False] * 3
    assert accepted({**schema, "minimum": -1}, "-0.5", "-1", "-1.5") == [True, True, False]
    assert accepted({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "0", "0.01", "1") == [
        False,
        True,
        False,
    ]


def test_open_objects_and_anything() -> None:
    prices = {"type": "object", "additionalProperties": {"type": "number"}}
    assert accepted(prices, "{}", '{"tea": 2.5}', '{"tea": 2.5, "milk": 1}', '{"tea": "dear"}') == [True] * 3 + [False]
    assert accepted({"type": "object", "additionalProperties": False}, "{}", '{"a": 1}') == [True, False]
    assert accepted({**prices, "minProperties": 1}, "{}", '{"tea": 2}') == [False, True]
    assert accepted({}, "null", '{"a": [1, "b"]}', '[[true], {"x": 1}]', '"\\n"', "nul") == [True] * 4 + [False]
    never = {"type": "object", "additionalProperties": False, "minProperties": 1}
    with pytest.raises(BadSchema, match="nothing can fit"):
        json_grammar(never)


def test_tuples_and_lists() -> None:
    pair = {"prefixItems": [{"type": "integer"}, {"type": "null"}], "items": False, "type": "array"}
    assert accepted(pair, "[]", "[1]", "[1, null]", "[1, null, 2]") == [True, True, True, False]
    assert accepted({**pair, "minItems": 2}, "[]", "[1]", "[1, null]") == [False, False, True]
    more = {**pair, "items": {"type": "boolean"}, "minItems": 3, "maxItems": 4}
    assert accepted(more, "[1, null]", "[1, null, true]", "[1, null, true, true]") == [False, True, True]
    assert accepted({"type": "array", "items": {"type": "null"}, "maxItems": 0}, "[]", "[null]") == [True, False]


def test_unique_items_are_promised_for_constants_alone() -> None:
    schema = {"type": "array", "uniqueItems": True, "items": {"enum": ["a", "b"]}}
    assert accepted(schema, "[]", '["a"]', '["a", "b"]', '["a", "a"]') == [True, True, True, False]
    others: list[dict[str, Any]] = [{"items": {"type": "string"}}, {"minItems": 1}, {"prefixItems": [{}, {}]}]
    for other in others:
        with pytest.raises(BadSchema, match="unique items"):
            json_grammar({**schema, **other})


def test_one_of_schemas_that_are_told_apart() -> None:
    def shape(kind: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}

    assert accepted({"oneOf": [shape("dog"), shape("cat")]}, '{"kind": "cat"}', '{"kind": "cow"}') == [True, False]
    assert accepted({"oneOf": [{"type": "null"}, {"const": 3}]}, "3", "null") == [True, True]
    whole = {"oneOf": [{"$ref": "#/$defs/a"}, {"type": "string"}], "$defs": {"a": {"type": "integer"}}}
    assert accepted(whole, "3", '"x"') == [True, True]
    for same in ([shape("dog"), shape("dog")], [{"type": "number"}, {"type": "integer"}], [True, {"type": "null"}]):
        with pytest.raises(BadSchema, match="oneOf"):
            json_grammar({"oneOf": same})


def test_all_of_one_is_that_one() -> None:
    assert accepted({"allOf": [{"type": "null"}]}, "null") == [True]
    with pytest.raises(BadSchema, match="allOf"):
        json_grammar({"allOf": [{"type": "null"}, {"type": "string"}]})


def test_constants_of_the_right_type() -> None:
    schema = {"type": ["string", "integer", "array", "object"], "enum": ["a", 1, None, True, 1.5, [1], {"x": "é"}]}
    assert accepted(schema, '"a"', "1", "[1]", '{"x": "é"}', "null", "true", "1.5") == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "string", "pattern": "^a$"}, "cannot promise 'pattern'"),
        ({"type": "string", "format": "hostname"}, "cannot promise the format 'hostname'"),
        ({"type": "string", "format": "date", "maxLength": 3}, "a format and a length"),
        ({"type": "string", "minLength": 300}, "more than a grammar can promise"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "at least 3 and at most 2"),
        ({"type": "integer", "multipleOf": 2}, "multipleOf"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "nothing can fit"),
        ({"type": "widget"}, "no type 'widget'"),
        ({"not": {"type": "string"}}, "'not'"),
        ({"type": "object", "required": ["a"]}, "'a' is required but not described"),
        ({"type": "object", "properties": {"b": {}}, "required": ["a"]}, "'a' is required but not described"),
        ({"type": "object", "properties": {"b": {}}, "minProperties": 1}, "how many optional"),
        ({"type": "object", "minProperties": 2}, "many different names"),
        ({"$ref": "#/$defs/none"}, "nothing at '#/\\$defs/none'"),
        ({"$ref": "other.json"}, "into the schema itself"),
        (False, "nothing can fit"),
        (3, "a schema is an object, not int"),
        ({"type": "array", "minItems": "two"}, "not JSON Schema"),
        ({"type": "integer", "exclusiveMinimum": True}, "not JSON Schema"),
    ],
)
def test_what_a_grammar_cannot_promise_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(BadSchema, match=why):
        json_grammar(schema)


def test_schemas_too_deep_or_too_large_are_refused() -> None:
    deep: Any = {"type": "null"}
    for _ in range(60):
        deep = {"type": "array", "items": deep}
    with pytest.raises(BadSchema, match="levels deep"):
        json_grammar(deep)
    wide = {f"d{at}": {"type": "array", "items": {"$ref": f"#/$defs/d{at + 1}"}} for at in range(3000)}
    with pytest.raises(BadSchema, match="levels deep"):
        json_grammar({"$ref": "#/$defs/d0", "$defs": {**wide, "d3000": {}}})
    many = {f"d{at}": {"type": "array", "items": {"type": "string"}} for at in range(2500)}
    with pytest.raises(BadSchema, match="too large"):
        json_grammar({"anyOf": [{"$ref": f"#/$defs/{name}"} for name in many], "$defs": many})


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_what_python_reads(name: str) -> None:
    from datetime import date, datetime, time
    from uuid import UUID

    readers: dict[str, Any] = {
        "date": date.fromisoformat,
        "time": time.fromisoformat,
        "date-time": datetime.fromisoformat,
        "uuid": UUID,
        "decimal": Decimal,
    }
    grammar = json_grammar({"type": "string", "format": name})
    for seed in range(200):
        text = json.loads(walk(grammar, random.Random(seed)))
        assert readers.get(name, str)(text) is not None


def test_a_type_used_twice_is_written_once() -> None:
    schema = {
        "$defs": {"p": {"enum": [1, 2]}},
        "prefixItems": [{"$ref": "#/$defs/p"}] * 2,
        "type": "array",
        "items": False,
    }
    assert len(json_grammar(schema).rules) == 1
    assert accepted(schema, "[1, 2]", "[2]", "[3]") == [True, True, False]


def test_pointers_with_escapes_and_lists() -> None:
    schema = {"$defs": {"a/b~": [{"type": "null"}, {"const": "x y"}]}, "$ref": "#/$defs/a~1b~0/1"}
    assert accepted(schema, written("x y"), "null") == [True, False]


def test_a_decimal_is_written_as_a_number() -> None:
    """It may be text as well, by a pattern that a grammar cannot promise and need not."""
    decimal = json_schema(Decimal)
    assert json_grammar(decimal) == json_grammar({"type": "number"})
    with pytest.raises(BadSchema, match="pattern"):
        json_grammar({"anyOf": [{"type": "null"}, {"type": "string", "pattern": "a+"}]})
