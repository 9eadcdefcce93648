"""Grammars as values, and the one door through which they reach llama.cpp as text.

llama.cpp does not raise at a bad grammar, it ends the process: an undefined rule, left recursion or too large a
repetition is a segmentation fault. So `gbnf` refuses whatever is not known to be safe, and nothing else writes GBNF.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from attrs import field, frozen

from arshai_kit.errors import BadSchema

__all__ = [
    "EMPTY",
    "NEVER",
    "Alt",
    "Chars",
    "Grammar",
    "Many",
    "Node",
    "Ref",
    "Seq",
    "Text",
    "alt",
    "but",
    "chars",
    "gbnf",
    "joined",
    "literals",
    "many",
    "maybe",
    "pattern",
    "refs",
    "seq",
]

MOST_TIMES = 256
"""The largest bounded repetition; llama.cpp turns each into that many rules and refuses 2,000."""
MOST_PARTS = 100_000
"""The largest grammar, counted in parts after repetitions are written out."""


@frozen
class Text:
    """Exactly this text."""

    text: str


@frozen
class Chars:
    """One character out of these ranges of code points, both ends included."""

    ranges: tuple[tuple[int, int], ...]


@frozen
class Ref:
    """Whatever the rule of this name says."""

    name: str


@frozen
class Seq:
    """One part after the other."""

    parts: tuple[Node, ...]


@frozen
class Alt:
    """One of the choices; without any, nothing fits."""

    choices: tuple[Node, ...]


@frozen
class Many:
    """A part, *least* to *most* times; `None` is without end."""

    part: Node
    least: int
    most: int | None


Node = Text | Chars | Ref | Seq | Alt | Many

EMPTY = Seq(())
NEVER = Alt(())


@frozen
class Grammar:
    """A node to start with, and the rules that it and they refer to."""

    root: Node
    rules: Mapping[str, Node] = field(factory=dict, hash=False)


def seq(*parts: Node | str) -> Node:
    """One part after the other; impossible when one of them is.

    >>> seq("a", seq("b", "c"))
    Text(text='abc')
    """
    flat: list[Node] = []
    for part in map(_node, parts):
        for each in part.parts if isinstance(part, Seq) else (part,):
            if isinstance(each, Text) and flat and isinstance(flat[-1], Text):
                flat[-1] = Text(flat[-1].text + each.text)
            elif each != Text(""):
                flat.append(each)
    if NEVER in flat:
        return NEVER
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def alt(*choices: Node | str) -> Node:
    """One of the *choices*, without those that are impossible or said twice.

    >>> alt("a", NEVER, "a")
    Text(text='a')
    """
    flat: dict[Node, None] = {}
    for choice in map(_node, choices):
        flat.update(dict.fromkeys(choice.choices if isinstance(choice, Alt) else (choice,)))
    return next(iter(flat)) if len(flat) == 1 else Alt(tuple(flat))


def many(part: Node | str, least: int = 0, most: int | None = None) -> Node:
    """*part*, *least* to *most* times."""
    node = _node(part)
    if most == 0 or node in (EMPTY, Text("")) or (node == NEVER and least == 0):
        return EMPTY
    return node if node == NEVER or (least, most) == (1, 1) else Many(node, least, most)


def maybe(part: Node | str) -> Node:
    """*part*, or nothing."""
    return many(part, 0, 1)


def chars(text: str) -> Chars:
    """One of the characters of *text*, in which `a-z` is a range.

    >>> chars("a-c_")
    Chars(ranges=((97, 99), (95, 95)))
    """
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < len(text):
        end = at + 2 if text[at + 1 : at + 2] == "-" and at + 2 < len(text) else at
        ranges.append((ord(text[at]), ord(text[end])))
        at = end + 1
    return Chars(tuple(ranges))


def but(without: Chars, *, within: Chars) -> Chars:
    """The characters *within*, *without* some.

    >>> but(chars("c-d"), within=chars("a-f"))
    Chars(ranges=((97, 98), (101, 102)))
    """
    left = list(within.ranges)
    for low, high in without.ranges:
        left = [
            piece
            for start, end in left
            for piece in ((start, min(end, low - 1)), (max(start, high + 1), end))
            if piece[0] <= piece[1]
        ]
    return Chars(tuple(sorted(set(left))))


def literals(grammar: Grammar) -> str:
    """Each character that some literal of *grammar* needs, once."""
    nodes = (node for each in (grammar.root, *grammar.rules.values()) for node in _walk(each))
    return "".join(sorted({char for node in nodes if isinstance(node, Text) for char in node.text}))


def refs(node: Node) -> tuple[str, ...]:
    """The names of the rules that *node* refers to, each once.

    >>> refs(seq(Ref("a"), many(Ref("b")), Ref("a")))
    ('a', 'b')
    """
    return tuple(dict.fromkeys(each.name for each in _walk(node) if isinstance(each, Ref)))


def pattern(node: Node) -> str:
    """A node without references as a regular expression.

    >>> pattern(seq("a", many(chars("0-9"), 1, 3)))
    'a(?:[0-9]){1,3}'
    """
    match node:
        case Text(text=text):
            return re.escape(text)
        case Chars(ranges=ranges):
            return "[" + "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in ranges) + "]"
        case Seq(parts=parts):
            return "".join(map(pattern, parts))
        case Alt(choices=choices):
            return "(?:" + "|".join(map(pattern, choices)) + ")" if choices else "(?!)"
        case Many(part=part, least=least, most=most):
            return f"(?:{pattern(part)}){{{least},{'' if most is None else most}}}"
        case Ref(name=name):
            raise BadSchema(f"no regular expression says what {name!r} refers to")


def gbnf(grammar: Grammar) -> str:
    r"""*grammar* as llama.cpp reads it; raises `BadSchema` for one that would bring it down.

    >>> gbnf(Grammar(seq('"', many(Ref("digit"), 1, 3), '"'), {"digit": chars("0-9")}))
    'root ::= "\\"" digit{1,3} "\\""\ndigit ::= [0-9]\n'
    """
    rules = {"root": grammar.root, **grammar.rules}
    _check(rules)
    return "".join(f"{name} ::= {_written(node, loose=True)}\n" for name, node in rules.items())


def _node(part: Node | str) -> Node:
    return Text(part) if isinstance(part, str) else part


def _inner(node: Node) -> tuple[Node, ...]:
    match node:
        case Seq(parts=inner) | Alt(choices=inner):
            return inner
        case Many(part=part):
            return (part,)
        case _:
            return ()


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for each in _inner(node):
        yield from _walk(each)


def _check(rules: Mapping[str, Node]) -> None:
    """Refuse a grammar that is empty, too large or not defined, or that loops without reading a character."""
    for name, root in rules.items():
        for node in _walk(root):
            if node == NEVER or node == Chars(()):
                raise BadSchema(f"nothing can fit the part {name!r} of this schema")
            if isinstance(node, Ref) and node.name not in rules:
                raise BadSchema(f"the grammar refers to {node.name!r}, which it does not define")
            if isinstance(node, Many):
                _check_times(node)
    if sum(_weight(node) for node in rules.values()) > MOST_PARTS:
        raise BadSchema("the schema is too large for a grammar")
    nullable = _nullable(rules)
    for root in rules.values():
        for node in _walk(root):
            if isinstance(node, Many) and node.most is None and _may_be_empty(node.part, nullable):
                raise BadSchema("what repeats without end must not be empty")
    _refuse_left_recursion(rules, nullable)


def _check_times(node: Many) -> None:
    """Refuse a repetition that is too large, and one of nothing, which llama.cpp takes for one without a part."""
    most = node.least if node.most is None else node.most
    if most > MOST_TIMES or node.least > MOST_TIMES:
        raise BadSchema(f"a repetition of {node.least} to {node.most} times is above {MOST_TIMES}")
    if node.part in (EMPTY, Text("")) or not node.least <= most or node.most == 0:
        raise BadSchema(f"{node.least} to {node.most} times {node.part} is a repetition of nothing")


def _weight(node: Node) -> int:
    match node:
        case Text(text=text):
            return len(text) + 1
        case Many(part=part, least=least, most=most):
            return _weight(part) * max(least, 1) + _weight(part) * max((most or 1) - least, 1)
        case _:
            return 1 + sum(map(_weight, _inner(node)))


def _may_be_empty(node: Node, nullable: set[str]) -> bool:
    match node:
        case Ref(name=name):
            return name in nullable
        case Seq(parts=parts):
            return all(_may_be_empty(part, nullable) for part in parts)
        case Alt(choices=choices):
            return any(_may_be_empty(choice, nullable) for choice in choices)
        case Many(part=part, least=least):
            return least == 0 or _may_be_empty(part, nullable)
        case Text(text=text):
            return not text
        case _:
            return False


def _nullable(rules: Mapping[str, Node]) -> set[str]:
    """The names of the rules that may read nothing."""
    found: set[str] = set()
    while more := {name for name, node in rules.items() if name not in found and _may_be_empty(node, found)}:
        found |= more
    return found


def _first(node: Node, nullable: set[str]) -> Iterator[str]:
    """The rules that *node* may enter before it has read a character."""
    match node:
        case Ref(name=name):
            yield name
        case Seq(parts=parts):
            for part in parts:
                yield from _first(part, nullable)
                if not _may_be_empty(part, nullable):
                    return
        case _:
            for each in _inner(node):
                yield from _first(each, nullable)


def _refuse_left_recursion(rules: Mapping[str, Node], nullable: set[str]) -> None:
    """Take rules away that enter only those taken away before; what is left goes round in a circle."""
    enters = {name: set(_first(node, nullable)) for name, node in rules.items()}
    while done := [name for name, entered in enters.items() if not entered & enters.keys()]:
        for name in done:
            del enters[name]
    if enters:
        raise BadSchema(f"the grammar is left recursive: {', '.join(sorted(enters))}")


def _written(node: Node, *, loose: bool) -> str:
    """*node* as text; in brackets unless it may stand *loose*."""
    match node:
        case Text(text=text):
            return '"' + "".join(map(_in_quotes, text)) + '"'
        case Chars(ranges=ranges):
            return "[" + "".join(map(_in_class, ranges)) + "]"
        case Ref(name=name):
            return name
        case Many(part=part, least=least, most=most):
            text = _written(part, loose=False) + _times(least, most)
            return text if loose else f"({text})"
        case Seq(parts=parts):
            text = " ".join(_written(part, loose=not isinstance(part, Alt | Seq)) for part in parts) or '""'
        case Alt(choices=choices):
            text = " | ".join(_written(choice, loose=not isinstance(choice, Alt)) for choice in choices)
    return text if loose else f"({text})"


def _times(least: int, most: int | None) -> str:
    match least, most:
        case 0, 1:
            return "?"
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case _:
            return f"{{{least},{'' if most is None else most}}}"


def _in_quotes(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if 0xD800 <= ord(char) <= 0xDFFF:
        raise BadSchema(f"a lone surrogate, {char!r}, cannot be written")
    return char if char.isprintable() else _escaped(ord(char))


def _in_class(ends: tuple[int, int]) -> str:
    low, high = (chr(end) if chr(end).isascii() and chr(end).isalnum() else _escaped(end) for end in ends)
    return low if low == high else f"{low}-{high}"


def _escaped(code: int) -> str:
    if code < 0x80:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def joined(parts: Iterable[Node | str], separator: str) -> Node:
    """The *parts*, with *separator* between them."""
    between: list[Node | str] = []
    for part in parts:
        between += [separator, part] if between else [part]
    return seq(*between)
