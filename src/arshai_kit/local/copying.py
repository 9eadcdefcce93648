"""Grammars that keep a small model to what was said: calls whose arguments are copied, sentences with known numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import permutations
from typing import Any

from attrs import evolve

from arshai_kit._json import exact
from arshai_kit.local.grammar import (
    NEVER,
    Chars,
    Grammar,
    Node,
    Ref,
    Text,
    alt,
    but,
    chars,
    many,
    maybe,
    pattern,
    refs,
    seq,
)
from arshai_kit.local.leaves import FREE, Leaf, Leaves
from arshai_kit.local.shapes import shape, written
from arshai_kit.records import ToolSpec

__all__ = ["NONE", "copying", "counting", "figures", "form_grammar", "grounded_grammar", "pick_grammar", "spans"]

NONE = "none"
"""What the model writes when no tool is called for."""
MOST_WORDS = 120
"""Words of a question that may be copied: the first and the last ones of a longer one."""
LONGEST_WORD = 60
LONGEST_SPAN = 6
"""Words of one copied argument."""
MOST_AT_ONCE = 3
"""Numbers of one call that are kept from copying the same number of the question."""
LONGEST_QUOTE = 80
"""Characters of a result that has to be repeated word by word."""
_EDGES = ".,;:!?()[]{}<>\"'«»“”‘’`*"
_NUMBER = re.compile(r"(?:(?<![\w.,)])-)?(?<![\d.])\d+(?:,\d{3})*(?:\.\d+)?(?!\d)")
_FIGURE = re.compile(r"[\w$€£+.,:/-]*\d[\w.,:/%°-]*")


# Calls


def pick_grammar(tools: Sequence[ToolSpec], said: str, *, none: bool) -> Grammar | None:
    """`name {json}` for each of *tools* whose arguments can be copied from what was *said*; `None` when there is none.

    With *none*, the word `none` is another answer.
    """
    rules: dict[str, Node] = {}
    leaves = copying(said, rules)
    calls = [
        seq(f"{tool.name} ", shape(schema, leaves, rules, f"t{at}-{nth}-"))
        for at, tool in enumerate(tools)
        for nth, schema in enumerate(_each_once(tool.parameters or {"type": "object"}, _numbers(said)))
    ]
    root = alt(*calls)
    return None if root == NEVER else Grammar(alt(root, NONE) if none else root, _reached(root, rules))


def _each_once(schema: Mapping[str, Any], found: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """*schema*, once for each way to give its numbers those *found*, if there are enough of them to use none twice."""
    properties = schema.get("properties", {})
    wanted = [name for name in schema.get("required", ()) if _is_number(properties.get(name))]
    if not 1 < len(wanted) <= min(MOST_AT_ONCE, len(found)) or len(found) > 2 * MOST_AT_ONCE:
        yield schema
        return
    for given in dict.fromkeys(permutations(found, len(wanted))):
        pairs = dict(zip(wanted, given, strict=True))
        if all(_fits(properties[name], each) for name, each in pairs.items()):
            fixed = {name: {"const": exact(each)} for name, each in pairs.items()}
            yield {**schema, "properties": {**properties, **fixed}}


def _is_number(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") in ("integer", "number")


def _fits(schema: Mapping[str, Any], number: str) -> bool:
    leaf = FREE.integer if schema["type"] == "integer" else FREE.number
    return re.fullmatch(pattern(leaf(schema)), number) is not None


def copying(said: str, rules: dict[str, Node]) -> Leaves:
    """Leaves that write nothing but words and numbers of what was *said*, as far as these fit."""
    any_span = _span_rules(said.split(), rules)

    def string(schema: Mapping[str, Any]) -> Node:
        if not schema.keys() & {"format", "minLength", "maxLength"}:
            return seq('"', any_span, '"')
        fits = re.compile(pattern(FREE.string(schema)))
        return alt(*(text for text in map(written, spans(said)) if fits.fullmatch(text)))

    return evolve(counting(said), string=string)


def counting(said: str) -> Leaves:
    """Leaves that write no number but those of what was *said*."""
    found = _numbers(said)

    def number(leaf: Leaf) -> Leaf:
        return lambda schema: alt(*(each for each in found if re.fullmatch(pattern(leaf(schema)), each)))

    return Leaves(FREE.string, number(FREE.integer), number(FREE.number))


def spans(said: str) -> Iterator[str]:
    """Each run of a few words of what was *said*, without the punctuation around it.

    >>> list(spans("Is it (in) Oslo?"))
    ['Is', 'Is it', 'Is it (in', 'Is it (in) Oslo', 'it', 'it (in', 'it (in) Oslo', 'in', 'in) Oslo', 'Oslo']
    """
    kept = _kept(said.split())
    for at in range(len(kept)):
        for end in range(at + 1, min(at + LONGEST_SPAN, len(kept)) + 1):
            run = kept[at:end]
            if run[0].strip(_EDGES) and run[-1].strip(_EDGES) and all(run):
                yield " ".join(run).strip(_EDGES)


def _kept(split: Sequence[str]) -> Sequence[str]:
    """The words that may be copied; an empty one stands where words are missing, and no span goes across it.

    Of very many, those in the middle are left out; so are very long ones, and what no vocabulary may be able to write.
    """
    half = MOST_WORDS // 2
    kept = split if len(split) <= MOST_WORDS else [*split[:half], "", *split[-half:]]
    return [word if word.isprintable() and len(word) <= LONGEST_WORD else "" for word in kept]


def _span_rules(split: Sequence[str], rules: dict[str, Node]) -> Node:
    """What `spans` lists, as rules that share their ends: the words of a question, from each on."""
    kept = _kept(split)
    for at in range(len(kept) - 1, 0, -1):
        for size in range(1, min(LONGEST_SPAN - 1, len(kept) - at) + 1):
            if (node := _from(kept[at], at, size, rules)) != NEVER:
                rules[f"w{at}-{size}"] = node
    starts = ((word, word.lstrip(_EDGES), min(LONGEST_SPAN, len(kept) - at)) for at, word in enumerate(kept))
    start = alt(*(_from(start, at, size, rules) for at, (word, start, size) in enumerate(starts) if word.strip(_EDGES)))
    if start == NEVER:
        return NEVER
    rules["words"] = start
    return Ref("words")


def _from(word: str, at: int, size: int, rules: Mapping[str, Node]) -> Node:
    """*word*, which is at this place, as the last of a span or with up to *size* - 1 after it."""
    last, after = word.rstrip(_EDGES), f"w{at + 1}-{size - 1}"
    more = seq(_escaped(word + " "), Ref(after)) if word and after in rules else NEVER
    return alt(_escaped(last), more) if last else more


def _escaped(text: str) -> str:
    return written(text)[1:-1]


def form_grammar(schema: Any, said: str, results: str) -> Grammar:
    """JSON that fits *schema*, its numbers copied from *results*, its words and numbers from there or what was *said*.

    Where nothing of that fits, whatever fits is written.
    """
    rules: dict[str, Node] = {}
    from_all, from_results = copying(f"{said}\n{results}", rules), counting(results)
    leaves = Leaves(
        _first_of(from_all.string, FREE.string),
        _first_of(from_results.integer, from_all.integer, FREE.integer),
        _first_of(from_results.number, from_all.number, FREE.number),
    )
    root = shape(schema, leaves, rules)
    return Grammar(root, _reached(root, rules))


def _first_of(*leaves: Leaf) -> Leaf:
    def first(schema: Mapping[str, Any]) -> Node:
        return next((node for leaf in leaves if (node := leaf(schema)) != NEVER), NEVER)

    return first


def _numbers(said: str) -> tuple[str, ...]:
    """The numbers of what was *said*, as JSON writes them.

    >>> _numbers("Is 23 times 1,017.50 more than -3 (or 23)?")
    ('23', '1017.5', '-3', '23')
    """
    found = (Decimal(each.group().replace(",", "")) for each in _NUMBER.finditer(said) if len(each.group()) < 40)
    return tuple(f"{each:.0f}" if each == each.to_integral_value() else f"{each:f}".rstrip("0") for each in found)


def _reached(root: Node, rules: Mapping[str, Node]) -> dict[str, Node]:
    """The *rules* that *root* leads to, and no others."""
    found: dict[str, Node] = {}
    left = [root]
    while left:
        node = left.pop()
        for name in refs(node):
            if name not in found:
                found[name] = rules[name]
                left.append(rules[name])
    return found


# Sentences

_NUMERALS = Chars(
    (
        *((0x30, 0x39), (0xB2, 0xB3), (0xB9, 0xB9), (0xBC, 0xBE), (0x660, 0x669), (0x6F0, 0x6F9), (0x7C0, 0x7C9)),
        *((0x966, 0x96F), (0x9E6, 0x9EF), (0xE50, 0xE59), (0x2070, 0x209C), (0x2150, 0x218B), (0x2460, 0x249B)),
        *((0xFF10, 0xFF19), (0x1D7CE, 0x1D7FF)),
    )
)
_JOINERS = Chars((*chars(".,:/+—–−").ranges, (0x2D, 0x2D)))
_CONTROL = Chars(((0, 0x1F), (0x7F, 0x9F), (0x2028, 0x2029), (0xD800, 0xDFFF), (0xFFFD, 0xFFFD)))
_MARKS = Chars(
    (*but(chars("a-zA-Z0-9.,:/+"), within=Chars(((0x20, 0x2C), (0x2E, 0x7E)))).ranges, *chars("°€£“”‘’«»").ranges)
)
_LETTERS = but(
    Chars((*_NUMERALS.ranges, *_JOINERS.ranges, *_CONTROL.ranges, *_MARKS.ranges)), within=Chars(((0x20, 0x10FFFF),))
)
_WORD = many(_LETTERS, 1, 24)
_GAP = seq(many(_JOINERS, 0, 2), many(_MARKS, 1, 3), maybe(seq(_JOINERS, many(_MARKS, 1, 2))))
"""What stands between two words or figures; a figure never meets a digit, a sign or a point that is not its own."""


def figures(text: str) -> tuple[str, ...]:
    """Whatever in *text* has a digit in it: numbers, dates, amounts, codes, each once.

    >>> figures("On 3 May, 18.5°C; invoice INV-67: $1,000.")
    ('3', '18.5°C', 'INV-67', '$1,000', '18.5', '67', '1000')
    """
    found = [each.group().strip(".,:/") for each in _FIGURE.finditer(text)]
    return tuple(dict.fromkeys((*found, *_numbers(text))))


def grounded_grammar(said: str, results: Sequence[str]) -> Grammar:
    """One paragraph in which every figure is one of what was *said* or of *results*, and each result occurs in turn.

    A result that is long or has several lines need not occur, but one of its figures, if it has any.
    """
    rules = {"word": _WORD, "gap": _GAP}
    rules["piece"] = alt(
        seq(Ref("word"), many(seq(_JOINERS, Ref("word")), 0, 3)), *figures("\n".join((said, *results)))
    )
    parts: list[Node] = []
    for result in results or ("",):
        parts += [Ref("gap")] if parts else []
        parts += [many(seq(Ref("piece"), Ref("gap")), 0, 40), _wanted(result)]
    more = many(seq(Ref("gap"), Ref("piece")))
    end = seq(many(_MARKS, 0, 2), many(_JOINERS, 0, 3), many(_MARKS, 0, 2))
    return Grammar(seq(many(_MARKS, 0, 2), *parts, more, end), rules)


def _wanted(result: str) -> Node:
    """The part of a sentence that tells *result*."""
    text = result.strip()
    if 0 < len(text) <= LONGEST_QUOTE and text.isprintable() and text[0] not in "[{":
        return Text(text)
    return alt(*figures(text)) if figures(text) else Ref("piece")
