"""What is said in the conversations of the load: all of it follows from a seed, so that a mixed-up word is seen.

Turn *turn* of conversation *talk* is a question, in every third turn two calls of tools with their results, and an
answer. A normal form, `Line`, is what both sides make of a message, to compare it with what must have been said.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b, shake_128
from typing import NamedTuple

TURNS = 10
SEED = 7
PIECE = 16
TOOLS = ("looked_up", "counted")


class Line(NamedTuple):
    """One message: who says it, its text, and the names and keys of the calls in it."""

    role: str
    text: str
    calls: tuple[tuple[str, str], ...] = ()


def chance(*of: object) -> float:
    """A number from 0 to 1 that follows from what it is *of*.

    >>> chance(1, "fault") == chance(1, "fault") != chance(2, "fault")
    True
    """
    return int.from_bytes(blake2b(repr(of).encode(), digest_size=8).digest(), "big") / 2**64


def question(talk: int, turn: int) -> str:
    """What the user says; it begins with the numbers of the conversation and the turn."""
    return f"{talk}.{turn} {_letters(80, 'question', talk, turn)}"


def place(text: str) -> tuple[int, int]:
    """The conversation and the turn of a question.

    >>> place(question(4999, 9))
    (4999, 9)
    """
    talk, _, turn = text.partition(" ")[0].partition(".")
    return int(talk), int(turn)


def answer(talk: int, turn: int) -> tuple[str, ...]:
    """What the model says, in the pieces that a stream brings: 6 to 14 of them."""
    count = 6 + int(9 * chance(SEED, "pieces", talk, turn))
    letters = _letters(count * PIECE, "answer", talk, turn)
    return tuple([letters[start : start + PIECE] + " " for start in range(0, len(letters), PIECE)])


def calls(talk: int, turn: int) -> tuple[tuple[str, str], ...]:
    """The calls in a turn: both tools, each with a key of its own, in every third turn.

    >>> [name for name, key in calls(1, 2)], calls(1, 3)
    (['looked_up', 'counted'], ())
    """
    if turn % 3 != 2:
        return ()
    return tuple([(name, _letters(24, name, talk, turn)) for name in TOOLS])


def result(name: str, key: str) -> str:
    """What a tool gives for *key*."""
    return _letters(60, "result", name, key)


def looked_up(key: str) -> str:
    """Look up what is known under a key."""
    return result("looked_up", key)


async def counted(key: str) -> str:
    """Count what there is under a key."""
    return result("counted", key)


def lines(talk: int, turn: int) -> Iterator[Line]:
    """All that is said in a turn."""
    yield Line("user", question(talk, turn))
    if asked := calls(talk, turn):
        yield Line("assistant", "", asked)
        for name, key in asked:
            yield Line("tool", result(name, key))
    yield Line("assistant", "".join(answer(talk, turn)))


def _letters(count: int, *of: object) -> str:
    return shake_128(repr((SEED, *of)).encode()).hexdigest((count + 1) // 2)[:count]
