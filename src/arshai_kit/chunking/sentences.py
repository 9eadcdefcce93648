"""Where sentences end, in many scripts: told by the marks that end them and by what comes next, without a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

__all__ = ["ITEM", "Span", "sentences", "trimmed"]

Span: TypeAlias = tuple[int, int]
"""A piece of a text: its characters from the first place up to the second."""

_FULL: Final = "。！？｡؟۔।॥።፧፨։။៕។᠃᠉꓿"
"""What ends a sentence wherever it stands."""
_CLOSING: Final = "\"'”’»›)\\]}」』）】》〉＂*_"
_BULLET: Final = r"(?:[-*+•‣◦–](?:[^\S\n]|\Z)|\d{1,3}(?:\Z|[.)](?:[^\S\n]|\Z)))"
# What may still become a mark, at the end of the text, is one: where more text comes, pieces then only grow.
ITEM: Final = re.compile(rf"\n(?=[^\S\n]*{_BULLET})")
"""The end of a line before an item of a list."""
_END: Final = re.compile(
    rf"[{_FULL}][{_FULL}.!?…]*[{_CLOSING}]*"
    rf"|(?P<soft>[.!?…‼⁇⁈⁉]+)[{_CLOSING}“‘«‹]*"  # what follows: later, or runs of dots are read again and again
    rf"|\n[^\S\n]*(?=\n)"
    rf"|\n(?=[^\S\n]*(?:{_BULLET}|#{{1,6}}(?:[^\S\n]|\Z)|\|))"
    r"|[\f\u2029]"
)
_BEFORE: Final = re.compile(r"[^\s(\[{\"'“‘«]*$")
_FAR: Final = 24
"""The longest word that is looked at before a full stop."""
_SHORTENED: Final = frozenset(
    """
    mr mrs ms dr prof st sr sra jr vs cf fig figs no nos vol vols pp p ch sec eq eqs ref refs ed eds art al approx ca
    gen col sgt capt lt cmdr gov sen rep rev hon pres messrs mt dept univ est e.g i.e viz
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri
    z.b d.h u.a bzw vgl nr bd abs hr fr str mme mlle mm ud uds pág núm tel resp
    т.е т.д т.п т.к см рис стр гл ул им г гг пр
    """.split()
)
"""What is written with a full stop in the midst of a sentence, and seldom at its end."""


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[Span]:
    r"""The sentences of *text* from *start* up to *end*, without the blanks around them; what is not blank is in one.

    A blank line ends one too, and so does a line before an item of a list. Whether a full stop ends a sentence is
    told by the word before it (`Dr.`, `e.g.`, a single letter, the number of an item) and by what follows: blanks, and
    no small letter.

    >>> text = 'Dr. Azar paid $3.50 (e.g. in cash). Why? "I know." 雨が降る。風も吹く。'
    >>> [text[a:b] for a, b in sentences(text)]
    ['Dr. Azar paid $3.50 (e.g. in cash).', 'Why?', '"I know."', '雨が降る。', '風も吹く。']
    """
    end = len(text) if end is None else end
    begin = start
    for found in _END.finditer(text, start, end):
        if found["soft"] is not None and not _ends(text, begin, found, end):
            continue
        if (span := trimmed(text, begin, found.end())) is not None:
            yield span
        begin = found.end()
    if (span := trimmed(text, begin, end)) is not None:
        yield span


def trimmed(text: str, start: int, end: int) -> Span | None:
    """From *start* up to *end* without the blanks around it; `None` where there is nothing else."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else None


def _ends(text: str, begin: int, found: re.Match[str], end: int) -> bool:
    """Whether a mark such as a full stop, of the sentence that begins at *begin*, ends it."""
    after = found.end()
    if after < end and not text[after].isspace():
        return False
    while after < end and text[after].isspace():
        if text[after] == "\n" and text[after + 1 : after + 2] == "\n":
            return True
        after += 1
    if after < end and (text[after].islower() or (text[after] in "»›" and text[after + 1 : after + 2].isspace())):
        return False
    if found["soft"] != ".":
        return True
    stop = found.start()
    before = _BEFORE.search(text, max(begin, stop - _FAR), stop)
    word = before[0] if before else ""
    initial = len(word) == 1 and word.isalpha() and word.isupper()
    number = word.isdigit() and _opens(text, begin, stop - len(word))
    return not (initial or number or word.casefold() in _SHORTENED or (after < end and _is_acronym(word)))


def _opens(text: str, begin: int, place: int) -> bool:
    """Whether a line, or what begins at *begin*, has nothing but some blanks before *place*."""
    near = max(begin, place - _FAR)
    line = text[near:place].rpartition("\n")
    return not line[2].strip() and (bool(line[1]) or near == begin)


def _is_acronym(word: str) -> bool:
    """Whether *word* is letters with stops between them, as in `U.S`."""
    return "." in word and all(len(part) == 1 for part in word.split("."))
