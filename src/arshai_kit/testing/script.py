"""A model's answers, written down beforehand: every model that is asked inside the block gives the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, TypeAlias

from attrs import evolve

from arshai_kit._json import dumps
from arshai_kit.effects import Emit, Halt, Plan, Step, Where
from arshai_kit.errors import Misuse, ScriptError
from arshai_kit.models import Ask, Asked, retold
from arshai_kit.records import Message, Part, Response, ToolCall, assistant
from arshai_kit.scope import Scope
from arshai_kit.testing._block import Block

__all__ = ["Answer", "Script", "scripted"]

Answer: TypeAlias = (
    str
    | ToolCall
    | Sequence["str | Part"]
    | Mapping[str, Any]
    | Message
    | Response
    | Exception
    | type[Exception]
    | Callable[[Ask], Any]
)
"""What a script may hold; a function is asked what to answer."""


class Script(Block):
    """The answers of a block, and what was *asked* so far."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        super().__init__()
        self.asked: tuple[Ask, ...] = ()
        self._answers = answers
        self._lock = Lock()
        self._missed: ScriptError | None = None

    def _changes(self, outer: Scope) -> dict[str, Any]:
        return {"layers": self._instead(outer, {Step: self._on_step})}

    def _end(self, *, failed: bool) -> None:
        """Refuse answers that nobody wanted, and questions that found none, though the program went on."""
        left = self._answers[len(self.asked) :]
        if failed:
            return
        if self._missed is not None:
            raise self._missed
        if left:
            shown = "; ".join([_short(answer) for answer in left])
            raise ScriptError(f"{len(left)} of {_many(self._answers)} left over, nobody asked for: {shown}")

    def _on_step(self, step: Step[Any], _where: Where) -> Plan[Any]:
        if step.kind != "model":
            return (yield from step)
        number, answer = self._next(step)
        plan = _telling(_told_by(as_answer(answer, number), step.name))
        made = step.make_plan
        return (yield from made.heard(plan) if isinstance(made, Asked) else plan)

    def _next(self, step: Step[Any]) -> tuple[int, Any]:
        """The number and the answer of the next question, which *step* asks."""
        with self._lock:
            number = len(self.asked)
            if number >= len(self._answers):
                self._missed = ScriptError(
                    f"the script has {_many(self._answers)}, and {step.name!r} is asked once more: "
                    f"{_short(step.input.messages[-1:])}"
                )
                raise Halt(self._missed)
            self.asked = (*self.asked, step.input)
        answer = self._answers[number]
        if isinstance(answer, type):
            return number, answer(_short(step.input.messages[-1:]))
        return number, answer(step.input) if callable(answer) else answer


def scripted(*answers: Answer) -> Script:
    """Let every model that is asked inside the block give the next of *answers*; nothing is sent.

    A string is what the model says, a `ToolCall`, or a sequence of parts and calls, what it asks for, a mapping what it
    answers where a type is wanted; a message or a response is taken as it is, an exception raised, and a function is
    given the `Ask` and returns one of these. Too few answers end the run, and too many the block, with `ScriptError`.

    >>> from arshai_kit import complete, openai_compatible
    >>> model = openai_compatible("any", base_url="http://localhost", api_key="")
    >>> with scripted("Oslo", lambda ask: ask.messages[-1].text.upper()) as script:
    ...     complete(model, "The capital of Norway?").text, complete(model, "louder").text
    ('Oslo', 'LOUDER')
    >>> script.asked[0].messages[0].text
    'The capital of Norway?'
    """
    for answer in answers:
        held = callable(answer) or isinstance(answer, ToolCall | Mapping | Message | Response | Exception | Sequence)
        if not held:
            raise Misuse(f"a script holds text, calls, messages, responses, errors, and no {type(answer).__name__}")
    return Script(answers)


def _telling(response: Response) -> Plan[Response]:
    yield from Emit(retold(response))
    return response


def as_answer(answer: Any, number: int) -> Response:
    """What *answer*, the one with *number*, means as a response.

    >>> as_answer(("Let me see.", ToolCall("", "look")), 2).tool_calls
    (ToolCall('call_2_1', name='look'),)
    """
    match answer:
        case Exception():
            raise answer
        case Response():
            return answer
        case Message():
            message = answer
        case str() | ToolCall():
            message = assistant(answer)
        case Mapping():
            message = assistant(dumps(answer).decode())
        case Sequence() if not isinstance(answer, bytes):
            message = assistant(*answer)
        case _:
            raise Misuse(f"a script answers with text, calls, a message, a response, not with {type(answer).__name__}")
    parts = tuple([_named(part, f"call_{number}_{place}") for place, part in enumerate(message.parts)])
    message = evolve(message, parts=parts)
    return Response((message,), "tool_calls" if message.tool_calls else "stop")


def _told_by(response: Response, model: str) -> Response:
    """*response*, as given by *model* unless it says by whom."""
    return response if response.model else evolve(response, model=model)


def _named(part: Part, key: str) -> Part:
    """*part*; a call without an id has *key* for one, or its result could not be paired with it."""
    return evolve(part, id=key) if isinstance(part, ToolCall) and not part.id else part


def _many(answers: tuple[Any, ...]) -> str:
    return "1 answer" if len(answers) == 1 else f"{len(answers)} answers"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
