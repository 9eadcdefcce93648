"""A small reader of GBNF, written apart from the writer: what is well formed, and what a grammar accepts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>"(?:\\.|[^"\\])*")
    | (?P<chars>\[(?:\\.|[^\]\\])*\])
    | (?P<times>\{\d+,\d*\}|[?*+])
    | (?P<name>[a-z][a-z0-9-]*)
    | (?P<sign>[()|])
    )""",
    re.VERBOSE,
)
ESCAPE = re.compile(r"\\(?:x([0-9A-F]{2})|u([0-9A-F]{4})|U([0-9A-F]{8})|(.))", re.DOTALL)
LONGEST = 256


def read(text: str) -> dict[str, Any]:
    """The rules of a grammar as nested tuples; an `AssertionError` says what is wrong with it."""
    rules = {}
    for line in text.splitlines():
        name, sign, body = line.partition(" ::= ")
        assert sign, line
        assert name not in rules, name
        rules[name] = _Reader(body).whole()
    assert "root" in rules
    used = {name for node in rules.values() for name in _names(node)}
    assert used <= rules.keys(), used - rules.keys()
    assert not left_recursive(rules)
    return rules


class _Reader:
    def __init__(self, body: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(body.rstrip()):
            found = TOKEN.match(body, at)
            assert found, body[at:]
            self.tokens.append((str(found.lastgroup), found.group(str(found.lastgroup))))
            at = found.end()

    def whole(self) -> Any:
        node = self.choices()
        assert not self.tokens, self.tokens
        return node

    def choices(self) -> Any:
        found = [self.sequence()]
        while self.tokens and self.tokens[0] == ("sign", "|"):
            self.tokens.pop(0)
            found.append(self.sequence())
        return ("alt", found)

    def sequence(self) -> Any:
        found: list[Any] = []
        while self.tokens and self.tokens[0] not in (("sign", "|"), ("sign", ")")):
            kind, text = self.tokens.pop(0)
            match kind:
                case "sign":
                    found.append(self.choices())
                    assert self.tokens.pop(0) == ("sign", ")")
                case "times":
                    assert found, "a repetition of nothing"
                    found[-1] = ("many", found[-1], *_times(text))
                case "name":
                    found.append(("name", text))
                case "chars":
                    found.append(("chars", _ranges(text[1:-1])))
                case _:
                    found.append(("text", _plain(text[1:-1])))
        assert found, "an empty alternative"
        return ("seq", found)


def _times(text: str) -> tuple[int, int | None]:
    least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}.get(text) or _counted(text)
    assert least <= LONGEST
    assert most is None or least <= most <= LONGEST
    return least, most


def _counted(text: str) -> tuple[int, int | None]:
    least, most = text[1:-1].split(",")
    return int(least), int(most) if most else None


def _plain(text: str) -> str:
    return ESCAPE.sub(
        lambda found: chr(int(next(filter(None, found.groups()[:3])), 16)) if not found[4] else found[4], text
    )


def _ranges(text: str) -> list[tuple[str, str]]:
    codes = re.findall(r"\\x..|\\u....|\\U........|[^\\]", text)
    found, at = [], 0
    while at < len(codes):
        end = at + 2 if codes[at + 1 : at + 2] == ["-"] else at
        low, high = _plain(codes[at]), _plain(codes[end])
        assert low <= high
        found.append((low, high))
        at = end + 1
    return found


def _names(node: Any) -> Iterator[str]:
    match node:
        case ("name", name):
            yield name
        case ("alt" | "seq", nodes):
            for each in nodes:
                yield from _names(each)
        case ("many", part, _, _):
            yield from _names(part)


def left_recursive(rules: Mapping[str, Any]) -> bool:
    """Whether some rule can come back to itself before a character is read; `*` of what may be empty counts too."""
    empty: set[str] = set()
    while more := {name for name, node in rules.items() if name not in empty and _may_be_empty(node, empty)}:
        empty |= more
    enters = {name: set(_enters(node, empty)) for name, node in rules.items()}
    for name in rules:
        seen, left = set[str](), list(enters[name])
        while left:
            other = left.pop()
            if other == name or other == "<again>":
                return True
            if other not in seen:
                seen.add(other)
                left += enters[other]
    return False


def _may_be_empty(node: Any, empty: set[str]) -> bool:
    match node:
        case ("name", name):
            return name in empty
        case ("text", text):
            return not text
        case ("alt", nodes):
            return any(_may_be_empty(each, empty) for each in nodes)
        case ("seq", nodes):
            return all(_may_be_empty(each, empty) for each in nodes)
        case ("many", part, least, _):
            return least == 0 or _may_be_empty(part, empty)
    return False


def _enters(node: Any, empty: set[str]) -> Iterator[str]:
    match node:
        case ("name", name):
            yield name
        case ("alt", nodes):
            for each in nodes:
                yield from _enters(each, empty)
        case ("seq", nodes):
            for each in nodes:
                yield from _enters(each, empty)
                if not _may_be_empty(each, empty):
                    return
        case ("many", part, _, most):
            yield from _enters(part, empty)
            if most is None and _may_be_empty(part, empty):
                yield "<again>"


def accepts(rules: Mapping[str, Any], text: str) -> bool:  # noqa: C901  # one case for each kind of node
    """Whether *text*, and all of it, is a sentence of the grammar."""
    known: dict[tuple[str, int], set[int]] = {}

    def ends(node: Any, at: int) -> set[int]:
        match node:
            case ("text", wanted):
                return {at + len(wanted)} if text.startswith(wanted, at) else set()
            case ("chars", ranges):
                return {at + 1} if at < len(text) and any(low <= text[at] <= high for low, high in ranges) else set()
            case ("name", name):
                if (name, at) not in known:
                    known[name, at] = ends(rules[name], at)
                return known[name, at]
            case ("alt", nodes):
                return set[int]().union(*(ends(each, at) for each in nodes))
            case ("seq", nodes):
                places = {at}
                for each in nodes:
                    places = set[int]().union(*(ends(each, place) for place in places))
                return places
            case (_, part, least, most):
                return many(part, least, most, at)
        raise AssertionError(node)

    def many(part: Any, least: int, most: int | None, at: int) -> set[int]:
        places, found, count = {at}, {at} if least == 0 else set(), 0
        while places and (most is None or count < most):
            places = set[int]().union(*(ends(part, place) for place in places)) - (found if count >= least else set())
            count += 1
            if count >= least:
                found |= places
        return found

    return len(text) in ends(rules["root"], 0)
