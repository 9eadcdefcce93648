"""Leaving early is cancelling: the server sees the connection close, and nothing of the run is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from time import monotonic
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field

from arshai_kit._adrive import AsyncRun
from arshai_kit._flight import left_behind
from arshai_kit._transport import awaiting, blocking
from arshai_kit.effects import (
    Call,
    Close,
    Emit,
    Now,
    Open,
    Plan,
    Read,
    Reply,
    Request,
    Send,
    Sleep,
    Start,
    side_by_side,
)
from arshai_kit.errors import Misuse, TimedOut, Unreachable
from arshai_kit.faces import AsyncStream, Stream, adrive, drive
from arshai_kit.records import Event, TextDelta
from arshai_kit.scope import Limits, using
from tests.core.worlds import World, everywhere, on_both
from tests.transport.server import SOON, Peer, Server, at_some_pace, chunked, eventually, reply, serving

PROMPT = SOON / 2
"""Seconds in which a server must have seen that its client has gone: on an idle machine, a few thousandths.

Nothing of ours is waited for so long; what is not closed when it is left is closed by nobody.
"""


@define
class Hangup:
    """A server that sends the beginning of a stream, and notes when the client hangs up."""

    server: Server
    asked: threading.Semaphore
    came: list[float] = field(factory=list)
    seen: list[float] = field(factory=list)
    done: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))

    @property
    def request(self) -> Request:
        """What this server answers."""
        return Request("POST", self.server.url, content=b"?")

    def saw_it_at_once(self, since: float, times: int = 1) -> None:
        """Wait until it has seen so many clients leave, as far as they had come by then, and see that it was soon."""
        for _ in range(min(times, sum(came < since for came in tuple(self.came)))):
            assert self.done.acquire(timeout=SOON), "the server never saw the close"
        assert max(self.seen, default=since) - since < PROMPT


@contextmanager
def noting(begin: bytes) -> Iterator[Hangup]:
    """A server that answers *begin* to each request and then waits for the client to hang up."""
    hangup: list[Hangup] = []

    def behave(peer: Peer) -> None:
        if not peer.request():
            return
        hangup[0].came.append(monotonic())
        peer.send(begin)
        hangup[0].asked.release()
        with suppress(OSError):
            peer.hung_up()
        hangup[0].seen.append(monotonic())
        hangup[0].done.release()

    with serving(behave) as server:
        hangup.append(Hangup(server, threading.Semaphore(0)))
        yield hangup[0]


STREAMING = chunked(b"first", end=False)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Before each test and after it, no worker is busy for nobody."""
    eventually(lambda: left_behind() == 0)
    yield
    eventually(lambda: left_behind() == 0)


def reading(request: Request) -> Plan[None]:
    """Tell what is read, for ever."""
    channel = yield from Open(request)
    while data := (yield from Read(channel)):
        yield from Emit((TextDelta(data.decode()),))


def reading_in_company(request: Request) -> Plan[None]:
    """The same, while something else is under way."""
    yield from Start(iter(Sleep(600)))
    yield from reading(request)


def opening(request: Request) -> Plan[None]:
    """Wait for the headers of a stream while something is told beside it."""
    yield from Start(iter(Open(request)))
    yield from Start(iter(Send(request)))
    yield from Sleep(0.05)
    yield from Emit((TextDelta("begun"),))
    yield from Sleep(600)


def below(request: Request) -> Plan[None]:
    """Read in plans beside each other."""
    yield from side_by_side([reading(request), reading(request)])


PLANS = [
    pytest.param(reading, STREAMING, 1, id="alone"),
    pytest.param(reading_in_company, STREAMING, 1, id="company"),
    pytest.param(below, STREAMING, 2, id="beside"),
    pytest.param(opening, b"", 2, id="headers"),
]
leaving_each = pytest.mark.parametrize(("plan", "begin", "times"), PLANS)

ReadingPlan = Callable[[Request], Plan[None]]


# Sync


def leave_by_break(stream: Stream) -> None:
    for _ in stream:
        break
    stream.close()


def leave_by_with(stream: Stream) -> None:
    with stream as events:
        next(events)


def leave_by_error(stream: Stream) -> None:
    def body() -> None:
        with stream:
            for _ in stream:
                raise KeyError("the body's own")

    with pytest.raises(KeyError):
        body()


def leave_by_forgetting(stream: Stream) -> None:
    """The last one who knew it has gone."""
    next(stream)


@leaving_each
@pytest.mark.parametrize("leave", [leave_by_break, leave_by_with, leave_by_error, leave_by_forgetting])
def test_leaving_a_stream_closes_its_connections(
    plan: ReadingPlan, begin: bytes, times: int, leave: Callable[[Stream], None]
) -> None:
    with noting(begin) as hangup:
        leave(Stream(plan(hangup.request)))
        hangup.saw_it_at_once(monotonic(), times)


def test_a_stream_that_nobody_began_has_nothing_to_close() -> None:
    with noting(STREAMING) as hangup, Stream(reading(hangup.request)):
        assert hangup.server.peers == []


def test_a_stream_is_closed_once_and_over_then() -> None:
    with noting(STREAMING) as hangup:
        stream = Stream(reading(hangup.request))
        assert next(stream) == TextDelta("first")
        stream.close()
        stream.close()
        assert list(stream) == []


def test_a_stream_may_be_forgotten_by_another_thread_than_read_it() -> None:
    with noting(STREAMING) as hangup:
        kept = [Stream(reading_in_company(hangup.request))]
        next(kept[0])
        thread = threading.Thread(target=kept.clear)
        thread.start()
        thread.join(SOON)
        hangup.saw_it_at_once(monotonic())


def test_an_error_beside_breaks_off_what_a_worker_is_waiting_for() -> None:
    def failing(hangup: Hangup) -> Plan[None]:
        yield from Start(iter(Send(hangup.request)))
        yield from Start(reading(hangup.request))
        for _ in range(2):
            yield from Call(hangup.asked.acquire, timeout=SOON)
        raise KeyError("k")

    with noting(b"HTTP/1.1 200 OK\r\n") as hangup:
        with pytest.raises(KeyError):
            drive(failing(hangup))
        hangup.saw_it_at_once(monotonic(), 2)


@everywhere
def test_what_belongs_to_a_step_is_closed_with_it_while_the_run_goes_on(world: World) -> None:
    from arshai_kit.effects import Step

    with noting(STREAMING) as hangup:
        left: list[float] = []

        def step() -> Plan[None]:
            channel = yield from Open(hangup.request)
            assert (yield from Read(channel)) == b"first"
            yield from Start(iter(Read(channel)))  # somebody reads it while it is closed
            yield from Start(reading(hangup.request))
            yield from Call(hangup.asked.acquire, timeout=SOON)
            yield from Call(hangup.asked.acquire, timeout=SOON)
            yield from Sleep(0.02)

        def plan() -> Plan[str]:
            yield from Step("tool", "t", None, step)
            left.append(monotonic())
            yield from Call(hangup.saw_it_at_once, left[0], 2)
            yield from Sleep(0.01)
            return "went on"

        assert world.run(plan) == "went on"


@everywhere
def test_a_reply_is_closed_when_its_plan_has_ended_and_reading_on_is_misuse(world: World) -> None:
    with noting(STREAMING) as hangup:

        def plan() -> Plan[Any]:
            from arshai_kit.effects import Step

            channel = yield from Step("tool", "t", None, lambda: iter(Open(hangup.request)))
            yield from Close(channel)  # it is closed, which is what was asked
            errors = []
            for company in (False, True):
                if company:
                    yield from Start(iter(Sleep(60)))
                    yield from Close(channel)
                try:
                    yield from Read(channel)
                except Misuse as error:
                    errors.append(str(error))
            return errors

        assert ["closed" in error for error in world.run(plan)] == [True, True]
        hangup.saw_it_at_once(monotonic())


@everywhere
@pytest.mark.parametrize("company", [False, True])
def test_what_is_done_politely_keeps_its_connection(
    world: World, company: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (awaiting, blocking):
        monkeypatch.setattr(module, "LINGER", SOON)  # all is there at once, but who reads it may be held up

    def behave(peer: Peer) -> None:
        while peer.request():
            peer.send(chunked(b"all", b"rest"))

    with serving(behave) as server:
        request = Request("GET", server.url)

        def once() -> Plan[bytes]:
            channel = yield from Open(request)
            data = yield from Read(channel)
            yield from Close(channel)
            return data

        def plan() -> Plan[Any]:
            if company:
                yield from Start(iter(Sleep(60)))
            return [(yield from once()), (yield from once()), (yield from Send(request)).body]

        first, second, body = world.run(plan)
        assert b"allrest".startswith(first)
        assert first == second or b"allrest".startswith(second)
        assert body == b"allrest"
        assert len(server.peers) == 1


@everywhere
def test_being_polite_to_a_reply_that_never_ends_takes_no_longer_than_that(world: World) -> None:
    with noting(STREAMING) as hangup:

        def closing() -> Plan[None]:
            channel = yield from Open(hangup.request)
            yield from Read(channel)
            yield from Close(channel)

        def plan() -> Plan[float]:
            before = yield from Now()
            yield from side_by_side([closing(), closing()])
            yield from closing()
            return (yield from Now()) - before

        assert world.run(plan) < SOON / 2
        hangup.saw_it_at_once(monotonic(), 3)


@everywhere
def test_leaving_while_a_reply_is_being_closed_politely_drops_it(world: World) -> None:
    with noting(STREAMING) as hangup:

        def closing() -> Plan[None]:
            channel = yield from Open(hangup.request)
            yield from Read(channel)
            yield from Close(channel)

        def plan() -> Plan[str]:
            yield from Start(closing())
            yield from Call(hangup.asked.acquire, timeout=SOON)
            yield from Sleep(0.03)
            return "left"

        assert world.run(plan) == "left"
        hangup.saw_it_at_once(monotonic())


@everywhere
def test_a_stream_that_opens_after_the_end_is_closed(world: World) -> None:
    """Its worker is told to break off, and whatever it has opened all the same is closed when it answers."""
    asked, go = threading.Event(), threading.Event()

    def behave(peer: Peer) -> None:
        if peer.request():
            asked.set()
            go.wait(SOON)
            peer.send(STREAMING)
            with suppress(OSError):
                peer.hung_up()
            gone.release()

    gone = threading.Semaphore(0)
    with serving(behave) as server:

        def plan() -> Plan[None]:
            yield from Start(iter(Open(Request("GET", server.url))))
            yield from Call(asked.wait, SOON)

        world.run(plan)
        go.set()
        assert gone.acquire(timeout=SOON)


@everywhere
def test_what_was_answered_between_two_events_is_disposed_of_when_the_stream_is_left(world: World) -> None:
    with noting(STREAMING) as hangup:

        def between() -> None:
            for _ in range(2):
                hangup.asked.acquire(timeout=SOON)

        def plan() -> Plan[None]:
            yield from Start(iter(Open(hangup.request)))
            yield from Start(iter(Open(hangup.request)))
            yield from Sleep(0.001)
            yield from Emit((TextDelta("begun"),))

        async def main() -> None:
            async with AsyncStream(plan()) as events:
                await anext(events)
                await anyio.to_thread.run_sync(between)
                await anyio.sleep(0.05)

        if world.backend:
            anyio.run(main, backend=world.backend)
        else:
            with Stream(plan()) as stream:
                next(stream)
                between()
                threading.Event().wait(0.05)
        hangup.saw_it_at_once(monotonic(), 2)


@on_both
def test_an_answer_that_comes_while_others_are_disposed_of_is_disposed_of_too(backend: str) -> None:
    """Threads do not wait for a run that ends."""
    closed: list[str] = []

    @define
    class Late:
        """A reply that came too late; another comes while it is closed."""

        name: str
        more: Callable[[], None] = lambda: None

        async def close(self) -> None:
            self.more()
            await anyio.lowlevel.checkpoint()
            closed.append(self.name)

    async def main() -> None:
        run = AsyncRun(iter(Now()), listening=False)
        flight = run.add(run.machine.turn()[1], Open(Request("GET", "http://localhost")))
        run.answer(flight, Late("first", lambda: run.answer(flight, Late("second"), None)), None)
        await run.close()

    anyio.run(main, backend=backend)
    assert closed == ["first", "second"]


@everywhere
def test_an_answer_that_waits_for_its_plan_is_dropped_when_the_plan_is_cancelled(world: World) -> None:
    """Both are answered at once; the first answer ends what the second belongs to."""
    from arshai_kit.effects import Join, Step

    def step() -> Plan[None]:
        first = yield from Start(iter(Now()))
        yield from Start(iter(Now()))
        yield from Join((first,))

    def plan() -> Plan[str]:
        yield from Step("tool", "t", None, step)
        yield from Sleep(0)
        yield from step()
        return "went on"

    assert world.run(plan) == "went on"


# The user's own clients


FOREIGN = [pytest.param("httpx", id="httpx"), pytest.param("httpx2", marks=pytest.mark.needs("httpx2"), id="httpx2")]


@everywhere
@pytest.mark.parametrize("library", FOREIGN)
def test_a_clients_own_connections_are_used_and_closed(world: World, library: str) -> None:
    """Its streams are broken off like ours."""
    module = import_module(library)

    def behave(peer: Peer) -> None:
        while head := peer.request():
            if b"stream" in head:
                peer.send(STREAMING)
                assert peer.hung_up()
                gone.release()
                return
            peer.send(reply(b"whole"))

    gone = threading.Semaphore(0)
    with serving(behave) as server:

        def plan() -> Plan[bytes]:
            channel = yield from Open(Request("GET", f"{server.url}/stream"))
            yield from Read(channel)
            yield from Start(iter(Read(channel)))
            yield from Sleep(0.02)
            return (yield from Send(Request("GET", server.url))).body

        if world.backend:

            async def main() -> Any:
                async with module.AsyncClient(headers={"x-mine": "1"}) as client:
                    with using(client=client):
                        kept: list[bytes] = []

                        def keeping() -> Plan[None]:
                            kept.append((yield from plan()))

                        async with AsyncStream(keeping()) as events:
                            assert [event async for event in events] == []
                        return kept[0]

            assert anyio.run(main, backend=world.backend) == b"whole"
        else:
            with module.Client(headers={"x-mine": "1"}) as client, using(client=client):
                assert world.run(plan) == b"whole"
        assert gone.acquire(timeout=SOON)
        assert all(b"x-mine: 1" in head.lower() for head in server.heads)


def test_a_send_of_a_users_client_is_left_behind_and_counted() -> None:
    import httpx

    with noting(b"") as hangup, httpx.Client() as client, using(client=client):

        def plan() -> Plan[None]:
            yield from Start(iter(Send(hangup.request)))
            yield from Call(hangup.asked.acquire, timeout=SOON)

        drive(plan())
        assert left_behind() == 1
        hangup.server.close()


# Async


async def leave_async_by_break(stream: AsyncStream) -> None:
    async with stream as events:
        async for _ in events:
            break


async def leave_async_by_error(stream: AsyncStream) -> None:
    async def body() -> None:
        async with stream as events:
            async for _ in events:
                raise KeyError("the body's own")

    with pytest.raises(KeyError):
        await body()


async def leave_async_by_timeout(stream: AsyncStream) -> None:
    with anyio.move_on_after(0.2) as scope:
        async with stream as events:
            async for _ in events:
                pass
    assert scope.cancelled_caught


async def leave_async_by_failing_after(stream: AsyncStream) -> None:
    async def body() -> None:
        with anyio.fail_after(0.2):
            async with stream as events:
                async for _ in events:
                    pass

    with pytest.raises(TimeoutError):
        await body()


async def leave_async_by_a_group(stream: AsyncStream) -> None:
    async def listening() -> None:
        async with stream as events:
            async for _ in events:
                heard.set()

    heard = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(listening)
        await heard.wait()
        group.cancel_scope.cancel()


@leaving_each
@pytest.mark.parametrize(
    "leave",
    [
        leave_async_by_break,
        leave_async_by_error,
        leave_async_by_timeout,
        leave_async_by_failing_after,
        leave_async_by_a_group,
    ],
)
@on_both
def test_leaving_an_async_stream_closes_its_connections(
    plan: ReadingPlan, begin: bytes, times: int, leave: Callable[[AsyncStream], Any], backend: str
) -> None:
    with noting(begin) as hangup:

        async def main() -> None:
            await leave(AsyncStream(plan(hangup.request)))
            await anyio.to_thread.run_sync(hangup.saw_it_at_once, monotonic(), times)

        anyio.run(main, backend=backend)


async def cancel_the_task(work: Callable[[], Any], begun: asyncio.Event) -> type[BaseException]:
    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    return asyncio.CancelledError


async def asyncio_timeout(work: Callable[[], Any], begun: asyncio.Event) -> type[BaseException]:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await work()
    return TimeoutError


async def asyncio_wait_for(work: Callable[[], Any], begun: asyncio.Event) -> type[BaseException]:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work(), 0.2)
    return TimeoutError


@leaving_each
@pytest.mark.parametrize("leave", [cancel_the_task, asyncio_timeout, asyncio_wait_for])
@pytest.mark.parametrize("streaming", [True, False])
def test_asyncios_own_ways_of_cancelling_close_the_connections(
    plan: ReadingPlan, begin: bytes, times: int, leave: Any, streaming: bool
) -> None:
    with noting(begin) as hangup:

        async def main() -> None:
            before = asyncio.all_tasks()
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()

            def telling() -> Plan[None]:
                loop.call_later(0.1, begun.set)
                yield from plan(hangup.request)

            async def listen() -> None:
                async with AsyncStream(telling()) as events:
                    async for _ in events:
                        pass

            await leave(listen if streaming else lambda: adrive(telling()), begun)
            await asyncio.to_thread(hangup.saw_it_at_once, monotonic(), times)
            assert asyncio.all_tasks() == before

        asyncio.run(main())


@on_both
def test_a_tool_that_is_slow_to_end_does_not_keep_the_connection_open(backend: str) -> None:
    with noting(STREAMING) as hangup:

        async def stubborn() -> None:
            try:
                await anyio.sleep(60)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(hangup.saw_it_at_once, monotonic())

        def plan() -> Plan[None]:
            yield from Start(iter(Call(stubborn)))
            yield from reading(hangup.request)

        async def main() -> None:
            async with AsyncStream(plan()) as events:
                await anext(events)
                await anyio.sleep(0.05)

        anyio.run(main, backend=backend)


@on_both
def test_no_task_of_a_run_is_left(backend: str) -> None:
    begun: list[str] = []
    ended: list[str] = []

    async def hangs(name: str) -> None:
        begun.append(name)
        try:
            await anyio.sleep(60)
        finally:
            ended.append(name)

    def plan() -> Plan[None]:
        yield from Start(iter(Call(hangs, "a")))
        yield from Start(iter(Call(lambda: hangs("b"))))
        while len(begun) < 2:
            yield from Sleep(0.001)
        yield from Emit((TextDelta("x"),))
        yield from Sleep(60)

    async def main() -> None:
        async with AsyncStream(plan()) as events:
            async for _ in events:
                break
        assert sorted(ended) == ["a", "b"]

    anyio.run(main, backend=backend)


@on_both
def test_what_was_cancelled_before_it_began_never_begins(backend: str) -> None:
    begun: list[str] = []

    async def begins(name: str) -> None:
        begun.append(name)

    def gives(name: str) -> Any:
        return begins(name)

    def plan(call: Any) -> Plan[None]:
        yield from Start(iter(call))
        raise KeyError("k")

    def step(call: Any) -> Plan[None]:
        from arshai_kit.effects import Step

        yield from Start(iter(Sleep(60)))
        with pytest.raises(KeyError):
            yield from Step("tool", "t", None, lambda: plan(call))
        yield from Sleep(0.01)

    async def main() -> None:
        for function in (begins, gives):
            await adrive(step(Call(function, "async")))

    anyio.run(main, backend=backend)
    drive(step(Call(begins, "sync")))
    assert begun == []


# Streams misused


@on_both
def test_an_async_stream_is_entered_before_it_is_read_and_once(backend: str) -> None:
    async def main() -> None:
        stream = AsyncStream(reading(Request("GET", "http://localhost")))
        with pytest.raises(Misuse, match="async with"):
            await anext(stream)
        with pytest.raises(Misuse, match="async with"):
            async for _ in stream:
                pass
        await stream.aclose()
        async with stream:
            with pytest.raises(Misuse, match="once"):
                await stream.__aenter__()
        await stream.aclose()
        assert [event async for event in stream] == []

    anyio.run(main, backend=backend)


@on_both
def test_a_stream_whose_reading_was_cancelled_says_so(backend: str) -> None:
    with noting(STREAMING) as hangup:

        async def main() -> None:
            async with AsyncStream(reading(hangup.request)) as events:
                assert await anext(events) == TextDelta("first")
                with anyio.move_on_after(0.05):
                    await anext(events)
                with pytest.raises(Misuse, match="cancelled"):
                    await anext(events)

        anyio.run(main, backend=backend)


@on_both
def test_a_stream_is_read_by_one_task_at_a_time(backend: str) -> None:
    with noting(STREAMING) as hangup:

        async def main() -> None:
            async with AsyncStream(reading(hangup.request)) as events, anyio.create_task_group() as group:
                assert await anext(events) == TextDelta("first")
                group.start_soon(swallowing, events)
                await anyio.sleep(0.02)
                with pytest.raises(Misuse, match="twice"):
                    await anext(events)
                group.cancel_scope.cancel()

        async def swallowing(events: AsyncStream) -> None:
            await anext(events)

        anyio.run(main, backend=backend)


@everywhere
def test_after_an_error_a_stream_is_over(world: World) -> None:
    def plan() -> Plan[None]:
        yield from Emit((TextDelta("x"),))
        raise KeyError("k")

    if world.backend:

        async def main() -> list[Any]:
            told: list[Any] = []
            async with AsyncStream(plan()) as events:
                told.append(await anext(events))
                with pytest.raises(KeyError):
                    await anext(events)
                return [*told, *[event async for event in events]]

        assert anyio.run(main, backend=world.backend) == [TextDelta("x")]
    else:
        stream = Stream(plan())
        assert next(stream) == TextDelta("x")
        with pytest.raises(KeyError) as raised:
            next(stream)
        assert raised.value.__context__ is None
        assert list(stream) == []


@on_both
def test_after_a_halt_an_async_stream_is_over(backend: str) -> None:
    from arshai_kit.effects import Halt

    def halts() -> None:
        raise Halt(KeyError("over budget"))

    async def main() -> list[Event]:
        async with AsyncStream(iter(Call(halts))) as events:
            with pytest.raises(KeyError, match="over budget"):
                await anext(events)
            return [event async for event in events]

    assert anyio.run(main, backend=backend) == []


@everywhere
def test_an_error_while_a_run_is_left_comes_out_and_all_is_closed_all_the_same(world: World) -> None:
    with noting(STREAMING) as hangup:

        def plan() -> Plan[None]:
            try:
                yield from reading_in_company(hangup.request)
            finally:
                raise OSError("in finally")

        def leave() -> None:
            with Stream(plan()) as events:
                next(events)

        async def aleave() -> None:
            async with AsyncStream(plan()) as events:
                await anext(events)

        with pytest.raises(OSError, match="in finally"):
            anyio.run(aleave, backend=world.backend) if world.backend else leave()
        hangup.saw_it_at_once(monotonic())


# Time


@everywhere
@pytest.mark.parametrize("company", [False, True])
def test_the_deadline_of_an_exchange_holds_alone_and_in_company(world: World, company: bool) -> None:
    def timed(effect: Any) -> Plan[float]:
        before = yield from Now()
        with pytest.raises(TimedOut):
            yield from effect(before + 0.1)
        return (yield from Now()) - before

    with noting(b"") as silent, noting(STREAMING) as streaming:

        def reading_until(until: float) -> Plan[bytes]:
            channel = yield from Open(streaming.request, until)
            yield from Read(channel)
            return (yield from Read(channel, heard=False))

        def plan() -> Plan[list[float]]:
            if company:
                yield from Start(iter(Sleep(600)))
            taken = []
            for effect in (
                lambda until: iter(Send(silent.request, until)),
                lambda until: iter(Open(silent.request, until)),
                reading_until,
            ):
                taken.append((yield from timed(effect)))
            return taken

        assert all(0.09 < taken < SOON / 2 for taken in world.run(plan))


@everywhere
@pytest.mark.parametrize("company", [False, True])
def test_bytes_that_tell_nothing_are_silence(world: World, company: bool) -> None:
    """A stream that drips is silent, unless the plan says that it has heard something."""

    def behave(peer: Peer) -> None:
        if peer.request():
            peer.send(chunked(b"", end=False)[: -len(b"0\r\n\r\n")])
            while not server.over.wait(0.02):
                peer.send(b"2\r\n: \r\n")

    with serving(behave) as server:

        def plan(heard: bool, timeout: float) -> Plan[Any]:
            if company:
                yield from Start(iter(Sleep(600)))
            channel = yield from Open(Request("GET", server.url, timeout=timeout))
            before = yield from Now()
            try:
                yield from Read(channel)
                while (yield from Now()) - before < (2.5 * timeout if heard else SOON):
                    yield from Read(channel, heard)
            except TimedOut:
                return "silent"
            return "heard"

        def dripping(pace: float) -> None:
            assert world.run(lambda: plan(True, 0.15 * pace)) == "heard"
            assert world.run(lambda: plan(False, 0.15 * pace)) == "silent"

        at_some_pace(dripping)


@everywhere
def test_exchanges_that_fail_are_the_plans_to_answer(world: World) -> None:
    request = Request("GET", "http://127.0.0.1:9", connect_timeout=1)

    def failing(effect: Any) -> Plan[type]:
        try:
            yield from effect
        except Unreachable as error:
            return type(error)
        return type(None)

    def plan() -> Plan[Any]:
        alone = [(yield from failing(Send(request))), (yield from failing(Open(request)))]
        beside = yield from side_by_side([failing(Send(request)), failing(Open(request))])
        return [*alone, *[outcome.unwrap() for outcome in beside]]

    assert world.run(plan) == [Unreachable] * 4


@everywhere
def test_runs_share_the_connections_of_their_limits(world: World) -> None:
    def behave(peer: Peer) -> None:
        while peer.request():
            peer.send(reply(b"ok"))

    with serving(behave) as server:
        request = Request("GET", server.url)

        def plan() -> Plan[list[int]]:
            replies: list[Reply] = []
            for _ in range(3):
                replies.append((yield from Send(request)))
            outcomes = yield from side_by_side([iter(Send(request)) for _ in range(6)])
            return [each.status for each in (*replies, *[outcome.unwrap() for outcome in outcomes])]

        with using(limits=Limits(max_connections=50, max_connections_per_host=2)):
            assert world.run(plan) == [200] * 9
        assert len(server.peers) <= 2


@asynccontextmanager
async def streaming(plan: Plan[Any]) -> AsyncIterator[AsyncStream]:
    """Enter a stream in a context manager of one's own."""
    async with AsyncStream(plan) as events:
        yield events


@on_both
def test_a_stream_may_be_entered_in_a_context_manager_of_ones_own(backend: str) -> None:
    with noting(STREAMING) as hangup:

        async def main() -> None:
            async with streaming(reading_in_company(hangup.request)) as events:
                async for _ in events:
                    break
            await anyio.to_thread.run_sync(hangup.saw_it_at_once, monotonic())

        anyio.run(main, backend=backend)


def test_a_stream_is_closed_by_who_reads_it() -> None:
    waiting, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        waiting.set()
        go_on.wait(SOON)

    stream = Stream(iter(Call(wait)))
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    assert waiting.wait(SOON)
    with pytest.raises(Misuse, match="closed by the thread that reads it"):
        stream.close()
    with pytest.raises(Misuse, match="read by another thread"):
        next(stream)
    with pytest.raises(Misuse, match="read by another thread"):
        list(stream)
    go_on.set()
    reader.join()
    stream.close()


def test_a_value_that_a_plan_finds_wrong_is_not_taken_for_a_thread() -> None:
    def wrong() -> Plan[None]:
        try:
            yield from Emit((TextDelta("one"),))
            raise ValueError("while it is read")
        finally:
            raise ValueError("as it ends")

    stream = Stream(wrong())
    assert next(stream) == TextDelta("one")
    with pytest.raises(ValueError, match="as it ends"):
        stream.close()
    with pytest.raises(ValueError, match="as it ends"):
        list(Stream(wrong()))
