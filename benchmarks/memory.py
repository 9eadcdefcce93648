"""What remembering costs: `python -m benchmarks.memory [--quick] [--rows turn,load] [--pairs 15] [--json FILE]`.

A server that speaks Redis' language runs beside it; what is measured is the CPU of the program that asks it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import field, frozen
from tests.resilience.redis_server import RedisServer

from arshai_kit import aio, assistant, user
from arshai_kit.memory import redis_memory, remembering
from benchmarks.__main__ import measured, report
from benchmarks.contest import CONTROL, HAND, KIT, Contenders, Row, Site, warm
from benchmarks.measure import Sampler, Work, batch
from benchmarks.table import as_json, machine, publish

ASKED = "Where is the invoice of last March? I need it for the tax office before the end of this week."
ANSWERED = "It is in your account under Documents, then Invoices; I have also sent you a copy by mail just now. " * 2
KEYS = 100
"""Conversations that take turns, so that none of them grows much while it is measured."""


@frozen
class Redis:
    """The server: where rows find it, and where each has keys of its own."""

    url: str
    names: Iterator[str] = field(factory=lambda: map("row {}".format, iter(range(1000))))

    def keys(self) -> list[str]:
        """Keys that nobody else has."""
        name = next(self.names)
        return [f"{name}:{number}" for number in range(KEYS)]


def turns(messages: int) -> list[tuple[str, str]]:
    """What has been said until now."""
    return [(f"{number}: {ASKED}", f"{number}: {ANSWERED}") for number in range(messages // 2)]


def by_hand(asked: str, answered: str) -> list[str]:
    """A turn as whoever uses redis-py by hand writes it."""
    return [
        json.dumps({"role": "user", "content": asked}),
        json.dumps({"role": "assistant", "content": answered}),
    ]


def answering(messages: Sequence[Any]) -> str:
    """An agent that costs nothing."""
    assert len(messages) % 2
    return ANSWERED


async def answering_async(messages: Sequence[Any]) -> str:
    """The same, async."""
    return answering(messages)


# -- one turn --


@contextmanager
def hand_turn(redis: Redis, messages: int) -> Iterator[Work]:
    """Load by one command, append by another."""
    from redis import Redis as Client

    keys = redis.keys()
    with closing(Client.from_url(redis.url)) as client:
        for key in keys:
            for turn in turns(messages):
                client.rpush(key, *by_hand(*turn))
        following = cycle(keys)

        def turn_() -> None:
            key = next(following)
            found: Any = client.lrange(key, 0, -1)
            answer = answering([*map(json.loads, found), {"role": "user", "content": ASKED}])
            client.rpush(key, *by_hand(ASKED, answer))

        yield batch(turn_)


@contextmanager
def kit_turn(redis: Redis, messages: int) -> Iterator[Work]:
    """The same with our memory, and each turn is taken and given back."""
    memory, keys = redis_memory(redis.url), redis.keys()
    for key in keys:
        for asked, answered in turns(messages):
            memory.append(key, [user(asked), assistant(answered)])
    chat, following = remembering(answering, memory), cycle(keys)
    yield batch(lambda: chat(ASKED, key=next(following)))
    memory.backend.close()


@contextmanager
def hand_turn_async(redis: Redis, messages: int) -> Iterator[Work]:
    """By the client of asyncio, in one loop."""
    from redis.asyncio import Redis as Client

    with asyncio.Runner() as runner, hand_turn(redis, messages):
        client = Client.from_url(redis.url)
        keys = redis.keys()

        async def fill() -> None:
            for key in keys:
                for turn in turns(messages):
                    await client.rpush(key, *by_hand(*turn))

        runner.run(fill())
        following = cycle(keys)

        async def work(times: int) -> int:
            began = time.process_time_ns()
            for _ in range(times):
                key = next(following)
                found: Any = await client.lrange(key, 0, -1)
                answer = await answering_async([*map(json.loads, found), {"role": "user", "content": ASKED}])
                await client.rpush(key, *by_hand(ASKED, answer))
            return time.process_time_ns() - began

        yield lambda times: runner.run(work(times))
        runner.run(client.aclose())


@contextmanager
def kit_turn_async(redis: Redis, messages: int) -> Iterator[Work]:
    """The same with our memory and that client."""
    from redis.asyncio import Redis as Client

    with asyncio.Runner() as runner:
        client: Any = Client.from_url(redis.url)
        memory, keys = redis_memory(client), redis.keys()

        async def fill() -> None:
            for key in keys:
                for asked, answered in turns(messages):
                    await aio.run(memory.append, key, [user(asked), assistant(answered)])

        runner.run(fill())
        chat, following = remembering(answering_async, memory), cycle(keys)

        async def work(times: int) -> int:
            began = time.process_time_ns()
            for _ in range(times):
                await aio.run(chat, ASKED, key=next(following))
            return time.process_time_ns() - began

        yield lambda times: runner.run(work(times))
        runner.run(client.aclose())


# -- loading --


@contextmanager
def parsed(redis: Redis, messages: int) -> Iterator[Work]:
    """`json.loads` of the bytes that our memory keeps, as one text."""
    memory, key = redis_memory(redis.url), redis.keys()[0]
    for asked, answered in turns(messages):
        memory.append(key, [user(asked), assistant(answered)])
    with closing(redis_client(redis.url)) as client:
        kept: Any = client.hgetall(memory.backend.keys(key)[0])
    records = [kept[str(number).encode()] for number in range(1, messages // 2 + 1)]
    text = b"[" + b",".join(records) + b"]"
    memory.backend.close()
    yield batch(lambda: json.loads(text))


def redis_client(url: str) -> Any:
    """A client of redis-py, with its default settings."""
    from redis import Redis as Client

    return Client.from_url(url)


@contextmanager
def hand_load(redis: Redis, messages: int) -> Iterator[Work]:
    """Load by one command and parse what came."""
    key = redis.keys()[0]
    with closing(redis_client(redis.url)) as client:
        for turn in turns(messages):
            client.rpush(key, *by_hand(*turn))
        yield batch(lambda: [json.loads(each) for each in client.lrange(key, 0, -1)])


@contextmanager
def kit_load(redis: Redis, messages: int) -> Iterator[Work]:
    """Load by our memory, as a process does that has not read any of it before."""
    memory, key = redis_memory(redis.url), redis.keys()[0]
    for asked, answered in turns(messages):
        memory.append(key, [user(asked), assistant(answered)])
    assert len(memory.load(key).messages) == messages

    def load() -> None:
        memory.backend.recent.drop(key)
        memory.load(key)

    yield batch(load)
    memory.backend.close()


@contextmanager
def kit_load_again(redis: Redis, messages: int) -> Iterator[Work]:
    """Load by our memory, as a process does that has read it a turn ago: what is new alone is parsed."""
    memory, key = redis_memory(redis.url), redis.keys()[0]
    for asked, answered in turns(messages):
        memory.append(key, [user(asked), assistant(answered)])
    assert len(memory.load(key).messages) == messages
    yield batch(lambda: memory.load(key))
    memory.backend.close()


def competing(redis: Redis, theirs: Any, ours: Any, messages: int) -> Contenders:
    """Let both do the same, *theirs* twice."""

    @contextmanager
    def contenders(site: Site) -> Iterator[Mapping[str, Sampler]]:
        with ExitStack() as stack:
            many = site.size(messages, min(messages, 20))
            works = {HAND: stack.enter_context(theirs(redis, many)), KIT: stack.enter_context(ours(redis, many))}
            yield warm(site, {**works, CONTROL: stack.enter_context(theirs(redis, many))})

    return contenders


def rows(redis: Redis) -> tuple[Row, ...]:
    """What is measured."""
    both = partial(competing, redis)
    return (
        Row("turn", "a turn after 20 messages, redis-py", {"cpu": 1.3}, both(hand_turn, kit_turn, 20), None),
        Row("turn-200", "a turn after 200 messages, redis-py", {"cpu": 1.3}, both(hand_turn, kit_turn, 200), None),
        Row(
            "turn-async",
            "a turn after 20 messages, redis-py of asyncio",
            {"cpu": 1.3},
            both(hand_turn_async, kit_turn_async, 20),
            None,
        ),
        Row("load", "1,000 messages out of Redis, to `json.loads`", {"cpu": 2.0}, both(parsed, kit_load, 1000), None),
        Row("load-again", "the same, once more", {"cpu": 2.0}, both(parsed, kit_load_again, 1000), None),
        Row("load-hand", "1,000 messages, redis-py", {"cpu": 1.0}, both(hand_load, kit_load, 1000), None),
    )


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--rows", default="", help="only these rows, separated by commas")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of samples a figure (15)")
    parser.add_argument("--tries", type=int, default=3, help="repeat a row whose control is off so often (3)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit code says nothing about speed, which depends on the machine."""
    asked = arguments(given)
    pairs, tries = (2, 1) if asked.quick else (max(2, asked.pairs), max(1, asked.tries))
    wanted = {key for key in asked.rows.split(",") if key}
    with TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        lines = [
            line
            for row in rows(Redis(server.url))
            if not wanted or row.key in wanted
            for line in measured(row, Site("", {}, quick=asked.quick), pairs, tries)
        ]
    publish(report(lines), asked)
    if asked.json:
        asked.json.write_text(as_json(lines, machine()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
