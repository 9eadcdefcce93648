"""Letters that a server cuts in two, as those do that count in UTF-16: the halves come in two pieces of a stream."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["FIRST", "LAST", "joined", "parted"]

FIRST: Final = "\ud800"
LAST: Final = "\udbff"
"""The first half of a letter lies between these."""

_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def joined(text: str) -> str:
    r"""*text*, each two halves made the letter that they are.

    >>> joined("\ud83d\ude00!") == "\N{GRINNING FACE}!"
    True
    """
    return text if text.isascii() else _PAIR.sub(_letter, text)


def parted(half: str, text: str) -> tuple[str, str]:
    r"""What can be told of *half* and the *text* behind it, and the half at its end that has to wait for the other.

    >>> parted("", "Hi \ud83d") == ("Hi ", "\ud83d")
    True
    """
    text = joined(half + text)
    return (text[:-1], text[-1]) if FIRST <= text[-1:] <= LAST else (text, "")


def _letter(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")
