"""One row, run one way: all that must hold of it is looked at here."""

from __future__ import annotations

import gc
import json
import os
import re
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import pytest

from arshai_kit import Response, _drive, openai_compatible
from arshai_kit._flight import left_behind
from arshai_kit._transport import exchange
from arshai_kit._transport.environment import tls_context
from arshai_kit.effects import Call
from arshai_kit.errors import ArshaiError
from arshai_kit.faces import drive
from arshai_kit.models import Endpoint
from arshai_kit.scope import default_limits
from tests.badinput.ways import KEY, kept, shows_no_key
from tests.faults.rows import Answers, Expected, Fails, Row, Scene
from tests.faults.server import FaultServer, faulty, hello
from tests.faults.ways import Came, Way, within
from tests.transport.server import PEM, SOON, at_some_pace, eventually

__all__ = ["WORDS", "proved", "ran_alone", "staged"]

WORDS = "Let me see."
"""What is told in the round before."""


def proved(row: Row, way: Way) -> None:
    """Run *row* this *way*, and see that what must hold of it does; what has little time may have more."""
    if row.hurried or row.times_at(1.0):
        at_some_pace(lambda pace: _proved(row, way, pace))
    else:
        _proved(row, way, 1.0)


def _proved(row: Row, way: Way, pace: float) -> None:
    _warm()
    if row.memory:
        proved(Row("usual", (hello,), Answers()), way)  # what is imported and kept at first use is not the row's
    busy, files = left_behind(), _sockets()
    with staged(row, **row.times_at(pace)) as (server, other, model):
        came = Came(pace=pace)
        with _little_memory(row, model):
            within(row.seconds, lambda: _asked(row, way, came, server, model))
        _looked_at(row, way, came, server, other)
    eventually(lambda: left_behind() <= busy)
    eventually(lambda: _sockets() <= files)


@cache
def _warm() -> None:
    """Start the event loop that sync code shares for async tools: it keeps its sockets, and no row has left them."""
    drive(iter(Call(anyio.sleep, 0)))


class _Forgetful(list[Any]):
    """A listener that keeps nothing of what it hears: its memory is not the row's."""

    def append(self, _: Any) -> None:
        """Forget it."""


def ran_alone(row: Row, way: Way, **options: Any) -> Came:
    """What comes of running *row* this *way* with its watchdog and nobody who keeps events; nothing is looked at."""
    with staged(row, **options) as (server, _, model):
        came = Came(events=_Forgetful())
        within(row.seconds * 10, lambda: _asked(row, way, came, server, model))
    return came


def _asked(row: Row, way: Way, came: Came, server: FaultServer, model: Endpoint) -> None:
    tools = None if row.tools is None else row.tools(came)
    between = (lambda: None) if row.between is None else (lambda: row.between(server))  # type: ignore[misc]  # as above
    way.asks(came, model, times=row.times, between=between, tools=tools, run=row.run)


@contextmanager
def staged(row: Row, **options: Any) -> Iterator[tuple[FaultServer, FaultServer | None, Endpoint]]:
    """The servers of *row*, its environment, and its model."""
    with ExitStack() as stack:
        other = None
        if row.other is not None:
            other = stack.enter_context(faulty(row.other, tls=row.other_tls, before=row.before))
        server = stack.enter_context(
            faulty(
                row.acts,
                greets=row.greets,
                tls=row.tls,
                before=row.before,
                elsewhere="" if other is None else other.url,
            )
        )
        environ = {} if row.environ is None else row.environ(server, other)
        stack.enter_context(_environment(environ))
        address = f"{server.url}/v1" if row.address is None else row.address(server, other)
        model = openai_compatible("toy-1", base_url=address, **{"api_key": KEY, **row.configured(**options)})
        yield server, other, model


@contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[None]:
    """*environ*, no proxy of the machine's own, trust and limits decided anew, and no connection or route kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "STALE", SOON)  # a busy server may be slow to hang up on a connection that was kept
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        _forgotten()
        yield
    _forgotten()


def _forgotten() -> None:
    """Close what this process keeps for its next blocking calls: a port may be used again, with other proxies."""
    tls_context.cache_clear()
    default_limits.cache_clear()
    while _drive._own:
        _drive._own.popitem()[1].close()


TRUSTED: Mapping[str, str] = {"SSL_CERT_FILE": str(PEM)}
"""What makes the certificate of the tests one to trust."""


def _looked_at(row: Row, way: Way, came: Came, server: FaultServer, other: FaultServer | None) -> None:
    _met(row.expects(way), came, way, row)
    wanted = row.expects(way).requests + row.reused * (way.loops and row.before)
    assert len(server.seen) == wanted, f"the server saw {len(server.seen)} requests, not {wanted}"
    if row.times == 1:
        _marked(server)
    assert came.tasks <= 0, f"{came.tasks} tasks are left in the event loop"
    if row.check is not None:
        row.check(Scene(server, other, way, came))
    lines = (*server.lines, *(other.lines if other else ()))
    eventually(lambda: all(line.kept or line.over.is_set() for line in lines))


def _marked(server: FaultServer) -> None:
    """All tries of one question carry one mark, and each question has its own."""
    marks: dict[str, set[str]] = {}
    for asked in server.seen:
        marks.setdefault(json.dumps(asked.content), set()).add(asked.headers.get("idempotency-key", ""))
    assert all(len(each) == 1 for each in marks.values()), marks
    assert len(set().union(*marks.values())) == len(marks), marks


def _met(expected: Expected, came: Came, way: Way, row: Row) -> None:
    before = way.loops and row.before
    match expected:
        case Answers(text):
            if came.error is not None:
                raise came.error
            assert came.response is not None, "neither an answer nor an error came"
            assert came.response.text == text
        case Fails():
            _failed(expected, came, way, row)
    ran = ["Bergen"] * before if expected.ran is None else list(expected.ran)
    if row.tools is None or expected.ran is not None:
        assert came.ran == (ran if way.loops else [])
    if way.streams and (expected.text is not None or expected.told is not None):
        told = (WORDS if before else "") + (expected.text or "") if expected.told is None else expected.told
        assert came.told == told


def _failed(expected: Fails, came: Came, way: Way, row: Row) -> None:
    error = came.error
    assert came.response is None, f"an answer came: {came.response.text[:200]!r}"
    if not isinstance(error, ArshaiError) and error is not None and type(error) is not expected.error:
        raise AssertionError(f"a raw {type(error).__name__}") from error
    assert type(error) is expected.error, repr(error)
    assert re.search(expected.says, str(error)), str(error)
    shows_no_key(error)
    if isinstance(error, ArshaiError):
        partial = kept(error, way) if row.before else error.partial
        assert expected.text in (None, (partial or Response(())).text)
    for name, value in expected.has.items():
        found = getattr(error, name)
        assert value(found) if callable(value) else found == value, f"{name} is {found!r}"


@contextmanager
def _little_memory(row: Row, model: Endpoint) -> Iterator[None]:
    """Fail if *row* is one about memory, and the block takes more than twice the bytes that a body may have."""
    if not row.memory:
        yield
        return
    gc.collect()
    tracemalloc.start()
    try:
        began, _ = tracemalloc.get_traced_memory()
        yield
        grown = tracemalloc.get_traced_memory()[1] - began
    finally:
        tracemalloc.stop()
    assert grown <= 2 * model.max_body, f"it took {grown:,} bytes"


def _sockets() -> int:
    """How many sockets this process has open; none where no system tells."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return 0
    return sum(_leads(each).startswith("socket:") for each in folder.iterdir())


def _leads(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # it was closed meanwhile
        return ""
