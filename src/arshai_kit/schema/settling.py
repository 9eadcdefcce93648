"""A JSON document while it arrives: only what can no longer change."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from arshai_kit.schema.misfit import Misfit

__all__ = ["Settling", "settled"]

_TEXT: Final = re.compile(r'[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*', re.DOTALL)
_WORD: Final = re.compile(r"[-+.\w]+", re.ASCII)
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_LITERALS: Final = {"true": True, "false": False, "null": None}

# What may come next.
_VALUE, _ITEM, _KEY, _MEMBER, _COLON, _NEXT, _OVER = (
    "a value",
    "a value or ']'",
    "a key",
    "a key or '}'",
    "':'",
    "',' or the end of the array or object",
    "nothing more",
)


def settled(text: str) -> tuple[Any, bool]:
    """What of a JSON document is certain when it begins with *text*, and whether the document is complete.

    An unfinished string, number or literal is left out, with its key; before anything is certain, the value is `None`.

    >>> settled('{"name": "Ann", "age": 4')
    ({'name': 'Ann'}, False)
    >>> settled('{"name": "Ann", "age": 4}')
    ({'name': 'Ann', 'age': 4}, True)
    """
    reader = Settling()
    reader.feed(text)
    return reader.value, reader.complete


class Settling:
    """A JSON document that arrives in pieces, read once: all the work together is linear in the text.

    `value` is what is certain (`None` before anything is). It grows in place with each `feed`: whoever keeps it copies
    it. `complete` says whether the document has ended.

    >>> reader = Settling()
    >>> [(reader.feed(piece), str(reader.value)) for piece in ('["a', 'b", 1', '2]')]
    [(True, '[]'), (True, "['ab']"), (True, "['ab', 12]")]
    """

    __slots__ = (
        "_above",
        "_begun",
        "_broken",
        "_escaped",
        "_expected",
        "_key",
        "_pieces",
        "_under",
        "complete",
        "value",
    )

    def __init__(self) -> None:
        self.value: Any = None
        self.complete = False
        self._expected = _VALUE
        self._above: list[Any] = []  # the open containers, outermost first
        self._key = ""  # of the member that comes next, in the innermost one
        self._under = ""  # what is under way: '"' for a string, "0" for a number or literal
        self._pieces: list[str] = []  # of that token
        self._escaped = False  # the last piece of the string ended in a backslash
        self._broken: Misfit | None = None  # what ended the reading: the same at each further piece
        self._begun = 0  # how many characters came in earlier pieces

    def feed(self, text: str) -> bool:
        """Read on; whether more is certain than before. What is no JSON raises `Misfit`, and so does a key twice."""
        if self._broken:
            raise self._broken
        try:
            return self._read(text)
        except Misfit as misfit:
            self._broken = misfit
            raise

    def _read(self, text: str) -> bool:
        changed, at = False, 0
        while at < len(text):
            if self._under == '"':
                at, more = self._string(text, at)
            elif self._under:
                at, more = self._word(text, at)
            elif text[at] in " \t\r\n":
                at, more = at + 1, False
            else:
                at, more = self._mark(text, at)
            changed |= more
        self._begun += len(text)
        return changed

    def close(self) -> bool:
        """Tell that nothing more comes, which settles a number at the top; whether that makes more certain.

        A document that is not complete raises `Misfit`.
        """
        changed = self._under == "0" and not self._above
        if changed:
            self._ended(0)
        if not self.complete:
            raise Misfit("", f"the JSON text ends where {self._expected} should come")
        return changed

    def _mark(self, text: str, at: int) -> tuple[int, bool]:
        """What stands between tokens, or begins one: it opens, closes or separates."""
        mark, expected = text[at], self._expected
        opens = expected in (_VALUE, _ITEM)
        if mark == '"' and (opens or expected in (_KEY, _MEMBER)):
            self._under = '"'
        elif opens and mark in "{[":
            self._settle({} if mark == "{" else [])
            return at + 1, True
        elif opens and mark in "-0123456789tfn":
            self._under = "0"
            return at, False
        elif mark in "]}" and mark == self._closing():
            self._above.pop()
            self._expect_next()
            return at + 1, self.complete
        elif mark == ":" and expected == _COLON:
            self._expected = _VALUE
        elif mark == "," and expected == _NEXT:
            self._expected = _KEY if isinstance(self._above[-1], dict) else _VALUE
        else:
            raise self._wrong(at, mark)
        return at + 1, False

    def _closing(self) -> str:
        """The mark that may close the innermost container here, if any may."""
        if self._expected == _NEXT:
            return "}" if isinstance(self._above[-1], dict) else "]"
        return {_MEMBER: "}", _ITEM: "]"}.get(self._expected, "")

    def _string(self, text: str, at: int) -> tuple[int, bool]:
        start = at
        if self._escaped:
            at += 1
            self._escaped = False
        end = _TEXT.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        self._pieces.append(text[start:end])
        if end == len(text):
            return end, False
        if text[end] == "\\":  # at the end of the piece
            self._pieces.append("\\")
            self._escaped = True
            return end + 1, False
        if text[end] != '"':
            raise Misfit("", f"a string holds {text[end]!r} at character {self._begun + end}; it must be escaped")
        return end + 1, self._told(end)

    def _told(self, at: int) -> bool:
        """A string has ended: a key, or a value."""
        text = self._taken()
        try:
            found = json.loads(f'"{text}"')
        except ValueError:
            raise self._wrong(at, text) from None
        if self._expected not in (_KEY, _MEMBER):
            return self._settle(found)
        if found in self._above[-1]:
            raise Misfit("", f"the key {found!r} comes twice in one object")
        self._key, self._expected = found, _COLON
        return False

    def _word(self, text: str, at: int) -> tuple[int, bool]:
        found = _WORD.match(text, at)
        end = found.end() if found else at
        self._pieces.append(text[at:end])
        return end, end < len(text) and self._ended(end)

    def _ended(self, at: int) -> bool:
        """A number or literal has ended."""
        word = self._taken()
        if word in _LITERALS:
            return self._settle(_LITERALS[word])
        if not _NUMBER.fullmatch(word):
            raise self._wrong(at, word)
        try:
            number = json.loads(word)
        except ValueError:  # more digits than Python reads
            raise self._wrong(at, word) from None
        return self._settle(number)

    def _taken(self) -> str:
        text = "".join(self._pieces)
        self._under, self._pieces = "", []
        return text

    def _settle(self, value: Any) -> bool:
        """Put *value* where it belongs; a container opens."""
        if not self._above:
            self.value = value
        elif isinstance(self._above[-1], dict):
            self._above[-1][self._key] = value
        else:
            self._above[-1].append(value)
        if isinstance(value, dict | list):
            self._above.append(value)
            self._expected = _MEMBER if isinstance(value, dict) else _ITEM
        else:
            self._expect_next()
        return True

    def _expect_next(self) -> None:
        self._expected = _NEXT if self._above else _OVER
        self.complete = not self._above

    def _wrong(self, at: int, got: str) -> Misfit:
        return Misfit("", f"expected {self._expected}, got {got[:40]!r} at character {self._begun + at}")
