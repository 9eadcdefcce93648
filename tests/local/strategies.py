"""Grammars, schemas and walks through grammars, for the laws."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from arshai_kit.local.grammar import Alt, Chars, Grammar, Many, Node, Ref, Seq, Text

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def walk(grammar: Grammar, dice: random.Random) -> str:
    """A sentence of *grammar*, at random."""

    def said(node: Node) -> str:
        match node:
            case Text(text=text):
                return text
            case Chars(ranges=ranges):
                return chr(dice.randint(*dice.choice(ranges)))
            case Ref(name=name):
                return said(grammar.rules[name])
            case Seq(parts=parts):
                return "".join(map(said, parts))
            case Alt(choices=choices):
                return said(dice.choice(choices))
            case Many(part=part, least=least, most=most):
                most = least + 3 if most is None else most
                times = dice.choice((least, most, dice.randint(least, most), min(least + 1, most)))
                return "".join(said(part) for _ in range(times))

    return said(grammar.root)


# Any grammar at all, sound or not


def _ranges(pair: tuple[int, int]) -> Chars:
    return Chars(((min(pair), max(pair)),))


CODES = st.one_of(st.integers(0x20, 0x7E), st.integers(0, 0xD7FF), st.integers(0xE000, 0x10FFFF))
ASCII = st.integers(0x20, 0x7E)


def _more(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    parts = st.lists(inner, max_size=4).map(tuple)
    counts = st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 6)))
    limits = counts.map(lambda pair: (pair[0], None if pair[1] is None else pair[0] + pair[1]))
    return st.one_of(
        st.builds(Seq, parts), st.builds(Alt, parts), st.tuples(inner, limits).map(lambda pair: Many(pair[0], *pair[1]))
    )


def grammars(codes: st.SearchStrategy[int] = CODES) -> st.SearchStrategy[Grammar]:
    """Grammars of characters with these *codes*, most of them unsound."""
    leaves: st.SearchStrategy[Node] = st.one_of(
        st.builds(Text, st.lists(codes.map(chr), max_size=4).map("".join)),
        st.builds(_ranges, st.tuples(codes, codes)),
        st.sampled_from([Ref("a"), Ref("b"), Ref("c"), Ref("nowhere")]),
    )
    nodes: st.SearchStrategy[Node] = st.recursive(leaves, _more, max_leaves=12)
    return st.builds(Grammar, nodes, st.fixed_dictionaries({"a": nodes, "b": nodes, "c": nodes}))


# Schemas

VALUES = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.floats(-9, 9).map(lambda x: round(x, 3)), NAMES)


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    """The schema of a number, perhaps within limits."""
    schema: dict[str, Any] = {"type": draw(st.sampled_from(["integer", "number"]))}
    ends = sorted(draw(st.tuples(*[st.one_of(st.integers(-2000, 2000), st.floats(-50, 50, width=16))] * 2)))
    for name, strict, end in zip(("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum"), ends, strict=True):
        if draw(st.booleans()):
            schema[draw(st.sampled_from([name, strict]))] = end
    return schema


@st.composite
def strings(draw: st.DrawFn) -> dict[str, Any]:
    """The schema of a string: short, long, or in a format."""
    if draw(st.booleans()):
        return {"type": "string", "format": draw(st.sampled_from(["date", "time", "date-time", "uuid", "email"]))}
    least = draw(st.integers(0, 5))
    return {"type": "string", "minLength": least, "maxLength": least + draw(st.integers(0, 9))}


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        _arrays(inner), _objects(inner), st.lists(inner, min_size=1, max_size=3).map(lambda x: {"anyOf": x})
    )


@st.composite
def _arrays(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array"}
    if draw(st.booleans()):
        schema["prefixItems"] = draw(st.lists(inner, min_size=1, max_size=3))
        schema["items"] = draw(st.one_of(st.just(False), inner))
    else:
        schema["items"] = draw(inner)
    least = draw(st.integers(0, 3))
    schema["minItems"] = least
    if draw(st.booleans()):
        schema["maxItems"] = least + draw(st.integers(0, 3))
    return schema


@st.composite
def _objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    if draw(st.integers(0, 4)) == 0:
        return {"type": "object", "additionalProperties": draw(inner), "maxProperties": draw(st.integers(0, 3))}
    properties = draw(st.dictionaries(NAMES, inner, min_size=1, max_size=5))
    required = [name for name in properties if draw(st.booleans())]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _leaves() -> st.SearchStrategy[Any]:
    return st.one_of(
        numbers(),
        strings(),
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.lists(VALUES, min_size=1, max_size=4).map(lambda values: {"enum": values}),
        VALUES.map(lambda value: {"const": value}),
        st.just({"$ref": "#/$defs/Node"}),
        st.just({"type": ["string", "null"]}),
        st.sampled_from([True, {}, {"description": "anything"}]),
        st.just({"type": "array", "uniqueItems": True, "items": {"enum": ["a", "b", 3]}}),
    )


@st.composite
def schemas(draw: st.DrawFn) -> Mapping[str, Any]:
    """A schema, with a type that may hold itself."""
    body = st.recursive(_leaves(), _containers, max_leaves=8)
    top = draw(body)
    schema: dict[str, Any] = dict(top) if isinstance(top, dict) else {}
    if "$ref" in schema:
        schema = {"anyOf": [schema]}
    return {**schema, "$defs": {"Node": draw(body)}}
