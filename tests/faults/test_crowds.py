"""Many at once: each gets its own answer, a pool is kept and never leaks, and what we compute is nobody's silence."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from textwrap import dedent
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from arshai_kit import Finished, aio, complete, openai_compatible, stream, using
from arshai_kit.errors import ArshaiError
from arshai_kit.models import Endpoint
from arshai_kit.scope import Limits
from tests.core.worlds import BACKENDS
from tests.faults.models import asks
from tests.faults.rows import soon
from tests.faults.server import RESET, Act, Asked, FaultServer, Script, faulty, hello, says, status
from tests.faults.ways import within
from tests.transport.server import at_some_pace

in_each_world = pytest.mark.parametrize("backend", ["", *BACKENDS], ids=["sync", *BACKENDS])

FEW, MANY = 200, 1000
FAULTS = 25
"""One of so many requests fails: half of them by a status, the others by a reset."""


def faltering() -> Act:
    """Answer each question with its own words, but for one in so many."""
    turns = count(1)

    def act(asked: Asked) -> Script:
        turn = next(turns)
        if turn % FAULTS == 0:
            return status(503) if turn % (2 * FAULTS) else (RESET,)
        found = says(f"answer to {asked.content['messages'][0]['content']}")
        return found(asked) if callable(found) else found

    return act


def model_at(server: FaultServer, **options: Any) -> Endpoint:
    """A model that lives at *server*, and is asked again at once."""
    given = {"retry": soon(3), "timeout": 60.0, "deadline": 60.0, **options}
    return openai_compatible("toy-1", base_url=f"{server.url}/v1", api_key="", **given)


def asked_once(model: Endpoint, place: int) -> str:
    """What *place* is answered, by blocking: every second one streams."""
    if place % 2:
        return complete(model, f"call {place}").text
    *_, last = stream(model, f"call {place}")
    assert isinstance(last, Finished)
    return last.response.text


async def awaited_once(model: Endpoint, place: int) -> str:
    """The same, by awaiting."""
    if place % 2:
        return (await aio.complete(model, f"call {place}")).text
    async with aio.stream(model, f"call {place}") as events:
        async for event in events:
            last = event
    assert isinstance(last, Finished)
    return last.response.text


def crowd(backend: str, number: int, limits: Limits, act: Callable[[int], Any]) -> list[Any]:
    """What comes of *act* for each of so many at once: its value, or its error."""
    came: list[Any] = [None] * number

    def blocking(place: int) -> None:
        with using(limits=limits):
            try:
                came[place] = act(place)
            except ArshaiError as error:
                came[place] = error

    async def awaiting(place: int) -> None:
        try:
            came[place] = await act(place)
        except ArshaiError as error:
            came[place] = error

    async def main() -> None:
        with using(limits=limits):
            async with anyio.create_task_group() as group:
                for place in range(number):
                    group.start_soon(awaiting, place)

    if backend:
        anyio.run(main, backend=backend)
        return came
    threads = [threading.Thread(target=blocking, args=(place,), daemon=True) for place in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return came


def answered(backend: str, number: int, pool: int | None) -> None:
    """Ask so many at once over a *pool*: each has its own answer, whatever fails in between, and the pool is kept."""
    limits = Limits() if pool is None else Limits(max_connections=pool, max_connections_per_host=pool)
    with faulty((faltering(),)) as server:
        model = model_at(server)
        ask = awaited_once if backend else asked_once
        came = crowd(backend, number, limits, lambda place: ask(model, place))
        assert came == [f"answer to call {place}" for place in range(number)]
        failed = len(server.seen) // FAULTS
        assert len(server.seen) == number + failed
        assert len(server.lines) <= (pool or number) + failed + number // 20  # each serves again; a failure costs one


@in_each_world
@pytest.mark.parametrize("pool", [10, None], ids=["10", "default"])
def test_a_crowd_is_answered_each_with_its_own(backend: str, pool: int | None) -> None:
    within(150, lambda: answered(backend, FEW, pool))


@pytest.mark.long
@in_each_world
@pytest.mark.parametrize("pool", [10, 100, None], ids=["10", "100", "default"])
def test_a_thousand_are_answered_each_with_its_own(backend: str, pool: int | None) -> None:
    within(200, lambda: answered(backend, MANY, pool))


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_gives_up_in_a_crowd_takes_no_place_with_him(backend: str) -> None:
    """Half are cancelled, in the queue, in the headers, in a stream: the others are answered, and so are later ones."""
    limits = Limits(max_connections=5, max_connections_per_host=5)
    answers: list[str] = []

    async def main() -> None:
        async def impatient(place: int) -> None:
            with anyio.move_on_after(0.001 * (place % 50)):
                await awaited_once(model, place)

        async def patient(place: int) -> None:
            answers.append(await awaited_once(model, place))

        with using(limits=limits):
            for round_ in range(2):
                async with anyio.create_task_group() as group:
                    for place in range(100):
                        group.start_soon(impatient if place % 2 and not round_ else patient, place)

    with faulty((faltering(),)) as server:
        model = model_at(server)
        within(150, lambda: anyio.run(main, backend=backend))
    assert len(answers) == 150


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_time_to_connect_passes_while_we_compute(backend: str) -> None:
    """The loop is busy for longer than the time, from each of the first turns on: all the same, there is an answer."""
    came: list[str] = []

    async def asked(model: Endpoint, place: int) -> None:
        came.append(await awaited_once(model, place))

    async def main(model: Endpoint, turns: int) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(asked, model, turns)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            time.sleep(2.4 * model.connect_timeout)  # noqa: ASYNC251  # what a computation does

    with faulty((hello,)) as server:
        for turns in range(1, 13):

            def busy(pace: float, turns: int = turns) -> None:
                model = model_at(server, connect_timeout=0.05 * pace, retry=None)
                within(60, lambda: anyio.run(main, model, turns, backend=backend))

            at_some_pace(busy)
    assert came == ["Hello"] * 12


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_computes_between_two_events_hears_no_silence(backend: str) -> None:
    async def main(model: Endpoint) -> str:
        words = ""
        async with aio.stream(model, "Go!") as events:
            async for event in events:
                words += getattr(event, "text", "")
                time.sleep(1.5 * model.timeout)  # noqa: ASYNC251  # as above
        return words

    def heard(pace: float) -> None:
        model = model_at(server, timeout=0.1 * pace)
        assert anyio.run(main, model, backend=backend) == "one\n"
        assert "".join(getattr(each, "text", "") for each in slowly(model)) == "one\n"

    with faulty((says("one\n"),)) as server:
        at_some_pace(heard)


def slowly(model: Endpoint) -> Any:
    """The events of a stream by blocking, read by one who computes in between."""
    for event in stream(model, "Go!"):
        threading.Event().wait(1.5 * model.timeout)
        yield event


# -- threads and forks --


@pytest.mark.parametrize("library", ["httpx", pytest.param("httpx2", marks=pytest.mark.needs("httpx2"))])
def test_threads_share_a_client_of_ones_own(library: str) -> None:
    from importlib import import_module

    with faulty((faltering(),)) as server, import_module(library).Client() as client:
        model = model_at(server)

        def act(place: int) -> str:
            with using(client=client):
                return asked_once(model, place)

        came = crowd("", 50, Limits(), act)
    assert came == [f"answer to call {place}" for place in range(50)]


PRELUDE = """
import os, sys, threading, time, warnings
from arshai_kit import openai_compatible, run_tools, stream, complete
from arshai_kit.tools import background
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
model = openai_compatible("toy-1", base_url=sys.argv[1], api_key="", retry=None)
"""


def child(code: str, server: FaultServer, seconds: float = 120.0) -> tuple[int, str, str]:
    """How a process that runs *code* ends, and what it says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + dedent(code), f"{server.url}/v1"],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_in_the_middle_of_a_stream_mixes_no_replies() -> None:
    """The child uses none of its parent's connections, and the parent's stream goes on."""
    code = """
    events = iter(stream(model, "parent"))
    first = [next(events), next(events)]
    pid = os.fork()
    if not pid:
        told = "".join(getattr(each, "text", "") for each in stream(model, "child"))
        os._exit(0 if told == complete(model, "child").text == "answer to child" else 1)
    told = "".join(getattr(each, "text", "") for each in [*first, *events])
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), told, complete(model, "again").text)
    """
    with faulty((answer,)) as server:
        assert child(code, server) == (0, "0 answer to parent answer to again\n", "")


def answer(asked: Asked) -> Script:
    """The words of the question again."""
    found = says(f"answer to {asked.content['messages'][0]['content']}")
    return found(asked) if callable(found) else found


# -- the background at the end of a process --

PENDING = {
    "ends in time": ("time.sleep(0.1); print('done', flush=True)", 60.0, "done\n", ""),
    "crashes": ("raise ValueError('at the end')", 60.0, "", "ValueError: at the end"),
    "never ends": ("threading.Event().wait()", 0.3, "", "work"),
}


@pytest.mark.parametrize("kind", PENDING)
def test_a_background_tool_that_is_pending_at_exit(kind: str) -> None:
    """It is waited for, but not for ever; how it ended is told by name, and the process ends well."""
    act, seconds, out, err = PENDING[kind]
    code = f"""
    from arshai_kit import using
    def work() -> None:
        "Work."
        {act}

    with using(drain={seconds}):
        assert run_tools(model, "Go!", [background(work)]).text == "Hello"
    """
    with faulty((asks(("call_1", "work", {})), hello), before=False) as server:
        status_, told, logged = child(code, server)
    assert (status_, told) == (0, out)
    assert err in logged
