"""The words of a text, by which it is found: those of every script, one way for all backends.

What differs in writing alone is one: capitals, accents, vowel signs of Arabic and Hebrew, Persian and Arabic forms of a
letter, digits of any script, full and half width. Scripts that put no spaces between words (and Korean, which puts
them elsewhere than between all words) are found by pairs of letters.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import chain, pairwise
from typing import Final

__all__ = ["LONGEST", "VERSION", "asked", "spelled", "words"]

VERSION: Final = 1
"""Counts on when `words` changes: a file says of which version its words are, and is brought up to date."""

LONGEST: Final = 64
"""What is longer is cut into words of so many letters."""

_ASKED: Final = 512

_ASCII: Final = re.compile(r"[a-z0-9]{1,64}")

# Thai, Lao, Burmese, Khmer and their neighbours; Chinese, Japanese and Korean.
_UNSEGMENTED: Final = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u1980-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaa7f"
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u309f\u30a1-\u30ff\u3105-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U000323af"
)
_RUN: Final = re.compile(f"[{_UNSEGMENTED}]")
_PIECES: Final = re.compile(f"([{_UNSEGMENTED}]+)|([^ {_UNSEGMENTED}]{{1,{LONGEST}}})")
_CUT: Final = re.compile(f"[^ ]{{1,{LONGEST}}}")

_GONE: Final = re.compile(
    "[\u00ad\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f"
    "\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u200c\u200d\u2060\ufe00-\ufe0f\ufeff]"
)
"""Accents, vowel signs, joiners and soft hyphens, of which nothing is left."""

_PERSIAN_JOINT: Final = re.compile("(?<=[\u0600-\u06ff])\u200c")
"""What Persian puts between the parts of a word is a space to whoever asks for it with one; elsewhere it is nothing."""

_ALIKE: Final = {
    "ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th",
    "ك": "ک", "ي": "ی", "ى": "ی", "ە": "ه", "ة": "ه", "ہ": "ه", "ھ": "ه", "ٱ": "ا",
}  # fmt: skip
"""Letters that Unicode does not take apart, or that one language writes like another."""


def words(text: str) -> list[str]:
    """The words of *text*, each as often as it is there; where there are no spaces, letters and pairs of them.

    >>> words("Łódź, über-große Flüsse")
    ['lodz', 'uber', 'grosse', 'flusse']
    >>> words("東京都の川")
    ['東', '京', '都', 'の', '川', '東京', '京都', '都の', 'の川']
    """
    if text.isascii():
        return _ASCII.findall(text.lower())
    plain = _plain(text)
    if _RUN.search(plain) is None:
        return _spaced(plain)
    return list(chain.from_iterable([_letters(run) if run else (word,) for run, word in _PIECES.findall(plain)]))


def asked(text: str) -> list[str]:
    """The words by which what *text* asks for is found, each once, at most 512: the first ones.

    >>> asked("Tokyo, tokyo: 東京都")
    ['tokyo', '東京', '京都']
    """
    plain = _plain(text)
    if _RUN.search(plain) is None:
        return list(dict.fromkeys(_spaced(plain)))[:_ASKED]
    found = [(_pairs(units := _units(run)) or units) if run else (word,) for run, word in _PIECES.findall(plain)]
    return list(dict.fromkeys(chain.from_iterable(found)))[:_ASKED]


def spelled(text: str) -> str:
    """The words of *text* as text for the tokenizer `ascii` of FTS5, which sees `words` in it; quicker than these.

    >>> spelled("Über die Flüsse"), spelled("a-Z"), spelled("川")
    ('uber die flusse', 'a-Z', '川')
    """
    if text.isascii():
        plain, parts = text, text.split()
    else:
        plain = _plain(text)
        if _RUN.search(plain) is not None:
            return " ".join(words(text))
        parts = plain.split()
    return plain if max(map(len, parts), default=0) <= LONGEST else " ".join(words(text))


def _spaced(plain: str) -> list[str]:
    found = plain.split()
    return found if max(map(len, found), default=0) <= LONGEST else _CUT.findall(plain)


def _letters(run: str) -> list[str]:
    units = _units(run)
    return units + _pairs(units)


def _pairs(units: list[str]) -> list[str]:
    return [first + second for first, second in pairwise(units)]


def _units(run: str) -> list[str]:
    """Each letter of *run* with the marks that belong to it."""
    mark, unit = _marks()
    return unit.findall(run) if mark.search(run) else list(run)


def _plain(text: str) -> str:
    """*text* with what does not matter to its words taken off, and spaces for what is between them."""
    text = unicodedata.normalize("NFKC", text)
    if "\u200c" in text:
        text = _PERSIAN_JOINT.sub(" ", text)
    return text.translate(_table())


class _Table(dict[int, str]):
    """What becomes of each character, looked up in Unicode when it is first met."""

    def __missing__(self, code: int) -> str:
        found = self[code] = _folded(chr(code))
        return found


@cache
def _table() -> _Table:
    return _Table()


def _folded(letter: str) -> str:
    if _RUN.match(letter):
        return letter if unicodedata.category(letter)[0] in "LNM" else " "
    if _GONE.match(letter):
        return ""
    if unicodedata.category(letter)[0] not in "LNM" and unicodedata.category(letter) != "Co":
        return " "
    apart = unicodedata.normalize("NFD", unicodedata.normalize("NFD", letter).casefold())
    return "".join([_one(each) for each in apart])


def _one(letter: str) -> str:
    digit = unicodedata.decimal(letter, None)
    return _GONE.sub("", _ALIKE.get(letter, letter)) if digit is None else str(digit)


@cache
def _marks() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A mark that belongs to the letter before it, in what has no spaces; and such a letter with its marks."""
    codes = [*range(0x0E00, 0x0F00), *range(0x1000, 0x10A0), *range(0x1780, 0x1AB0), *range(0x3099, 0x309B)]
    codes += range(0xA9E0, 0xAA80)
    marks = "".join([chr(code) for code in codes if unicodedata.category(chr(code))[0] == "M"])
    return re.compile(f"[{marks}]"), re.compile(f"[^{marks}][{marks}]*|[{marks}]+")
