"""Servers that drip, ping or say nothing: the call ends in time, typed, and holds the words that came."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain, cycle, repeat
from time import monotonic
from typing import Any

import pytest
from attrs import frozen

from arshai_kit.errors import TimedOut
from tests.badinput.ways import (
    SECOND,
    WAYS,
    Act,
    Way,
    answering,
    before,
    body,
    chunk,
    everyway,
    kept,
    message,
    model_at,
)
from tests.transport.server import Behaviour, Peer, at_some_pace, silent

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
WORDS = chunk({"content": "one "}) + chunk({"content": "two "})
PATIENCE = 0.25
TIME_FOR_WORDS = 0.5
"""Seconds for the words that come before the silence."""


def paced(first: bytes, pieces: Callable[[], Iterator[bytes]], pause: float = 0.05) -> Behaviour:
    """Say *first*, then one piece after another with a *pause* between, until the client hangs up."""

    def act(peer: Peer) -> None:
        peer.send(first)
        peer.sock.settimeout(pause)
        for piece in pieces():
            try:
                if not peer.sock.recv(1):
                    return
            except TimeoutError:
                peer.send(piece)

    return act


def letters(data: bytes) -> Callable[[], Iterator[bytes]]:
    """*data*, letter by letter, for ever."""
    return lambda: (bytes([letter]) for letter in cycle(data))


@frozen
class Row:
    """What a server does, and the words that are in `partial` of a stream; *only* is the mode to which it matters."""

    name: str
    act: Act
    text: str = ""
    only: str = ""


SILENCE = (
    Row("nothing", silent),
    Row("headers in drips", only="complete", act=paced(b"HTTP/1.1 200 OK\r\n", letters(b"x-slow: yes\r\n"))),
    Row("a status in drips", only="complete", act=paced(b"", letters(b"H"))),
    Row("headers, nothing more", paced(HEAD, lambda: repeat(b""))),
    Row("comments without end", paced(HEAD, lambda: repeat(b": ping\n\n"))),
    Row("blank lines without end", paced(HEAD, lambda: repeat(b"\r\n")), only="stream"),
    Row(
        "a body in drips",
        paced(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", letters(b'{"choices"')),
        only="complete",
    ),
    Row("an event in drips", paced(HEAD, letters(b"data: ")), only="stream"),
    Row("words, then comments", paced(HEAD + WORDS, lambda: repeat(b": ping\n\n")), "one two ", only="stream"),
    Row("words, then drips", paced(HEAD + WORDS, letters(b"data: ")), "one two ", only="stream"),
    Row("words, then nothing", paced(HEAD + WORDS, lambda: repeat(b"")), "one two ", only="stream"),
)


def timed(row: Row, way: Way, **limits: float) -> str:
    """The words of the error; it comes in time, holds what came and what the rounds before had."""
    return at_some_pace(lambda pace: _timed(row, way, {name: limit * pace for name, limit in limits.items()}))


def _timed(row: Row, way: Way, limits: dict[str, float]) -> str:
    with answering(*before(way), row.act) as server:
        model = model_at(server, **limits)
        began = monotonic()
        came = way.ask(model)
        took = monotonic() - began
    assert type(came.error) is TimedOut
    assert took < SECOND / 2 + sum(limits.values())
    assert came.ran == ["Bergen"] * way.loops
    partial = kept(came.error, way)
    assert (partial.text if partial else "") == (row.text if way.streams else "")
    return str(came.error)


def matter(*rows: Row) -> list[Any]:
    """Each row with the ways to which it matters: what is heard of one only in a stream needs no whole replies."""
    return [
        pytest.param(row, way, id=f"{row.name}-{way.name}")
        for row in rows
        for way in WAYS
        if not row.only or row.only == way.mode or (row.only == "stream" and way.streams)
    ]


@pytest.mark.parametrize(("row", "way"), matter(*SILENCE))
def test_silence_ends_and_bytes_that_tell_nothing_are_silence(row: Row, way: Way) -> None:
    assert re.search(
        r"told nothing for|with nothing told", timed(row, way, timeout=TIME_FOR_WORDS if row.text else PATIENCE)
    )


TALK = Row(
    "words without end",
    paced(HEAD, lambda: chain(iter([WORDS]), repeat(b": still here\n\n" + chunk({"content": ""})))),
    "one two ",
    "stream",
)


@pytest.mark.parametrize(("row", "way"), matter(TALK, SILENCE[0], SILENCE[1]))
def test_a_deadline_ends_whatever_is_told(row: Row, way: Way) -> None:
    assert "time was up" in timed(row, way, deadline=TIME_FOR_WORDS if row.text else PATIENCE)


@everyway
def test_a_deadline_is_for_each_question_of_a_loop(way: Way) -> None:
    """The rounds before do not count: it is the model that has a deadline."""
    answer = body(message({"content": "Hello"}))
    with answering(*before(way), answer) as server:
        came = way.ask(model_at(server, deadline=5.0))
    assert came.response is not None
    assert came.response.text == "Hello"
