"""Answers go to standard output, everything else to standard error; colours and a spinner only to who looks on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol, TextIO

__all__ = ["Waiting", "aside", "complain", "is_watched", "linked", "printable", "say", "waiting"]

_CONTROLS = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t\r"},
    **dict.fromkeys(range(0x80, 0xA0), "�"),
    0x7F: "␡",
    0x0D: "",
}


def printable(text: str) -> str:
    r"""*text* without what commands a terminal: nobody's words may move its cursor or rename its window.

    >>> printable("red: \x1b[31m\r\n")
    'red: ␛[31m\n'
    """
    return text.translate(_CONTROLS)


def is_watched(stream: TextIO | None) -> bool:
    """Whether *stream* is a terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def say(text: str) -> None:
    """Write words of the answer, at once; as they are, unless to a terminal."""
    sys.stdout.write(printable(text) if is_watched(sys.stdout) else text)
    sys.stdout.flush()


def aside(text: str, style: str = "dim") -> None:
    """Write a line beside the answer, in the colours of *style* where somebody looks on."""
    if not is_watched(sys.stderr):
        print(printable(text), file=sys.stderr, flush=True)
        return
    from rich.text import Text

    _console().print(Text(printable(text), style), soft_wrap=True)


def complain(text: str) -> None:
    """Say what went wrong."""
    aside(f"arshai-kit: {text}", "red")


def linked(text: str, address: str) -> None:
    """Write a line of the answer that leads to *address*, where a terminal shows it."""
    if not address or not is_watched(sys.stdout):
        say(f"{text}\n")
        return
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text(printable(text), f"link {printable(address)}"), soft_wrap=True)


class Waiting(Protocol):
    """A sign of life while nothing is written: what writes stops it before, and may start it again."""

    def start(self) -> None:
        """Show it."""

    def stop(self) -> None:
        """Hide it."""


class _Unseen:
    """What is shown to nobody."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@contextmanager
def waiting(words: str = "") -> Iterator[Waiting]:
    """Show a spinner, if somebody looks on, until the block ends."""
    spinner: Waiting = _Unseen()
    if is_watched(sys.stdout) and is_watched(sys.stderr):
        spinner = _console().status(words, spinner="dots", spinner_style="dim")
    spinner.start()
    try:
        yield spinner
    finally:
        spinner.stop()


@cache
def _console() -> Any:
    """Rich's console for standard error; it obeys `NO_COLOR` and `TERM=dumb`."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)
