"""How many tokens a message takes: counted by a real tokenizer where there is one, or estimated, as said."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import Any, Final, Literal, TypeAlias

from arshai_kit._json import dumps
from arshai_kit.errors import Misuse, need
from arshai_kit.records import Message, Opaque, Part, Text, Thinking, ToolCall, ToolResult, user

__all__ = ["Count", "counting", "estimated", "estimated_text", "shortened", "text_tokenizer", "tokenizer", "total"]

Count: TypeAlias = Callable[[Message], int]
"""How many tokens a message takes."""

_LETTERS: Final = bytes([*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1), *b" \t\r\n"])
_OTHERS: Final = bytes([byte for byte in range(0x80) if byte not in _LETTERS])
_TWO_BYTES: Final = bytes(range(0xC0, 0xE0))
_MORE_BYTES: Final = bytes(range(0xE0, 0x100))
_WEIGHTS: Final = ((_LETTERS, 0.286), (_OTHERS, 0.36), (_TWO_BYTES, 0.37), (_MORE_BYTES, 0.78))
"""Tokens for each letter or space of ASCII, for each other character of it, and for each that is 2, 3 or 4 bytes."""

_AROUND: Final = 4
"""What a provider writes around each message, and around each call: roles and marks."""
_SHORTEST: Final = 1000
_MEDIA: Final = 1000
"""A picture, a page or a sound: providers count from 85 to some thousands, by a size that is not known here."""


def estimated_text(text: str) -> int:
    """About how many tokens *text* takes, told by its kinds of characters alone.

    >>> estimated_text("Where is my refund?"), estimated_text("پول من کجاست؟"), estimated_text("")
    (6, 5, 0)
    """
    data = text.encode("utf-8", "replace")
    size = len(data)
    return ceil(sum([weight * (size - len(data.translate(None, kind))) for kind, weight in _WEIGHTS]))


def counting(words: Callable[[str], int], *, media: int = _MEDIA) -> Count:
    """The counter of messages whose texts *words* counts; a picture, a file or a sound counts as *media* tokens.

    Tool calls count by their names and arguments, as JSON; every message, and every call and result, by 4 more.

    >>> from arshai_kit.records import user
    >>> counting(len)(user("Hello"))
    9
    """

    def count(message: Message) -> int:
        return _AROUND + sum([_of(part, words, media) for part in message.parts])

    return count


def _of(part: Part, words: Callable[[str], int], media: int) -> int:
    match part:
        case Text(text=text) | Thinking(text=text):
            return words(text)
        case ToolCall(name=name, arguments=arguments, broken=broken):
            return _AROUND + words(name) + words(broken or dumps(arguments).decode())
        case ToolResult(content=str(text)):
            return _AROUND + words(text)
        case ToolResult(content=tuple(parts)):
            return _AROUND + sum([_of(each, words, media) for each in parts])
        case Opaque(value=value):
            return words(dumps(value).decode())
    return media


estimated: Final[Count] = counting(estimated_text)
"""An estimate of how many tokens a message takes, the default wherever tokens are counted."""


Encoding: TypeAlias = Literal["o200k_base", "cl100k_base"]


def tokenizer(encoding: Encoding = "o200k_base", *, media: int = _MEDIA) -> Count:
    """The counter by the real tokenizer of OpenAI's models, offline: it needs the extra `tokens`.

    `o200k_base` is that of GPT-4o and all that came after it, `cl100k_base` of GPT-4 and its embedders. Other
    providers' models have tokenizers of their own, most of them unpublished; they differ by some ten percent.
    """
    return counting(text_tokenizer(encoding), media=media)


def text_tokenizer(encoding: Encoding = "o200k_base") -> Callable[[str], int]:
    """The same for texts."""
    try:
        from rs_bpe import openai
    except ImportError:
        need("rs-bpe", "tokens")
    made: Any = getattr(openai, encoding, None)
    if encoding not in ("o200k_base", "cl100k_base") or made is None:
        raise Misuse(f"there are the encodings 'o200k_base' and 'cl100k_base', and no {encoding!r}")
    counts: Callable[[str], int] = made().count
    return lambda text: counts(text.encode("utf-8", "replace").decode())


def shortened(text: str, most: int, count: Count = estimated) -> str:
    """*text*, without its middle where it takes more than *most* tokens; a thousand letters are always left.

    >>> shortened("Hello", 2), len(shortened("word " * 10_000, 2000)) < 8000
    ('Hello', True)
    """
    shown, left = text, len(text)
    while left > _SHORTEST and (size := count(user(shown))) > most:
        left = max(_SHORTEST, min(left * most // size, left * 9 // 10))
        end = len(text) - left // 2
        shown = f"{text[: left - left // 2]}\n[… {len(text) - left} letters are left out here …]\n{text[end:]}"
    return shown


def total(messages: Iterable[Message], count: Count = estimated) -> int:
    """How many tokens *messages* take together.

    >>> from arshai_kit.records import assistant, user
    >>> total([user("Hello"), assistant("Hello!")], counting(len))
    19
    """
    return sum([count(message) for message in messages])
