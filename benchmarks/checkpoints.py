"""One conversation of 200 turns, kept by our memories, and by langgraph's checkpointers where it is installed.

    python -m benchmarks.checkpoints [--quick] [--turns 200] [--rounds 5] [--markdown FILE]

What is measured is the CPU of this process for each turn, and the bytes that are kept at the end. The model is a
function that costs nothing; langgraph has a graph of one node. What is not installed is left out, and named.
"""

from __future__ import annotations

import argparse
import gc
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from tests.resilience.redis_server import RedisServer

from arshai_kit import run
from arshai_kit.memory import Memory, in_memory, redis_memory, remembering, sqlite_memory
from benchmarks.measure import Figures, Sampler, median, ratio, taken
from benchmarks.table import markdown, measured_on, publish

ASKED = "Where is the invoice of last March? I need it for the tax office before the end of this week."
ANSWERED = "It is in your account under Documents, then Invoices; I have also sent you a copy by mail just now. " * 2
NAMES = count()
HEAD = ("where", "kept by", "CPU a turn", "of the last tenth", "times ours", "bytes kept", "a turn", "times ours")
PACKAGES = ("langgraph", "langgraph-checkpoint", "langgraph-checkpoint-sqlite", "langgraph-checkpoint-redis", "redis")

Talk: TypeAlias = Callable[[str], object]
"""Says something, and waits for the answer."""
Kept: TypeAlias = Callable[[], int]
"""How many bytes are kept."""
Contender: TypeAlias = Callable[[Path, str], Any]
"""A new and empty place in a folder, or in the Redis of an address, as a context: how to talk, and what is kept."""


# -- ours --


@contextmanager
def ours_alone(_folder: Path, _url: str) -> Iterator[tuple[Talk, Kept]]:
    """An agent without a memory: what a run costs by itself."""
    yield lambda text: run(lambda _: ANSWERED, text), lambda: 0


def _ours(memory: Memory) -> Talk:
    chat = remembering(lambda _: ANSWERED, memory)
    return lambda text: chat(text, key="user-7")


@contextmanager
def ours_in_process(_folder: Path, _url: str) -> Iterator[tuple[Talk, Kept]]:
    """`in_memory()`, whose bytes are its own estimate of the objects."""
    memory = in_memory()
    yield _ours(memory), lambda: int(memory.backend.held.bytes)


@contextmanager
def ours_in_a_file(folder: Path, _url: str) -> Iterator[tuple[Talk, Kept]]:
    """`sqlite_memory(path)`."""
    path = folder / f"ours {next(NAMES)}.db"
    memory = sqlite_memory(path)
    yield _ours(memory), lambda: of_file(path)
    memory.backend.close()


@contextmanager
def ours_in_redis(_folder: Path, url: str) -> Iterator[tuple[Talk, Kept]]:
    """`redis_memory(url)`."""
    with emptied(url) as client:
        memory = redis_memory(url)
        yield _ours(memory), lambda: of_redis(client)
        memory.backend.close()


# -- langgraph's --


def _graph(saver: Any) -> Talk:
    """A graph that adds an answer to the messages."""
    from langchain_core.messages import AIMessage, HumanMessage
    from langgraph.graph import END, START, MessagesState, StateGraph  # type: ignore[import-not-found]

    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda _: {"messages": [AIMessage(ANSWERED)]})
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    compiled = graph.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "user-7"}}
    return lambda text: compiled.invoke({"messages": [HumanMessage(text)]}, config)


@contextmanager
def theirs_alone(_folder: Path, _url: str) -> Iterator[tuple[Talk, Kept]]:
    """A graph without a checkpointer."""
    yield _graph(None), lambda: 0


@contextmanager
def theirs_in_process(_folder: Path, _url: str) -> Iterator[tuple[Talk, Kept]]:
    """`InMemorySaver`, which keeps what it has serialised."""
    from langgraph.checkpoint.memory import InMemorySaver  # type: ignore[import-not-found]

    saver = InMemorySaver()
    yield _graph(saver), lambda: of_values((saver.storage, saver.writes, saver.blobs))


@contextmanager
def theirs_in_a_file(folder: Path, _url: str) -> Iterator[tuple[Talk, Kept]]:
    """`SqliteSaver`."""
    from langgraph.checkpoint.sqlite import SqliteSaver  # type: ignore[import-not-found]

    path = folder / f"theirs {next(NAMES)}.db"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        yield _graph(saver), lambda: of_file(path)


@contextmanager
def theirs_in_redis(_folder: Path, url: str) -> Iterator[tuple[Talk, Kept]]:
    """`RedisSaver`, which wants the modules for search and JSON."""
    from langgraph.checkpoint.redis import RedisSaver  # type: ignore[import-not-found]

    with emptied(url) as client, RedisSaver.from_conn_string(url) as saver:
        saver.setup()
        yield _graph(saver), lambda: of_redis(client)


PLACES: Mapping[str, tuple[Contender, Contender, str, str]] = {
    "nowhere": (ours_alone, theirs_alone, "`run(f, …)`", "a graph"),
    "in process": (ours_in_process, theirs_in_process, "`in_memory()`", "`InMemorySaver`"),
    "in a file": (ours_in_a_file, theirs_in_a_file, "`sqlite_memory(path)`", "`SqliteSaver`"),
    "in Redis": (ours_in_redis, theirs_in_redis, "`redis_memory(url)`", "`RedisSaver`"),
}


# -- bytes --


def of_file(path: Path) -> int:
    """The bytes of a database, once all of it is in its file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def of_values(value: Any) -> int:
    """The bytes of the texts and bytes in *value*, however deep; what holds them counts nothing."""
    match value:
        case bytes():
            return len(value)
        case str():
            return len(value.encode())
        case Mapping():
            return sum(of_values(each) for pair in value.items() for each in pair)
        case list() | tuple():
            return sum(map(of_values, value))
    return 0


@contextmanager
def emptied(url: str) -> Iterator[Any]:
    """A client of a Redis that holds nothing."""
    from redis import Redis

    with closing(Redis.from_url(url)) as client:
        client.flushall()
        yield client


def of_redis(client: Any) -> int:
    """What Redis says that its keys take."""
    return sum(client.memory_usage(key, samples=0) for key in client.scan_iter())


# -- measuring --


def talked(contender: Contender, folder: Path, url: str, turns: int) -> Figures:
    """What a conversation of so many *turns* costs."""
    with contender(folder, url) as (talk, kept):
        gc.collect()
        spent = [_timed(talk, f"{number}: {ASKED}") for number in range(turns)]
        last = spent[-max(1, turns // 10) :]
        return {"cpu": sum(spent) / turns, "last": sum(last) / len(last), "bytes": kept()}


def _timed(talk: Talk, text: str) -> int:
    began = time.process_time_ns()
    talk(text)
    return time.process_time_ns() - began


def refused(contender: Contender, folder: Path, url: str) -> str:
    """Why *contender* cannot be measured here; nothing if it can."""
    try:
        talked(contender, folder, url, 2)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return ""


def lines(place: str, folder: Path, url: str, asked: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """The lines of one *place*."""
    ours, theirs, our_name, their_name = PLACES[place]
    why = refused(theirs, folder, url)
    contenders = {our_name: ours} if why else {our_name: ours, their_name: theirs}
    samplers: dict[str, Sampler] = {
        name: partial(talked, each, folder, url, asked.turns) for name, each in contenders.items()
    }
    found = taken(samplers, asked.rounds) if len(samplers) > 1 else [{our_name: samplers[our_name]()}]
    for name in samplers:
        cpu, last, size = (median(found, name, figure) for figure in ("cpu", "last", "bytes"))
        times = [_times(found, name, our_name, figure) for figure in ("cpu", "bytes")]
        yield (
            place,
            name,
            f"{cpu / 1e3:.0f} µs",
            f"{last / 1e3:.0f} µs",
            times[0],
            f"{size:,.0f}",
            f"{size / asked.turns:,.0f}",
            times[1],
        )
    if why:
        yield place, their_name, f"not measured: {why}", "", "", "", "", ""


def _times(found: Sequence[Mapping[str, Figures]], name: str, to: str, figure: str) -> str:
    """How many times as much *name* takes as *to*."""
    return "1" if name == to or not median(found, to, figure) else f"{ratio(found, name, to, figure).median:.1f}"


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit code says nothing about speed, which depends on the machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoints", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--turns", type=int, default=200, help="turns of the conversation (200)")
    parser.add_argument("--rounds", type=int, default=5, help="conversations of each (5)")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    asked = parser.parse_args(given)
    if asked.quick:
        asked.turns, asked.rounds = 10, 2
    asked.rounds = max(2, asked.rounds)
    table: list[tuple[str, ...]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = stack.enter_context(RedisServer(folder)).url
        for place in PLACES:
            print(f"{place} …", file=sys.stderr, flush=True)
            table += lines(place, folder, url, asked)
    publish(f"{markdown(HEAD, table)}\n\n{measured_on(packages=PACKAGES)}\n", asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
