"""The provider of the load, in a process of its own: it takes its time, breaks at times, and checks what it is told.

The first part of a path says how: `/1_0.02_3/v1/…` has the delays as they are, 2 % of faults, and 3 as the seed of the
faults. Each last chunk (and each whole reply) tells under `load` how long the server itself took over all requests of
the turn, and how many faults it put in their way. `GET /counts` tells the rest, and so does `GET /forget`, once.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

from attrs import Factory, define, field, fields, frozen

from benchmarks.server import taken
from benchmarks.talks import Line, answer, calls, chance, lines, place

BACKLOG = 4096
ROOT = Path(__file__).parent.parent

MENDABLE = ("429", "503", "reset before the headers", "closed before the first event")
BREAK = "broken in mid-stream"
BREAKS = 0.1
"""The share of the faults that no retry can mend."""
IN_A_ROW = 2
"""So many faults that retries mend may meet one request in a row: as many as the default has retries."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
REFUSED = {
    "429": b"HTTP/1.1 429 Too Many\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}",
    "503": b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}",
}


def unserved() -> float:
    """Seconds for which this process's first thread could have run, but others had the CPUs; Linux tells."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


@frozen
class Manner:
    """How the server behaves: the part *pace* of the usual delays, and *faults* of so many, by *seed*."""

    pace: float
    faults: float
    seed: int

    @classmethod
    def of(cls, scenario: str) -> Manner:
        """What a path says.

        >>> Manner.of("1_0.02_3")
        Manner(pace=1.0, faults=0.02, seed=3)
        """
        pace, faults, seed = scenario.split("_")
        return cls(float(pace), float(faults), int(seed))

    def fault(self, *of: object) -> str:
        """What goes wrong with the request *of* these numbers; mostly nothing."""
        drawn = chance(self.seed, "fault", *of)
        if drawn >= self.faults:
            return ""
        kind = drawn / self.faults
        return BREAK if kind < BREAKS else MENDABLE[int((kind - BREAKS) / (1 - BREAKS) * len(MENDABLE))]


@define
class Seen:
    """What the server has seen and done."""

    asked: int = 0
    at_a_time: int = 0
    most_at_a_time: int = 0
    given_up: int = 0
    wrong: list[str] = Factory(list)
    faults: Counter[str] = Factory(Counter)
    late: list[float] = Factory(list)
    timers: int = 0
    tries: Counter[Any] = field(factory=Counter, repr=False)
    in_a_row: Counter[Any] = field(factory=Counter, repr=False)
    spent: dict[Any, list[float]] = field(factory=dict, repr=False)
    began: float = Factory(time.process_time)
    unserved: float = Factory(unserved)

    def forget(self) -> None:
        """Begin anew."""
        fresh = Seen()
        for spot in fields(Seen):
            setattr(self, spot.name, getattr(fresh, spot.name))

    def told(self) -> bytes:
        """All this, as JSON."""
        late = sorted(self.late) or [0.0]
        facts = {name: getattr(self, name) for name in ("asked", "most_at_a_time", "given_up", "wrong", "faults")}
        facts["late"] = [late[int(len(late) * share)] for share in (0.5, 0.95, 0.99)]
        facts["cpu"], facts["unserved"] = time.process_time() - self.began, unserved() - self.unserved
        data = json.dumps(facts).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)

    def was_late(self, seconds: float) -> None:
        """A timer rang so much late: what shows whether the server is at its limit; one of 16 is noted."""
        self.timers += 1
        if self.timers % 16 == 0:
            self.late.append(seconds)


@frozen(eq=False)
class Asked:
    """A request that is understood: whose turn it is, in which round of the turn, and for how many times."""

    talk: int
    turn: int
    calls: tuple[tuple[str, str], ...]
    streamed: bool
    tried: int

    @classmethod
    def of(cls, body: bytes, seen: Seen) -> Asked:
        """What *body* asks; its history must be what was said so far, to the letter."""
        told = json.loads(body)
        said = [_line(message) for message in told["messages"]]
        talk, turn = place(next(line.text for line in reversed(said) if line.role == "user"))
        due = [line for number in range(turn + 1) for line in spoken(talk, number)]
        wanted = calls(talk, turn) if said[-1].role == "user" else ()
        if said != due[: -1 - len(wanted) - bool(wanted)]:
            seen.wrong.append(f"the history of turn {turn} of conversation {talk} is not what was said")
        key = talk, turn, bool(wanted)
        seen.tries[key] += 1
        return cls(talk, turn, wanted, bool(told.get("stream")), seen.tries[key])

    @property
    def key(self) -> tuple[int, int]:
        """The turn that it belongs to."""
        return self.talk, self.turn


spoken = lru_cache(maxsize=None)(lambda talk, turn: tuple(lines(talk, turn)))  # checked with each request that follows


def _line(message: dict[str, Any]) -> Line:
    asked = tuple([_call(call["function"]) for call in message.get("tool_calls") or ()])
    return Line(message["role"], message.get("content") or "", asked)


def _call(function: dict[str, str]) -> tuple[str, str]:
    return function["name"], json.loads(function["arguments"])["key"]


def chunked(told: dict[str, Any]) -> bytes:
    """An event, as a chunk of HTTP."""
    data = b"data: %s\n\n" % json.dumps({"id": "c", "model": "load", **told}).encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta(told: dict[str, Any], finish: str | None = None) -> bytes:
    """An event with a piece of the answer."""
    return chunked({"choices": [{"index": 0, "delta": told, "finish_reason": finish}]})


def pieces(asked: Asked) -> Iterator[bytes]:
    """The pieces of a streamed reply, but the last, which tells how long all took."""
    if not asked.calls:
        for text in answer(*asked.key):
            yield delta({"content": text})
    for index, (name, key) in enumerate(asked.calls):
        begun = {"name": name, "arguments": '{"key": '}
        yield delta({"tool_calls": [{"index": index, "id": f"c{asked.turn}_{index}", "function": begun}]})
        yield delta({"tool_calls": [{"index": index, "function": {"arguments": f'"{key}"}}'}}]})


def waits(asked: Asked, pace: float, count: int) -> list[float]:
    """Seconds before each of *count* pieces: 1 to 5 to the first one, 0.2 to 0.6 between the others."""
    gaps = [0.2 + 0.4 * chance("gap", asked.talk, asked.turn, number) for number in range(count - 1)]
    first = 1 + 4 * chance("first", asked.talk, asked.turn, bool(asked.calls))
    return [pace * seconds for seconds in (first, *gaps)]


def whole(asked: Asked, load: dict[str, float]) -> bytes:
    """The reply at once."""
    called = [
        {
            "id": f"c{asked.turn}_{index}",
            "type": "function",
            "function": {"name": name, "arguments": f'{{"key":"{key}"}}'},
        }
        for index, (name, key) in enumerate(asked.calls)
    ]
    said = {"tool_calls": called} if called else {"content": "".join(answer(*asked.key))}
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": "stop"}
    data = json.dumps({"id": "c", "model": "load", "choices": [choice], "load": load}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)


class Conversation(asyncio.Protocol):
    """One kept-alive connection; requests come one after another."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.data = bytearray()
        self.reply: Reply | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self.data += data
        while (request := taken(self.data)) is not None:
            scenario, body = request
            if scenario == "counts":
                self.transport.write(self.seen.told())
            elif scenario == "forget":
                self.transport.write(self.seen.told())
                self.seen.forget()
            else:
                self.reply = Reply(self, Manner.of(scenario), Asked.of(body, self.seen))
                self.reply.begin()

    def connection_lost(self, _: Exception | None) -> None:
        """End what was being said."""
        if self.reply is not None:
            self.seen.given_up += self.reply.end()

    def hang_up(self, *, rudely: bool) -> None:
        """Close the connection; *rudely* is by a reset."""
        if rudely:
            sock = self.transport.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()


class Reply:
    """One reply under way."""

    def __init__(self, conversation: Conversation, manner: Manner, asked: Asked) -> None:
        self.conversation, self.asked, self.seen = conversation, asked, conversation.seen
        self.over = False
        self.began = time.monotonic()
        key = (*asked.key, bool(asked.calls))
        self.fault = manner.fault(*key, asked.tried)
        if self.fault in MENDABLE and self.seen.in_a_row[key] == IN_A_ROW:
            self.fault = ""
        self.seen.in_a_row[key] = self.seen.in_a_row[key] + 1 if self.fault in MENDABLE else 0
        self.told: Sequence[bytes] = tuple(pieces(asked)) if asked.streamed else ()
        self.waits = waits(asked, manner.pace, len(self.told) or 1)
        self.broken_at = 1 + asked.tried % max(1, len(self.told) - 1) if self.fault == BREAK else -1

    def begin(self) -> None:
        """Go wrong at once, or wait for the first piece."""
        seen = self.seen
        seen.asked += 1
        seen.at_a_time += 1
        seen.most_at_a_time = max(seen.most_at_a_time, seen.at_a_time)
        if self.fault and not (self.fault == BREAK and not self.asked.streamed):
            seen.faults[self.fault] += 1
            self.spent()[1] += 1
        if self.fault in MENDABLE:
            self.refuse()
        else:
            self.later(0)

    def refuse(self) -> None:
        """Give the fault that is due before anything is told."""
        self.end()
        if self.fault in REFUSED:
            self.conversation.transport.write(REFUSED[self.fault])
        elif self.fault == MENDABLE[3]:
            self.conversation.transport.write(HEAD if self.asked.streamed else b"")
            self.conversation.hang_up(rudely=False)
        else:
            self.conversation.hang_up(rudely=True)

    def later(self, number: int) -> None:
        """Tell piece *number* when it is due."""
        loop = asyncio.get_running_loop()
        loop.call_later(self.waits[number], self.tell, number, loop.time() + self.waits[number])

    def tell(self, number: int, due: float) -> None:
        """Tell piece *number*, which was *due* then."""
        if self.over:
            return
        self.seen.was_late(asyncio.get_running_loop().time() - due)
        transport, told = self.conversation.transport, self.told
        if number == self.broken_at:
            self.end()
            self.conversation.hang_up(rudely=bool(self.asked.talk % 2))
        elif not told:
            self.end()
            transport.write(whole(self.asked, self.load()))
        elif number + 1 < len(told):
            transport.write(HEAD + told[number] if number == 0 else told[number])
            self.later(number + 1)
        else:
            self.end()
            finish = delta({}, "tool_calls" if self.asked.calls else "stop")
            transport.write(told[number] + finish + chunked({"choices": [], "load": self.load()}) + END)

    def spent(self) -> list[float]:
        """The seconds of the server and the faults of this turn, so far."""
        return self.seen.spent.setdefault(self.asked.key, [0.0, 0])

    def load(self) -> dict[str, float]:
        """What the reply tells about the turn: the server's own time, and the faults on the way."""
        own, faults = self.spent()
        if not self.asked.calls:
            del self.seen.spent[self.asked.key]
        return {"own": own, "faults": faults}

    def end(self) -> bool:
        """Note the time that it took; whether it was still under way."""
        if self.over:
            return False
        self.over = True
        self.seen.at_a_time -= 1
        self.spent()[0] += time.monotonic() - self.began
        return True


def more_files(count: int) -> None:
    """Let this process have *count* open files and some, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


async def serve() -> None:
    """Listen until the parent closes our standard input; the first line printed is the port."""
    loop, seen = asyncio.get_running_loop(), Seen()
    server = await loop.create_server(lambda: Conversation(seen), "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)  # connections that are still open are of no interest


@contextmanager
def running() -> Iterator[str]:
    """Run the server in a child process; yields its address, such as `http://127.0.0.1:4711`."""
    command = [sys.executable, "-m", "benchmarks.loadserver"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as child:  # noqa: S603  # all ours
        port = int(cast(IO[str], child.stdout).readline())
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            cast(IO[str], child.stdin).close()


if __name__ == "__main__":
    more_files(8192)
    asyncio.run(serve())
