"""Text as the numbers of word pieces, as the uncased BERT models read it; no text is read further than is needed.

The rules are those of BERT's own tokenizer: control characters go, letters lose their case and accents, each ideograph
and each mark of punctuation is a word, and a word is cut into the longest pieces that the vocabulary has. What looks
like a mark of the model's own (`[SEP]`) is plain text: nobody can end a text from inside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import islice
from unicodedata import category, normalize

__all__ = ["Vocabulary", "vocabulary"]

_BEGIN, _END, _UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
_LONGEST = 100
"""Letters of a word; of a longer one nothing is known."""
_BLOCK = 4096
"""Characters that are looked at together."""
_SPACES = frozenset("\t\n\r")
_DROPPED = frozenset({"Cc", "Cf", "Co", "Cs"})
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class Vocabulary:
    """The pieces of words that a model knows, in the order of their numbers."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._number = {piece: number for number, piece in enumerate(pieces)}
        self._begin, self._end, self._unknown = [self._number[mark] for mark in (_BEGIN, _END, _UNKNOWN)]
        self._letters = _Letters()
        self._word = lru_cache(maxsize=20_000)(self._cut)

    def numbers(self, text: str, limit: int) -> tuple[list[int], bool]:
        """The numbers of *text*, *limit* at most with those around it, and whether that leaves some of it out."""
        found = list(islice(self._pieces(text), limit - 1))
        return [self._begin, *found[: limit - 2], self._end], len(found) > limit - 2

    def count(self, text: str) -> int:
        """How many numbers *text* has, without those around it."""
        return sum(len(self._word(word)) for word in _words(text, self._letters))

    def _pieces(self, text: str) -> Iterator[int]:
        for word in _words(text, self._letters):
            yield from self._word(word)

    def _cut(self, word: str) -> tuple[int, ...]:
        """The numbers of *word*: the longest piece first, then the longest of what is left."""
        if len(word) > _LONGEST:
            return (self._unknown,)
        found, start, before = list[int](), 0, ""
        while start < len(word):
            for end in range(len(word), start, -1):
                number = self._number.get(before + word[start:end])
                if number is not None:
                    break
            else:
                return (self._unknown,)
            found.append(number)
            start, before = end, "##"
        return tuple(found)


class _Letters(dict[int, str]):
    """What each character becomes, for `str.translate`, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        told = _read(chr(code))
        if len(self) < 20_000:
            self[code] = told
        return told


def _read(character: str) -> str:
    """What *character* becomes: words are apart by spaces then.

    >>> [_read(each) for each in "Éz!語"]
    ['e', 'z', ' ! ', ' 語 ']
    """
    kind = category(character)
    if character in _SPACES or kind[0] == "Z":
        return " "
    if kind in _DROPPED or character == "\ufffd":
        return ""
    plain = "".join([each.lower() for each in normalize("NFD", character) if category(each) != "Mn"])
    told = "".join([f" {each} " if _is_mark(each) else each for each in plain])
    return f" {told} " if _is_ideograph(ord(character)) else told


def _is_mark(character: str) -> bool:
    return category(character)[0] == "P" or (
        character.isascii() and character.isprintable() and not character.isalnum()
    )


def _is_ideograph(code: int) -> bool:
    return any(first <= code <= last for first, last in _IDEOGRAPHS)


def _words(text: str, letters: _Letters) -> Iterator[str]:
    """The words of *text*, which is looked at block by block; one that crosses a border is put together again."""
    begun = ""
    for start in range(0, len(text), _BLOCK):
        block = begun + text[start : start + _BLOCK].translate(letters)
        words = block.split(" ")
        begun = words.pop()[: _LONGEST + 1]
        yield from filter(None, words)
    if begun:
        yield begun


@cache
def vocabulary() -> Vocabulary:
    """That of the uncased BERT, which comes with this package."""
    from importlib.resources import files

    text = files(__package__ or "arshai_kit.local").joinpath("bert-base-uncased.txt").read_text("utf-8")
    return Vocabulary(text.split("\n")[:-1])
