"""Numbers and strings as grammars: within their limits, of their length, in their format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from math import ceil, floor
from typing import Any, TypeAlias

from attrs import frozen

from arshai_kit.errors import BadSchema
from arshai_kit.local.grammar import NEVER, Chars, Node, Text, alt, but, chars, joined, many, maybe, seq

__all__ = ["FORMATS", "FREE", "LETTER", "Leaf", "Leaves", "bounds", "digits_between"]

LONGEST_TEXT = 200
"""Characters of a string that names no `maxLength`."""
_WIDEST = 10**15 - 1

DIGIT = chars("0-9")
PLAIN = but(
    Chars(((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x9F), (0xD800, 0xDFFF))), within=Chars(((0, 0x10FFFF),))
)
"""The characters that stand for themselves in JSON text."""
LETTER: Node = alt(PLAIN, seq("\\", chars('"\\n')))
"""One character of a JSON string."""


def _digits(count: int) -> Node:
    return many(DIGIT, count, count)


def _dates() -> Node:
    month = seq(alt(seq("0", chars("1-9")), seq("1", chars("0-2"))), "-")
    day = alt(seq("0", chars("1-9")), seq("1", DIGIT), seq("2", chars("0-8")))
    uneven = alt(*(f"{number:02}-" for number in range(1, 13) if number != 2))
    odd = alt(*(f"{number:02}-" for number in (1, 3, 5, 7, 8, 10, 12)))
    days = alt(seq(month, day), seq(uneven, alt("29", "30")), seq(odd, "31"))
    return seq(alt("19", "20"), _digits(2), "-", days)


def _times() -> Node:
    hour, sixty = alt(seq(chars("01"), DIGIT), seq("2", chars("0-3"))), seq(chars("0-5"), DIGIT)
    return seq(hour, ":", sixty, ":", sixty)


_HEX = chars("0-9a-f")
_NUMBER = alt("0", seq(chars("1-9"), many(DIGIT, 0, 14)))
_WORD = many(chars("a-z0-9"), 1, 24)
FORMATS: Mapping[str, Node] = {
    "date": _dates(),
    "time": seq(_times(), "Z"),
    "date-time": seq(_dates(), "T", _times(), "Z"),
    "duration": seq("P", alt(seq(_NUMBER, "D"), seq("T", _NUMBER, chars("HMS")))),
    "uuid": joined((many(_HEX, count, count) for count in (8, 4, 4, 4, 12)), "-"),
    "email": seq(_WORD, maybe(seq(".", _WORD)), "@", _WORD, ".", many(chars("a-z"), 2, 6)),
    "uri": seq("http", maybe("s"), "://", _WORD, ".", many(chars("a-z"), 2, 6), many(seq("/", _WORD), 0, 4)),
    "decimal": seq(maybe("-"), _NUMBER, maybe(seq(".", many(DIGIT, 1, 6)))),
}
"""The formats of strings that a grammar can promise, without their quotes."""

Leaf: TypeAlias = Callable[[Mapping[str, Any]], Node]


@frozen
class Leaves:
    """How strings, whole numbers and numbers are written, each from its schema."""

    string: Leaf
    integer: Leaf
    number: Leaf


def bounds(schema: Mapping[str, Any], what: str, usual: int) -> tuple[int, int]:
    """The least and most items, characters or properties; without an upper bound, the *usual* one."""
    least = schema.get(f"min{what}", 0)
    most = schema.get(f"max{what}", max(usual, least))
    if least > most:
        raise BadSchema(f"nothing has at least {least} and at most {most} {what.lower()}")
    if least > 200:
        raise BadSchema(f"{least} {what.lower()} are more than a grammar can promise")
    return least, min(most, max(usual, least))


def _limits(schema: Mapping[str, Any]) -> tuple[Decimal | None, Decimal | None, bool, bool]:
    """The lowest and highest number, and whether each is excluded."""

    def limit(plain: str, strict: str, choose: Callable[..., Decimal]) -> tuple[Decimal | None, bool]:
        pairs = [(Decimal(str(schema[key])), key == strict) for key in (plain, strict) if key in schema]
        return choose(pairs) if pairs else (None, False)  # type: ignore[return-value]  # one of the pairs

    low, above = limit("minimum", "exclusiveMinimum", max)
    high, below = limit(
        "maximum", "exclusiveMaximum", lambda pairs: min(pairs, key=lambda pair: (pair[0], not pair[1]))
    )
    return low, high, above, below


def _whole_limits(schema: Mapping[str, Any]) -> tuple[int, int]:
    """The lowest and highest whole number, both included."""
    low, high, above, below = _limits(schema)
    least = -_WIDEST if low is None else floor(low) + 1 if above else ceil(low)
    most = _WIDEST if high is None else ceil(high) - 1 if below else floor(high)
    return max(least, -_WIDEST), min(most, _WIDEST)


def _integer(schema: Mapping[str, Any]) -> Node:
    least, most = _whole_limits(schema)
    below = digits_between(max(1, -most), -least) if least < 0 else NEVER
    return alt(digits_between(max(0, least), most), seq("-", below))


def _number(schema: Mapping[str, Any]) -> Node:
    """Whole numbers within the limits, and those between two neighbours that are."""
    least, most = _whole_limits({key: schema[key] for key in schema if "clusive" not in key} | _softened(schema))
    more = seq(".", many(DIGIT, 0, 5), chars("1-9"))
    above = digits_between(max(0, least), most - 1)
    below = digits_between(max(0, -most), -least - 1)
    return alt(_integer(schema), seq(above, more), seq("-", below, more))


def _softened(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The limits of *schema* with their ends included: no fraction that is written falls on one."""
    low, high, _, _ = _limits(schema)
    return {name: end for name, end in (("minimum", low), ("maximum", high)) if end is not None}


def digits_between(low: int, high: int) -> Node:
    """The whole numbers from *low* to *high*, neither negative, as digits.

    >>> digits_between(8, 12)
    Alt(choices=(Chars(ranges=((56, 57),)), Seq(parts=(Text(text='1'), Chars(ranges=((48, 50),))))))
    """
    choices = []
    whole = []
    for size in range(len(str(low)), len(str(high)) + 1) if 0 <= low <= high else ():
        first, last = max(low, 10 ** (size - 1) if size > 1 else 0), min(high, 10**size - 1)
        if size > 1 and (first, last) == (10 ** (size - 1), 10**size - 1):
            whole.append(size - 1)
        else:
            choices.append(_same_size(str(first), str(last)))
    if whole:
        choices.append(seq(chars("1-9"), many(DIGIT, whole[0], whole[-1])))
    return alt(*choices)


def _same_size(first: str, last: str) -> Node:
    """The texts of digits from *first* to *last*, all as long as these."""
    if first == last:
        return Text(first)
    head, tail = int(first[0]), int(last[0])
    if head == tail:
        return seq(first[0], _same_size(first[1:], last[1:]))
    size = len(first) - 1
    zeros, nines = "0" * size, "9" * size
    choices: list[Node] = []
    if first[1:] != zeros:
        choices.append(seq(first[0], _same_size(first[1:], nines)))
        head += 1
    if last[1:] != nines:
        choices.append(seq(last[0], _same_size(zeros, last[1:])))
        tail -= 1
    if head <= tail:
        choices.append(seq(Chars(((48 + head, 48 + tail),)), many(DIGIT, size, size)))
    return alt(*choices)


def _string(schema: Mapping[str, Any]) -> Node:
    kind = schema.get("format")
    if kind is None:
        least, most = bounds(schema, "Length", LONGEST_TEXT)
        return seq('"', many(LETTER, least, most), '"')
    if kind not in FORMATS:
        raise BadSchema(f"a grammar cannot promise the format {kind!r}; known are {', '.join(FORMATS)}")
    if "minLength" in schema or "maxLength" in schema:
        raise BadSchema("a grammar cannot promise a format and a length")
    return seq('"', FORMATS[kind], '"')


FREE = Leaves(_string, _integer, _number)
"""Leaves that say whatever fits."""
