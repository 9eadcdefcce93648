"""An agent that recalls what has been said under a key: a whole turn is added to it, or nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, Literal

from attrs import evolve, frozen

from arshai_kit._record import Record
from arshai_kit.completion import as_response, run
from arshai_kit.effects import Plan, Step
from arshai_kit.errors import ApprovalNeeded, ArshaiError, Conflict, Misuse, PauseRefused, StoreUnreachable
from arshai_kit.memory.encoding import checked, decoded, encoded
from arshai_kit.memory.pairing import expected, paired, put_right
from arshai_kit.memory.records import Conversation, Memory, Note
from arshai_kit.memory.sharing import fitting
from arshai_kit.memory.taking import Turn, drawn
from arshai_kit.memory.views import Recalled, viewed
from arshai_kit.models import Prompt, is_model, thread
from arshai_kit.records import Message, Paused, Response
from arshai_kit.resilience.around import blocked, named

__all__ = ["PAUSES", "Remembering", "remembering"]

PAUSES: Final = "paused"
"""The note of what was new in the prompts of runs that wait for a person."""
_MOST_PAUSES: Final = 16
"""So many runs of one conversation may wait for a person; the oldest one's prompt is no longer known then."""
_OVER: Final = ""
"""What is noted of one that has gone on; of as many it is known."""
_TRIES: Final = 100


@frozen(eq=False, repr=False)
class Remembering(Record):
    """An agent with a memory, called with `key=`; see `remembering`."""

    agent: Any
    memory: Memory
    view: Any = None
    turns: str = "wait"
    lease: float = 900.0

    def __attrs_post_init__(self) -> None:
        _check(self)

    @property
    def __name__(self) -> str:
        return named(self.agent)

    def plan(self, prompt: Prompt | Paused, *args: Any, key: str = "", **kwargs: Any) -> Plan[Response]:
        """What calling it does, as a plan."""
        if key == "":
            raise _keyless(named(self.agent))
        turn = Turn(self.memory, checked(key), (yield from drawn()), lease=self.lease, name=named(self.agent))
        try:
            try:
                response = yield from self._answered(turn, prompt, args, kwargs)
            except StoreUnreachable:  # nobody waits for it once more: a worker gives the turn back
                raise
            except Exception:
                yield from turn.leave()
                raise
        finally:
            turn.drop()
        return response

    def __call__(self, prompt: Prompt | Paused, *args: Any, key: str = "", **kwargs: Any) -> Response:
        """The answer of the agent."""
        return blocked(self.plan, (self,), (prompt, *args), {**kwargs, "key": key})

    def _answered(self, turn: Turn, prompt: Prompt | Paused, args: Any, kwargs: Any) -> Plan[Response]:
        new = _of_this(prompt, turn.key) if isinstance(prompt, Paused) else thread(prompt)
        said = yield from turn.begin(waits=self.turns == "wait")
        if isinstance(prompt, Paused):
            new = yield from _asked_before(self.memory, turn.key, prompt)
            asked: Any = prompt
        else:
            new, asked = yield from self._recalled(turn.key, said, new)
        try:
            with turn.marked():
                response = as_response((yield from run.plan(self.agent, asked, *args, **kwargs)))
        except ApprovalNeeded as error:
            _belonging(error, turn.key)
            with suppress(ArshaiError):  # the pause is what counts
                yield from _keep(self.memory, turn.key, error.paused, new, prompt)
            raise
        try:
            yield from turn.end(paired((*new, *response.messages)))
        except ArshaiError as error:  # the answer is there, and only it is not kept
            error.partial = response if error.partial is None else error.partial
            raise
        if isinstance(prompt, Paused):
            yield from _changed(self.memory, turn.key, {prompt.id: _OVER})
        return response

    def _recalled(
        self, key: str, said: Conversation, new: tuple[Message, ...]
    ) -> Plan[tuple[tuple[Message, ...], tuple[Message, ...]]]:
        """What is *new*, and what the agent is asked: what was *said*, as the view shows it, and then that."""
        expected(said.messages, new, key)
        said, new, fits = yield from _put_right(self.memory, key, said, new)
        fitting(said, new, key, self.memory.backend)
        asked = (*said.messages, *new)
        if self.view is not None:
            seen = Recalled(key, said.messages, new, self.memory, said.version)
            seen = viewed((yield from run.plan(self.view, seen)), self.view)
            asked = (*seen.messages, *seen.prompt)
        return new, (asked if fits else paired(asked))


def _keyless(name: str) -> Misuse:
    """What is wrong with a call without a key: the programmer's, so that no tool loop tells a model."""
    error = Misuse(
        "key= says whose conversation it is, so it is no empty text, and cannot be left out: remembering(…)(prompt, "
        f"key='user-7'); where nobody passes one on to {name!r}, functools.partial(chat, key='user-7') has it"
    )
    error.ends_run = True  # type: ignore[misc]  # of this one alone
    return error


def _put_right(
    memory: Memory, key: str, said: Conversation, new: tuple[Message, ...]
) -> Plan[tuple[Conversation, tuple[Message, ...], bool]]:
    """What was *said*, with each call answered, as a turn that came late may have gone between; and what is *new*."""
    right, new, fits = put_right(said.messages, new)
    if right == said.messages:
        return said, new, fits
    version = said.version
    with suppress(ArshaiError):  # as when it is full, or somebody else has just done so: it is only not kept
        version = yield from Step("memory", "replace", key, lambda: memory.asked(memory.replace, key, right, version))
    return evolve(said, messages=right, version=version), new, fits


# Runs that wait for a person


def _of_this(paused: Paused, key: str) -> tuple[Message, ...]:
    """Nothing new, if *paused* is of the conversation *key*, or of none: in another one, it would go on twice."""
    if paused.keys and key not in paused.keys:
        raise PauseRefused(f"this pause is of another conversation than {key!r:.80}; nothing was called")
    return ()


def _belonging(error: ApprovalNeeded, key: str) -> None:
    """Have the pause of *error* say that it is of the conversation *key* (too)."""
    paused = error.paused
    if isinstance(paused, Paused) and key not in paused.keys:
        error.paused = evolve(paused, keys=(*paused.keys, key))


def _keep(memory: Memory, key: str, paused: Any, new: tuple[Message, ...], prompt: Any) -> Plan[None]:
    """Note what was *new* in the prompt of the *paused* run: it is added to what was said when that has gone on."""
    over = {prompt.id: _OVER} if isinstance(prompt, Paused) else {}
    if isinstance(paused, Paused):
        yield from _changed(memory, key, {**over, paused.id: encoded(new).decode()})


def _asked_before(memory: Memory, key: str, paused: Paused) -> Plan[tuple[Message, ...]]:
    """What was new in the prompt of a *paused* run, as far as that is known; one that has gone on does not again."""
    if memory.noted is None:
        return _latest(paused.asked)
    note: Note = yield from memory.asked(memory.noted, key, PAUSES)
    text = (note.value or {}).get(paused.id)
    if text == _OVER:
        raise PauseRefused(
            f"this pause of {key!r:.80} was taken up already, and its run has gone on; nothing was called"
        )
    return _latest(paused.asked) if text is None else decoded(text.encode(), key)


def _latest(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """What stands behind the last answer in *messages*."""
    places = [place for place, message in enumerate(messages, 1) if message.role in ("assistant", "tool")]
    return messages[places[-1] :] if places else messages


def _changed(memory: Memory, key: str, changes: dict[str, str]) -> Plan[None]:
    """Make *changes* to what is noted about runs that wait."""
    if memory.noted is None or memory.note is None:
        return
    for _ in range(_TRIES):
        note: Note = yield from memory.asked(memory.noted, key, PAUSES)
        kept = {name: text for name, text in (note.value or {}).items() if name not in changes} | changes
        over, waiting = ([each for each in kept.items() if (each[1] == _OVER) is gone] for gone in (True, False))
        with suppress(Conflict):
            latest = dict((*over[-_MOST_PAUSES:], *waiting[-_MOST_PAUSES:]))
            yield from memory.asked(memory.note, key, PAUSES, latest, note.version)
            return


def remembering(
    agent: Any,
    memory: Memory,
    view: Any = None,
    *,
    turns: Literal["wait", "refuse"] = "wait",
    lease: float = 900.0,
) -> Remembering:
    """*agent*, but it recalls what has been said under a key: `chat("And in Oslo?", key="user-7")`.

    It is given all that was said, or what the *view* makes of that, and then the prompt. The prompt and what the
    agent's run adds are kept in one piece once it has answered; a turn that fails, is cancelled or is left keeps
    nothing. The response holds what the run added, and nothing that was said before.

    Turns of one key come one after the other: who comes meanwhile waits, first come first served, or is refused with
    `TurnTaken` (`turns="refuse"`). A turn that has not ended after *lease* seconds holds up nobody any more, nor does
    one of a process that was killed after 90 (in a file, or in Redis). Inside of a turn, tools may use the same memory
    and key: they see what was said before it.

    >>> from arshai_kit.memory.in_process import in_memory
    >>> chat = remembering(lambda said: f"That makes {len(said)}.", in_memory())
    >>> chat("One.", key="ann").text, chat("Two.", key="ann").text, chat("One.", key="bob").text
    ('That makes 1.', 'That makes 3.', 'That makes 1.')
    """
    return Remembering(agent, memory, view, turns, lease)


def _check(made: Remembering) -> None:
    """Refuse what cannot work, also where it comes by `evolve`."""
    agent, view, lease = made.agent, made.view, made.lease
    if is_model(agent) or not (callable(agent) or hasattr(agent, "plan")):
        given = "a model: agent(model) makes one of it" if is_model(agent) else type(agent).__name__
        raise Misuse(f"remembering() takes an agent, a function from a prompt to an answer, not {given}")
    if not isinstance(made.memory, Memory):
        raise Misuse(f"remembering() takes a memory, as in_memory() makes one, not {type(made.memory).__name__}")
    if view is not None and not callable(view):
        raise Misuse(f"view= is a function from a Recalled to another, as windowed(…) makes one, not {view!r:.80}")
    if made.turns not in ("wait", "refuse"):
        raise Misuse(f"turns= is 'wait' or 'refuse', not {made.turns!r}")
    if isinstance(lease, bool) or not isinstance(lease, int | float) or not 0 < lease < float("inf"):
        raise Misuse(f"lease= is a number of seconds above zero, not {lease!r}")
