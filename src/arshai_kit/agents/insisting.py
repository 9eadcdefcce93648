"""An answer that will not do is asked for again, with what is wrong with it."""

from __future__ import annotations

from typing import Any

from attrs import evolve, frozen

from arshai_kit._record import Record
from arshai_kit.agents.joining import callable_agent, found_wrong, hushed, kept, own_name, so_far, summed
from arshai_kit.agents.making import placed
from arshai_kit.completion import as_response, run
from arshai_kit.effects import Emit, Plan
from arshai_kit.errors import BadAnswer, Misuse
from arshai_kit.models import UNFINISHED, thread
from arshai_kit.records import Message, Notice, Paused, Response, Usage, close_open_calls, user
from arshai_kit.resilience.around import blocked, named

__all__ = ["Insisting", "insist"]


@frozen(eq=False, repr=False)
class Insisting(Record):
    """An agent whose answer has to pass a check; see `insist`."""

    agent: Any
    check: Any
    times: int = 2

    def __attrs_post_init__(self) -> None:
        if _remembers(self.agent):
            raise Misuse(
                "insist() hands on all that was said, which a memory inside would keep twice: remembering(insist(…))"
            )
        if type(self.times) is not int or self.times < 0:
            raise Misuse(f"times= is a whole number from 0, not {self.times!r}")

    @property
    def __name__(self) -> str:
        return named(self.agent)

    def plan(self, prompt: Any, *args: Any, **kwargs: Any) -> Plan[Response]:
        """What calling it does, as a plan."""
        said = prompt = kept(prompt)
        done: list[Response] = []
        for left in range(self.times, -1, -1):
            try:
                response, wrong = yield from self._answered(said, args, kwargs)
                done.append(response)
                if wrong is None:
                    wrong = yield from self._wrong(response, done)
            except Exception as error:
                so_far(error, done, named(self.agent))
                raise
            if not wrong:
                return summed(done, response)
            if left:
                done.append(_correcting(wrong))
                said, kwargs = _asked(prompt, kwargs)
                said = (*said, *[message for each in done for message in each.messages])
                yield from Emit((Notice("insisted", named(self.agent), wrong, {"left": left}),))
        why = f"no answer of {named(self.agent)} would do, of {self.times + 1}; the last one: {wrong}"
        raise BadAnswer(why, text=response.text, partial=summed(done, response))

    def _answered(self, said: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan[tuple[Response, str | None]]:
        """An answer; what is wrong with it, if the agent itself could not make it fit the type that it is to have."""
        try:
            return as_response((yield from run.plan(self.agent, said, *args, **kwargs))), None
        except BadAnswer as error:
            last = error.partial
            if not isinstance(last, Response) or last.finish_reason in UNFINISHED:
                raise
            return evolve(last, messages=close_open_calls(last.messages, str(error))), str(error)

    def _wrong(self, response: Response, done: list[Response]) -> Plan[str]:
        """What is wrong with *response*; nothing if it will do. What that took is added to *done*."""
        asks = hasattr(self.check, "plan")
        check = placed(self.check, own_name(self.check) or "check") if asks else self.check
        value = yield from hushed(run.plan(check, response.text if asks else response))
        if isinstance(value, Response):
            done.append(evolve(value, messages=(), tool_runs=()))
        return found_wrong(value)

    def __call__(self, prompt: Any, *args: Any, **kwargs: Any) -> Response:
        """An answer that will do."""
        return blocked(self.plan, (self,), (prompt, *args), kwargs)


def _asked(prompt: Any, kwargs: dict[str, Any]) -> tuple[tuple[Message, ...], dict[str, Any]]:
    """What *prompt* asks, and what goes with it; of a run that waited, what was decided is done once it has gone on."""
    if isinstance(prompt, Paused):
        return prompt.asked, {name: value for name, value in kwargs.items() if name != "decisions"}
    return thread(prompt), kwargs


def _correcting(wrong: str) -> Response:
    """What the agent is told of its answer: a part of the conversation that took nothing."""
    from decimal import Decimal

    return Response((user(f"That will not do: {wrong}\nAnswer again."),), usage=Usage(), cost=Decimal(0))


def insist(agent: Any, check: Any, *, times: int = 2) -> Insisting:
    """*agent*, which is asked again, up to *times* times, while *check* finds something wrong with its answer.

    *check* is a function of the `Response`, sync or async, that gives what is wrong in words, or `True`, `None` or ""
    if nothing is; or an agent, which is given the text. The agent is asked with the conversation so far and what is
    wrong at its end; so it is if its answer does not fit its own `output=` type. When no answer will do, that raises
    `BadAnswer` with all of them in `partial`. What is passed besides the prompt goes to the agent each time.

    >>> answers = iter(["Maybe.", "Yes."])
    >>> insist(lambda prompt: next(answers), lambda response: "" if response.text == "Yes." else "say yes")("?").text
    'Yes.'
    """
    agent = callable_agent(agent, "insist()")
    check = callable_agent(check, "insist(), as its check,")
    return Insisting(agent, check, times)


def _remembers(agent: Any) -> bool:
    """Whether *agent*, or whom it wraps, has a memory of the conversation."""
    while isinstance(agent, Record) and not callable(getattr(getattr(agent, "memory", None), "append", None)):
        agent = getattr(agent, "agent", None)
    return isinstance(agent, Record)
