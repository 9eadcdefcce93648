"""Whether passages bear an answer, sentence by sentence: told from the words that they share, without a model."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from unicodedata import decimal, normalize

from attrs import asdict, field, frozen

from arshai_kit._json import dumps, loads
from arshai_kit._record import Record
from arshai_kit.chunking import sentences
from arshai_kit.errors import Misuse
from arshai_kit.index import Hit
from arshai_kit.index.words import asked, words
from arshai_kit.records import Message, Response
from arshai_kit.retrieval.asking import passages_of

__all__ = ["Checked", "Sentence", "check"]

_MARK: Final = re.compile(  # blanks are looked at from their first on, or many of them would take for ever
    r"(?<!\s)\s*[\[【]\^?(\d{1,6}(?:(?:\s*[,;،、–-]\s*|[\]】]\s?[–-]\s?[\[【])\d{1,6})*)(?:†[^\]】\n]{0,200})?[\]】]"
)
_RANGE: Final = re.compile(r"(\d+)(?:[\]】]?\s*[–-]\s*[\[【]?(\d+))?")
_WIDEST: Final = 100
_BULLET: Final = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_NUMBER: Final = re.compile(r"\d(?:[\d.,'’٫٬]*\d)?")
_THIN: Final = {0xA0: "'", 0x202F: "'"}
"""What may stand between thousands, and would be any blank after NFKC."""
_POINT: Final = re.compile(r"(.*)([.,٫])(\d+)")
_THOUSAND: Final = 3
_FIRST: Final = 4
_COMMON: Final = 0.65
"""Two words are one (`refund`, `refunded`) where they begin alike: for so much of the longer one."""
_EMPTY: Final = frozenset(
    """
    about after all also although among and any are because been before being between both but can cannot could did
    does during each either for from had has have having here how however into its itself just may might more most
    much must neither nor not off only onto other our out over own same shall she should since some such than that the
    their them then there these they this those though through thus too under until upon very was were what when where
    whether which while who whom whose why will with within without would yes you your
    """.split()
)
"""Words of English that every text has; of other languages, words of one or two letters are passed over alone."""


def _tuple(value: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value)


@frozen(eq=False, repr=False)
class Sentence(Record):
    """A sentence of an answer, its characters from *start* up to *end*, without its marks.

    *marks* are the numbers that it names. *passages* are those that bear it by themselves, named or not. *support* is
    the share of its words that the passages have which it names, all together, or, where it names none, the best one;
    *missing* are the numbers in it that these do not have. A sentence that has no words of its own claims nothing, and
    is *supported*.
    """

    text: str
    start: int
    end: int
    marks: tuple[int, ...] = field(default=(), converter=_tuple)
    passages: tuple[int, ...] = field(default=(), converter=_tuple)
    support: float = field(default=0.0, kw_only=True)
    missing: tuple[str, ...] = field(default=(), converter=_tuple, kw_only=True)
    supported: bool = field(default=False, kw_only=True)
    claims: bool = field(default=True, kw_only=True)


@frozen(eq=False, repr=False)
class Checked(Record):
    """The sentences of an answer, each with the passages that bear it.

    A sentence is supported where the passages have at least *threshold* of its words, of each passage in two sentences
    that follow one another, and all of its numbers. That is overlap of words, and no understanding: a sentence that
    turns a passage round by a `not` is supported, and one that says the same in other words is not.
    """

    sentences: tuple[Sentence, ...] = field(default=(), converter=_tuple)
    hits: int = 0
    threshold: float = 0.6

    @property
    def unsupported(self) -> tuple[Sentence, ...]:
        """The sentences that the passages do not bear."""
        return tuple([each for each in self.sentences if not each.supported])

    @property
    def uncited(self) -> tuple[Sentence, ...]:
        """The sentences that claim something and name no passage."""
        return tuple([each for each in self.sentences if each.claims and not each.marks])

    @property
    def unknown(self) -> tuple[int, ...]:
        """The marks that point to no passage."""
        named = sorted({mark for each in self.sentences for mark in each.marks})
        return tuple([mark for mark in named if not 1 <= mark <= self.hits])

    @property
    def cited(self) -> tuple[int, ...]:
        """The passages that are named and bear what names them."""
        return tuple(
            sorted({mark for each in self.sentences if each.supported for mark in each.marks} - {*self.unknown})
        )

    @property
    def is_grounded(self) -> bool:
        """Whether every sentence is supported, and every mark points to a passage."""
        return not self.unsupported and not self.unknown

    def json(self) -> str:
        """All of it as JSON."""
        return dumps(asdict(self)).decode()

    @classmethod
    def of_json(cls, text: str | bytes) -> Checked:
        """What `json` has written."""
        told = loads(text.encode() if isinstance(text, str) else text)
        return cls([Sentence(**each) for each in told.pop("sentences")], **told)


def check(answer: str | Message | Response, hits: Iterable[Hit[Any]], *, threshold: float = 0.6) -> Checked:
    """Which sentences of *answer* are borne by *hits*, numbered as `cite` does, and which are not.

    It compares words: those of a sentence must, to at least *threshold*, be among those of two sentences, one after the
    other, of the passages that it names (`[1]`, `[1, 3]`, `[2][4]`), or of one passage where it names none; and each of
    its numbers must be in one. `Checked` says what that cannot tell.

    >>> from arshai_kit.index import Passage
    >>> hits = [Hit("1", "In Rasht it rains on 140 days of the year.", 1.0, Passage())]
    >>> found = check("It rains on 140 days in Rasht [1]. The sun shines on 225 days [2].", hits)
    >>> [each.text for each in found.unsupported], found.unknown
    (['The sun shines on 225 days.'], (2,))
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        raise Misuse(f"threshold= is a share of a sentence's words, above 0 and at most 1, not {threshold!r}")
    text = answer if isinstance(answer, str) else getattr(answer, "text", None)
    if not isinstance(text, str):
        raise Misuse(f"answer is a text, a message or a response, not {type(answer).__name__}")
    held = [_Held(each.text) for each in passages_of(hits)]
    found = [_borne(text, start, end, marks, held, threshold) for start, end, marks in _claims(text)]
    return Checked(found, len(held), float(threshold))


def _claims(text: str) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """The sentences of *text*, line by line, and what each names: a mark belongs to what stands before it."""
    marks = [*_MARK.finditer(text)]
    plain = _MARK.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    lines = re.finditer(r"[^\n]+", plain)
    spans = [span for line in lines for span in sentences(plain, *line.span())] or [(0, len(text))] * bool(marks)
    named: list[list[int]] = [[] for _ in spans]
    starts = [start for start, _ in spans]
    for mark in marks:
        named[max(0, bisect_right(starts, mark.start()) - 1)] += _numbers(mark[1])
    for (start, end), numbers in zip(spans, named, strict=True):
        yield start, end, tuple(dict.fromkeys(numbers))


def _numbers(mark: str) -> Iterator[int]:
    """The numbers in a mark; a range stands for all in it, if there are not too many.

    >>> [*_numbers("1, 4-6")]
    [1, 4, 5, 6]
    """
    for found in _RANGE.finditer(mark):
        first, last = int(found[1]), int(found[2] or found[1])
        yield from range(first, last + 1) if first <= last < first + _WIDEST else (first, last)


class _Held:
    """What a passage has: its numbers, and its words, with the sentences in which they are.

    A sentence is borne by two that follow one another, for in a long passage, words that have nothing to do with each
    other would bear almost anything.
    """

    def __init__(self, text: str) -> None:
        self.numbers = frozenset(_counted(text))
        self.words: dict[str, dict[str, list[int]]] = {}
        for number, (start, end) in enumerate(sentences(text)):
            for word in frozenset(words(text[start:end])):
                self.words.setdefault(word[:_FIRST], {}).setdefault(word, []).append(number)

    def found(self, own: Iterable[str]) -> frozenset[str]:
        """Those of a sentence's *own* words that are in two sentences, the two that have most of them."""
        pairs: dict[int, set[str]] = {}
        for word in own:
            for number in self._places(word):
                pairs.setdefault(number, set()).add(word)
                pairs.setdefault(number + 1, set()).add(word)
        return frozenset(max(pairs.values(), key=len, default=()))

    def _places(self, word: str) -> Iterator[int]:
        """The sentences in which *word* is, or one that is as good as the same."""
        for other, numbers in self.words.get(word[:_FIRST], {}).items():
            if word == other or (len(word) >= _FIRST and _is_near(word, other)):
                yield from numbers


def _is_near(one: str, other: str) -> bool:
    """Whether two words are forms of one.

    >>> _is_near("invoices", "invoicing"), _is_near("rain", "rains"), _is_near("trail", "trains")
    (True, True, False)
    """
    short, long = sorted((one, other), key=len)
    same = next((place for place, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    enough = same >= _FIRST + (same < len(short))
    return enough and same >= _COMMON * len(long) and not one[0].isdigit()


def _counted(text: str) -> Iterator[str]:
    """The numbers in *text*, in the digits 0 to 9, with a point where there is one and nothing between thousands.

    >>> [*_counted("1,000 or ۱۲٫۵ of 2024-05-01, 1.250,50 and 1,250.50, 30.00")]
    ['1000', '12.5', '2024', '05', '01', '1250.50', '1250.50', '30']
    """
    for found in _NUMBER.findall(normalize("NFKC", text.translate(_THIN))):
        parts = _POINT.fullmatch(found)
        whole, rest = (parts[1], parts[3]) if parts is not None and _is_point(*parts.groups()) else (found, "")
        yield f"{_digits(whole)}.{_digits(rest)}" if _digits(rest).strip("0") else _digits(whole)


def _is_point(whole: str, mark: str, rest: str) -> bool:
    """Whether *mark* is a decimal point: one that stands there once, and not before a thousand."""
    return mark == "٫" or (mark not in whole and (len(rest) != _THOUSAND or _digits(whole) == "0"))


def _digits(text: str) -> str:
    return "".join([str(decimal(each)) for each in text if each.isdecimal()])


def _borne(
    text: str, start: int, end: int, marks: tuple[int, ...], held: Sequence[_Held], threshold: float
) -> Sentence:
    """The sentence between two places, and what bears it."""
    said = _MARK.sub("", text[start:end])
    bare = said[found.end() :] if (found := _BULLET.match(said)) else said
    own = [word for word in asked(bare) if (len(word) > 2 or not word.isascii()) and word not in _EMPTY]
    numbers = dict.fromkeys(_counted(bare))
    if not own and not numbers:
        return Sentence(said, start, end, marks, support=1.0, supported=True, claims=False)
    shares = [_shared(own, numbers, (each,)) for each in held]
    passages = [place for place, (share, missing) in enumerate(shares, 1) if share >= threshold and not missing]
    named = [held[mark - 1] for mark in marks if 1 <= mark <= len(held)]
    best = max(shares, key=lambda each: (not each[1], each[0]), default=(0.0, tuple(numbers)))
    support, missing = _shared(own, numbers, named) if marks else best
    supported = support >= threshold and not missing
    return Sentence(said, start, end, marks, passages, support=support, missing=missing, supported=supported)


def _shared(own: Sequence[str], numbers: Iterable[str], held: Sequence[_Held]) -> tuple[float, tuple[str, ...]]:
    """The share of a sentence's *own* words that are *held*, and the numbers that are not."""
    there = len(frozenset[str]().union(*[each.found(own) for each in held]))
    missing = tuple([number for number in numbers if not any(number in each.numbers for each in held)])
    return there / len(own) if own else 1.0, missing
