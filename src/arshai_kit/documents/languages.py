"""In which language a text is written, where it does not say so: a guess that is given only where it is a good one."""

from __future__ import annotations

import os
import re
from functools import cache
from threading import Lock
from typing import Final

__all__ = ["language_of", "tag"]

_SAMPLE: Final = 800
_LEAST: Final = 24
_APART: Final = 6.0
"""How far, in natural logarithms, the likeliest language is ahead of the next: four hundred times as likely."""
_IDEOGRAPHS: Final = "\u2e80"
"""From here on, a character is about a word's worth."""
_TAG: Final = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,4}\Z")


def tag(text: str) -> str:
    """*text*, if it is the tag of a language; else nothing.

    >>> tag("fa_IR"), tag("English text")
    ('fa-IR', '')
    """
    text = text.strip()
    return text.replace("_", "-") if _TAG.match(text) else ""


def language_of(text: str) -> str:
    """The tag of the language of *text*; nothing, where it is too short, not clear, or nobody can tell."""
    sample = " ".join(text[:_SAMPLE].split())
    if sum(3 if each >= _IDEOGRAPHS else 1 for each in sample[:200] if each.isalpha()) < _LEAST:
        return ""
    try:
        from py3langid import rank
    except ImportError:
        return ""
    with _turn(os.getpid()):
        (first, likely), (_, next_) = rank(sample)[:2]
    return str(first) if likely - next_ > _APART and first != "zxx" else ""


@cache
def _turn(process: int) -> Lock:  # noqa: ARG001  # a fork has its own: whoever held its parent's is not there
    """Who asks for the first time loads 100 MB, which several at once would each load for themselves."""
    return Lock()
