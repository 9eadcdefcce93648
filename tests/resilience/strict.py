"""A provider that refuses a history with a call without its result, and stands still wherever a test wants it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from attrs import define, field

from arshai_kit import Finished, Message, Response, StepFinished, StepStarted, openai_compatible
from arshai_kit.models import Endpoint
from arshai_kit.records import Event
from tests.badinput.ways import DONE, body, calling, chunk, sent
from tests.laws.test_streaming import folded
from tests.transport.server import SOON, Peer, Server, serving

ROUNDS = 2
"""How often the provider asks for tools before it answers."""

NAMES = ("add", "look")
USAGE = {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100}

TEXT = (chunk({"role": "assistant", "content": "Let me "}), chunk({"content": "see."}))
HALF = calling('{"number": 1', 0, "call_x", "add")
FIRST_CLOSED = (calling('{"number": 1}', 0, "call_x", "add"), calling('{"numb', 1, "call_y", "look"))


def refusal(messages: Sequence[Any]) -> str:
    """Why no provider takes *messages*, if none does: each call is answered, once, before anything else is said."""
    waiting: list[str] = []
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                return f"message {place} answers no call"
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return f"message {place} comes before the answer to {waiting}"
        waiting += [call["id"] for call in message.get("tool_calls", ())]
        if not (message.get("content") or message.get("tool_calls")):
            return f"message {place} says nothing"
    return f"nothing answers {waiting}" if waiting else ""


def _turn(messages: Sequence[Any]) -> int:
    """How many answers to calls have been told since the user spoke last, in rounds."""
    last = max(place for place, message in enumerate(messages) if message["role"] == "user")
    return sum("tool_calls" in message for message in messages[last:])


def _said(messages: Sequence[Any]) -> tuple[str, list[tuple[str, str, str]]]:
    turn, place = _turn(messages), len(messages)
    if turn >= ROUNDS:
        return "All done.", []
    return f"Round {turn}.", [(f"call_{place}_{at}", name, json.dumps({"number": at})) for at, name in enumerate(NAMES)]


def _streamed(text: str, calls: Sequence[tuple[str, str, str]]) -> bytes:
    pieces = [chunk({"role": "assistant", "content": text[:3]}), chunk({"content": text[3:]})]
    for place, (key, name, arguments) in enumerate(calls):
        pieces += [calling(arguments[:5], place, key, name), calling(arguments[5:], place, "", "")]
    finish = "tool_calls" if calls else "stop"
    return sent(
        *pieces, chunk({}, finish), b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n", DONE
    )


def _whole(text: str, calls: Sequence[tuple[str, str, str]]) -> bytes:
    made = [
        {"id": key, "type": "function", "function": {"name": name, "arguments": arguments}}
        for key, name, arguments in calls
    ]
    told = {"role": "assistant", "content": text, **({"tool_calls": made} if made else {})}
    choice = {"index": 0, "message": told, "finish_reason": "tool_calls" if made else "stop"}
    return body({"id": "c-1", "model": "toy-1", "choices": [choice], "usage": USAGE})


@define
class Strict:
    """The provider: what it was asked, what it *holds* instead of answering, and when its clients left."""

    server: Server
    holds: Sequence[bytes] = ()
    at: int = 10**6
    asked: list[Any] = field(factory=list)
    holding: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))
    gone: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))
    left: float = 0.0
    cut: threading.Event | None = None
    then: tuple[threading.Event, bytes] | None = None

    def model(self, **options: Any) -> Endpoint:
        """A model that lives here."""
        return openai_compatible("toy-1", base_url=f"{self.server.url}/v1", api_key="", **{"retry": None, **options})

    def holds_on(self, *pieces: bytes, at: int = 0) -> None:
        """Send *pieces* instead of answer number *at* from now, and then nothing, until the client hangs up."""
        self.holds, self.at, self.cut = pieces, len(self.asked) + at, None

    def cuts_off(self, *pieces: bytes, after: threading.Event) -> None:
        """Send *pieces* instead of the next answer, and hang up *after* that."""
        self.holds_on(*pieces)
        self.cut = after

    def saw_it_leave(self, since: float) -> float:
        """Wait until the client of what is held has left, and tell after how many seconds that was."""
        assert self.gone.acquire(timeout=SOON), "the server never saw the close"
        return self.left - since

    def act(self, peer: Peer) -> None:
        """Answer what comes over one connection."""
        while peer.request():
            asked = json.loads(peer.body)
            number = len(self.asked)
            self.asked.append(asked)
            if why := refusal(asked["messages"]):
                peer.send(body({"error": {"message": why}}, status="400 Bad Request"))
            elif number == self.at:
                self.hold(peer)
                return
            else:
                peer.send((_streamed if asked.get("stream") else _whole)(*_said(asked["messages"])))

    def hold(self, peer: Peer) -> None:
        """Say what is to be said, and wait until the client has gone."""
        if self.holds:
            peer.send(sent(*self.holds, end=False))
        self.holding.release()
        if self.then is not None:
            self.then[0].wait(SOON)
            peer.send(b"%x\r\n%s\r\n" % (len(self.then[1]), self.then[1]))
        if self.cut is not None:
            self.cut.wait(SOON)
            return
        with suppress(OSError):
            peer.hung_up()
        self.left = monotonic()
        self.gone.release()


@contextmanager
def strict() -> Iterator[Strict]:
    """Such a provider, as long as the block runs."""
    living: list[Strict] = []

    def behave(peer: Peer) -> None:
        living[0].act(peer)

    with serving(behave) as server:
        living.append(Strict(server))
        yield living[0]


def heard(events: Iterable[Event]) -> tuple[Message, ...]:
    """The messages of a run that was left after *events*: also what the model was just saying, and every result."""
    told = tuple(events)
    steps = [each for each in told if isinstance(each, StepStarted | StepFinished) and each.kind == "model"]
    cut = [StepFinished("model", "toy-1")] * bool(steps and isinstance(steps[-1], StepStarted))
    return tuple([message for message in folded((*told, *cut, Finished(Response(())))) if message.parts])
