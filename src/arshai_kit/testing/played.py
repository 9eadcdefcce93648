"""A function plays the model: it is given what a model would be asked, and says what a model might answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Emit, Plan
from arshai_kit.errors import Misuse
from arshai_kit.models import UNKNOWN, Ask, Capabilities, is_model, retold
from arshai_kit.records import Response, TextDelta
from arshai_kit.testing.script import as_answer

__all__ = ["Played", "played_by"]

_WORDS: Final = re.compile(r"\S+\s*|\s+")


@frozen(eq=False, repr=False)
class Played(Record):
    """A model that a *function* plays; see `played_by`."""

    function: Callable[[Ask], Any]
    name: str
    capabilities: Capabilities = field(default=UNKNOWN, repr=False)

    @property
    def provider(self) -> str:
        """Nobody else."""
        return "testing"

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """What the function answers, told word by word when *stream*."""
        response = as_answer(self.function(ask), len(ask.messages))
        if stream:
            for event in retold(response):
                told = map(TextDelta, _WORDS.findall(event.text)) if type(event) is TextDelta else (event,)
                for each in told:
                    yield from Emit((each,))
        if response.model:
            return response
        return evolve(response, model=self.name, provider=self.provider)


def played_by(function: Callable[[Ask], Any], *, name: str = "") -> Played:
    """A model whose every answer is what *function*, a pure one, says to the `Ask`; it is asked as often as you like.

    It says it as `scripted` is told: a string, a call or several, a mapping for an answer that has a type, an exception
    to be raised. So an example or a test shows real behaviour, offline; put a provider's model in its place, and the
    rest stays.

    >>> from arshai_kit import complete
    >>> complete(played_by(lambda ask: ask.messages[-1].text.upper(), name="loud"), "Hello").text
    'HELLO'
    """
    if is_model(function) or isinstance(function, type) or not callable(function):
        raise Misuse(f"played_by() takes a function of the Ask, not {type(function).__name__}")
    called = name or str(getattr(function, "__name__", "")).strip("<>")
    return Played(function, called or "function")
