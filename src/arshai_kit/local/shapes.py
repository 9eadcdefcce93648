"""JSON Schema as a grammar whose every sentence is JSON that fits the schema.

What a grammar cannot promise (a `pattern`, unique items of an endless kind, `not`) is refused with `BadSchema`, never
promised: a sentence that does not fit would be an answer that nobody asked for. Nothing here recurses in the grammar:
a type that holds itself is written out a few levels deep, so that every answer ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from attrs import Factory, field, frozen

from arshai_kit.errors import BadSchema
from arshai_kit.local.grammar import EMPTY, NEVER, Chars, Grammar, Node, Ref, Text, alt, gbnf, joined, many, maybe, seq
from arshai_kit.local.leaves import FREE, LETTER, Leaves, bounds
from arshai_kit.schema.texts import DECIMAL

__all__ = ["json_grammar", "shape", "written"]

LONGEST_LIST = 16
"""Items of an array that names no `maxItems`, and entries of an open object."""
LEVELS = 3
"""How often a type that holds itself is written out inside itself."""
DEEPEST = 40
MOST_RULES = 2_000

_SAID = frozenset(
    "title description default examples example deprecated readOnly writeOnly discriminator"
    " $schema $id $comment $anchor $defs definitions strict".split()
)
_NUMBER_AS_TEXT: Mapping[str, Any] = {"type": "string", "pattern": DECIMAL}
"""The other way to write a decimal, which a grammar need not promise where it is a number too."""
_BY_TYPE: Mapping[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "format"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "format"}),
    "boolean": frozenset(),
    "null": frozenset(),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}),
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties", "maxProperties"}),
}


def json_grammar(schema: Any) -> Grammar:
    r"""The grammar of the JSON texts that fit *schema*.

    >>> from arshai_kit.local.grammar import gbnf
    >>> gbnf(json_grammar({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}))
    'root ::= "{\\"ok\\": " ("true" | "false") "}"\n'
    """
    rules: dict[str, Node] = {}
    grammar = Grammar(shape(schema, FREE, rules), rules)
    gbnf(grammar)
    return grammar


def shape(schema: Any, leaves: Leaves, rules: dict[str, Node], prefix: str = "r") -> Node:
    """The node for *schema*; what it refers to is put into *rules*, under names that begin with *prefix*."""
    try:
        return _Shaper(schema, leaves, rules, prefix).node(schema, 0, LEVELS)
    except BadSchema:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise BadSchema(f"this is not JSON Schema: {error}") from error


def written(value: Any) -> str:
    """*value* as the JSON text that the grammars write.

    >>> written({"a": (1, "é")})
    '{"a": [1, "é"]}'
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@frozen
class _Shaper:
    """Folds one schema into nodes; *rules* and *known* grow as references are met."""

    whole: Any
    leaves: Leaves
    rules: dict[str, Node]
    prefix: str
    known: dict[tuple[str, int], Node] = field(factory=dict)
    open: list[str] = field(factory=list)
    by_type: Mapping[str, Callable[[Mapping[str, Any], int, int], Node]] = Factory(
        lambda self: {
            "string": lambda schema, *_: self.leaves.string(schema),
            "integer": lambda schema, *_: self.leaves.integer(schema),
            "number": lambda schema, *_: self.leaves.number(schema),
            "boolean": lambda *_: alt("true", "false"),
            "null": lambda *_: Text("null"),
            "array": self.array,
            "object": self.object,
        },
        takes_self=True,
    )

    def node(self, schema: Any, depth: int, left: int) -> Node:
        """The node for *schema*, *depth* levels down, with *left* more levels for a type that holds itself."""
        if depth > DEEPEST:
            raise BadSchema(f"the schema is nested more than {DEEPEST} levels deep")
        if schema is True or (isinstance(schema, Mapping) and not schema.keys() - _SAID):
            return self.anything()
        if schema is False:
            return NEVER
        if not isinstance(schema, Mapping):
            raise BadSchema(f"a schema is an object, not {type(schema).__name__}")
        if "$ref" in schema:
            _only(schema, "$ref")
            return self.reference(schema["$ref"], depth, left)
        if "const" in schema or "enum" in schema:
            return _constants(schema)
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                return self.several(key, schema, depth, left)
        return self.typed(schema, depth, left)

    def typed(self, schema: Mapping[str, Any], depth: int, left: int) -> Node:
        """The node for a schema that names its type, or has the keywords of one."""
        kinds = schema.get("type", _guessed(schema))
        names = [kinds] if isinstance(kinds, str) else list(kinds)
        if unknown := [name for name in names if name not in self.by_type]:
            raise BadSchema(f"there is no type {unknown[0]!r} in JSON Schema")
        _only(schema, "type", *(key for name in names for key in _BY_TYPE[name]))
        return alt(*(self.by_type[name](schema, depth, left) for name in names))

    def reference(self, pointer: str, depth: int, left: int) -> Node:
        """A rule for what *pointer* points to; nothing, when it is inside itself too often already."""
        left -= self.open.count(pointer) > 0
        if left < 0:
            return NEVER
        if (pointer, left) not in self.known:
            if len(self.rules) >= MOST_RULES:
                raise BadSchema("the schema is too large for a grammar")
            self.open.append(pointer)
            node = self.node(_at(self.whole, pointer), depth + 1, left)
            self.open.pop()
            self.known[pointer, left] = self.rule(node)
        return self.known[pointer, left]

    def rule(self, node: Node) -> Node:
        """A reference to *node*, or the node itself when it is as short."""
        if isinstance(node, Text | Chars | Ref) or node in (NEVER, EMPTY):
            return node
        name = f"{self.prefix}{len(self.rules)}"
        self.rules[name] = node
        return Ref(name)

    def several(self, key: str, schema: Mapping[str, Any], depth: int, left: int) -> Node:
        """One of several schemas."""
        _only(schema, key, *(("type",) if key != "allOf" else ()))
        choices = schema[key]
        if key == "allOf" and len(choices) != 1:
            raise BadSchema("a grammar cannot promise `allOf` of several schemas")
        if key == "oneOf" and not _apart(self.whole, choices):
            raise BadSchema("a grammar cannot promise `oneOf` unless a type or a constant tells its schemas apart")
        if any(isinstance(choice, Mapping) and choice.get("type") == "number" for choice in choices):
            choices = [choice for choice in choices if choice != _NUMBER_AS_TEXT]
        return alt(*(self.node(choice, depth + 1, left) for choice in choices))

    def array(self, schema: Mapping[str, Any], depth: int, left: int) -> Node:
        """Items in brackets, as many as the schema allows."""
        firsts = [self.node(each, depth + 1, left) for each in schema.get("prefixItems", ())]
        least, most = bounds(schema, "Items", max(LONGEST_LIST, len(firsts)))
        rest = schema.get("items", not firsts)
        if schema.get("uniqueItems") and most > 1:
            return self.unique(rest if not firsts else None, least, most)
        item = self.rule(self.node(rest, depth + 1, left)) if most > len(firsts) else NEVER
        return seq("[", _row(firsts, item, least, most), "]")

    def unique(self, items: Any, least: int, most: int) -> Node:
        """An array without repetitions, which a grammar can promise for constants alone: each in its turn, or not."""
        if not isinstance(items, Mapping) or "enum" not in items:
            raise BadSchema("a grammar cannot promise unique items unless they are an `enum`; ask for an array instead")
        values = list(dict.fromkeys(map(written, items["enum"])))
        if least > 0 or most < len(values):
            raise BadSchema("a grammar cannot promise unique items and their number")
        return seq("[", self.chain([(Text(value), False) for value in values]), "]")

    def object(self, schema: Mapping[str, Any], depth: int, left: int) -> Node:
        """Members in braces, in the order of the schema's properties."""
        properties = schema.get("properties", {})
        required = frozenset(schema.get("required", ()))
        if not properties:
            return self.open_object(schema, depth, left)
        least, most = schema.get("minProperties", 0), schema.get("maxProperties", len(properties))
        if missing := required - properties.keys():
            raise BadSchema(f"{min(missing)!r} is required but not described")
        if least > len(required) or most < len(properties):
            raise BadSchema("a grammar cannot promise how many optional properties there are")
        members = [
            (seq(f"{written(name)}: ", self.node(each, depth + 1, left)), name in required)
            for name, each in properties.items()
        ]
        return seq("{", self.chain(members), "}")

    def open_object(self, schema: Mapping[str, Any], depth: int, left: int) -> Node:
        """Any names, with values that fit `additionalProperties`."""
        least, most = bounds(schema, "Properties", LONGEST_LIST)
        if schema.get("required"):
            raise BadSchema(f"{schema['required'][0]!r} is required but not described")
        if least > 1:
            raise BadSchema("a grammar cannot promise that many different names")
        value = self.node(schema.get("additionalProperties", True), depth + 1, left)
        if value == NEVER:
            return Text("{}") if least == 0 else NEVER
        name = seq('"', many(LETTER, 1, 40), '": ')
        return seq("{", _row((), self.rule(seq(name, value)), least, most), "}")

    def chain(self, members: Sequence[tuple[Node, bool]]) -> Node:
        """*members* in their order with commas between them, those that are not required at will."""
        wanted = [(node, must) for node, must in members if must or node != NEVER]
        rests: list[Node] = [EMPTY]
        for node, must in reversed(wanted[1:]):
            with_comma = seq(", ", node)
            rests.append(self.rule(seq(with_comma if must else maybe(with_comma), rests[-1])))
        choices = []
        for (node, must), rest in zip(wanted, reversed(rests), strict=False):
            choices.append(seq(node, rest))
            if must:
                return alt(*choices)
        return maybe(alt(*choices)) if choices else EMPTY

    def anything(self) -> Node:
        """Any JSON, two levels deep."""
        if ("", 0) not in self.known:
            value = alt("true", "false", "null", FREE.number({}), FREE.string({}))
            for _ in range(2):
                inner = self.rule(value)
                member = seq('"', many(LETTER, 1, 40), '": ', inner)
                value = alt(value, seq("[", _row((), inner, 0, 8), "]"), seq("{", _row((), member, 0, 8), "}"))
            self.known["", 0] = self.rule(value)
        return self.known["", 0]


def _row(firsts: Sequence[Node], item: Node, least: int, most: int) -> Node:
    """*firsts* and then *item* again and again, *least* to *most* in all, with commas between them."""
    row: Node = many(seq(", ", item), max(least - max(len(firsts), 1), 0), most - max(len(firsts), 1))
    if not firsts:
        return seq(item, row) if least else maybe(seq(item, row)) if most else EMPTY
    must = [first for at, first in enumerate(firsts) if at < least]
    for at in range(min(len(firsts), most) - 1, len(must) - 1, -1):
        row = maybe(seq(", " if at else "", firsts[at], row))
    between = joined(must[:most], ", ")
    return seq(between, row)


def _only(schema: Mapping[str, Any], *allowed: str) -> None:
    """Refuse keywords that a grammar would not keep."""
    if more := schema.keys() - _SAID - set(allowed):
        raise BadSchema(f"a grammar cannot promise {min(more)!r} here; the local model takes no such schema")


def _guessed(schema: Mapping[str, Any]) -> list[str]:
    """The types whose keywords *schema* uses without naming the type."""
    return [name for name, keys in _BY_TYPE.items() if schema.keys() & keys and name != "integer"] or sorted(_BY_TYPE)


def _constants(schema: Mapping[str, Any]) -> Node:
    _only(schema, "const", "enum", "type")
    kinds = schema.get("type", sorted(_BY_TYPE))
    allowed = {kinds} if isinstance(kinds, str) else set(kinds)
    values = [schema["const"]] if "const" in schema else list(schema["enum"])
    return alt(*(written(value) for value in values if _kinds(value) & allowed))


def _kinds(value: Any) -> set[str]:
    """The names of the types that *value* has in JSON Schema."""
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number"}
        case str():
            return {"string"}
        case Mapping():
            return {"object"}
        case _:
            return {"array"}


def _at(whole: Any, pointer: Any) -> Any:
    """What a JSON pointer such as `#/$defs/Node` points to."""
    if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
        raise BadSchema(f"a reference points into the schema itself, like '#/$defs/Name', not {pointer!r}")
    found = whole
    try:
        for step in pointer[2:].split("/") if pointer != "#" else ():
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            found = found[int(name) if isinstance(found, Sequence) else name]
    except (LookupError, TypeError, ValueError):
        raise BadSchema(f"the schema has nothing at {pointer!r}") from None
    return found


def _apart(whole: Any, choices: Sequence[Any]) -> bool:
    """Whether no value can fit two of *choices*: they differ in type, or in the constant of a required property."""
    found = [_resolved(whole, choice) for choice in choices]
    kinds = [_told_kinds(each) for each in found]
    if all(not a & b for at, a in enumerate(kinds) for b in kinds[at + 1 :]):
        return True
    marks = [
        {(name, written(each["const"])) for name, each in one.get("properties", {}).items()
         if isinstance(each, Mapping) and "const" in each and name in one.get("required", ())}
        for one in found
    ]  # fmt: skip
    return any(
        len({value for mark in marks for name, value in mark if name == shared}) == len(marks)
        for shared in {name for mark in marks for name, _ in mark}
    )


def _resolved(whole: Any, schema: Any) -> Mapping[str, Any]:
    for _ in range(LEVELS):
        if isinstance(schema, Mapping) and "$ref" in schema:
            schema = _at(whole, schema["$ref"])
    return schema if isinstance(schema, Mapping) else {}


def _told_kinds(schema: Mapping[str, Any]) -> set[str]:
    if "const" in schema:
        return _kinds(schema["const"])
    kinds = schema.get("type", tuple(_BY_TYPE))
    told = {kinds} if isinstance(kinds, str) else set(kinds)
    return told | {"integer"} if "number" in told else told
