"""What only a process of its own can show: its exit, its children, signals, and many threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from textwrap import dedent
from time import monotonic
from typing import Any

import pytest

from arshai_kit.effects import Call, Emit, Open, Plan, Read, Request, Send, side_by_side
from arshai_kit.faces import Stream, drive
from arshai_kit.records import TextDelta
from tests.core.test_leaving import STREAMING, noting
from tests.transport.server import SOON, Peer, reply, serving

PRELUDE = """
import logging, os, signal, sys, threading, time
import anyio
from arshai_kit import _threads
from arshai_kit.faces import AsyncStream, Stream, adrive, drive
from arshai_kit.effects import *
from arshai_kit.records import TextDelta
from arshai_kit.scope import background_tasks, using

# A slow machine is no failure, and asyncio in its debug mode complains of slow steps.
logging.getLogger("asyncio").addFilter(lambda record: " took " not in record.getMessage())

async def nap(seconds=0.01):
    await anyio.sleep(seconds)
    return "napped"

def said(text):
    print(text, flush=True)
"""

PATIENT = """
        _threads._DRAIN_SECONDS = 60  # a machine may be busy for longer than a user would wait
        go = threading.Event()

        def later():  # the end of the program has come
            go.wait(60)
            time.sleep(0.2)
"""


def child(code: str, *arguments: str, status: int = 0) -> str:
    """What a process that runs *code* prints; it must end by itself with *status* and complain of nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", PRELUDE + dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=3 * SOON,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, ""), done.stderr
    return done.stdout


def rests(process: subprocess.Popen[Any]) -> None:
    """Wait until the main thread of *process* waits itself: an interrupt between two byte codes is something else."""
    told = Path(f"/proc/{process.pid}/task/{process.pid}/stat")
    pause, seen = threading.Event(), [""]
    while told.exists() and process.poll() is None:
        fields = told.read_text().rpartition(")")[2].split()
        seen.append(" ".join(fields[11:13]) if fields[0] == "S" else "")  # how long it has run, if it sleeps
        if len(seen) > 5 and seen[-1] and len(set(seen[-5:])) == 1:
            break
        pause.wait(0.02)
    pause.wait(0.1)


# The exit


def test_at_exit_the_background_of_the_process_is_waited_for() -> None:
    """Whatever it is: in threads, on the shared loop, and by plans that ask for more of both."""
    told = child(f"""
        {PATIENT}
        def slow():
            later()
            yield from Call(said, "thread")
            outcomes = yield from side_by_side([iter(Call(nap)), iter(Call(time.sleep, 0.01)), iter(Call(nap))])
            said(str([outcome.error for outcome in outcomes]))

        drive(iter(Spawn("slow", slow)))
        said("end")
        go.set()
    """)
    assert told.split("\n") == ["end", "thread", "[None, None, None]", ""]


def test_at_exit_the_background_of_async_code_is_waited_for() -> None:
    told = child(f"""
        {PATIENT}
        def slow():
            yield from Call(later)
            yield from Call(nap)
            yield from Call(said, "done")

        anyio.run(lambda: adrive(iter(Spawn("slow", slow))))
        said("end")
        go.set()
    """)
    assert told == "end\ndone\n"


def test_what_overruns_the_exit_is_logged_by_name() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PRELUDE
            + dedent("""
            _threads._DRAIN_SECONDS = 0.1  # where a user would wait five seconds
            drive(iter(Spawn("hangs", lambda: iter(Call(time.sleep, 600)))))
        """),
        ],
        capture_output=True,
        text=True,
        timeout=3 * SOON,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "left behind in the background: hangs\n")


def test_a_tool_left_behind_keeps_no_process_alive() -> None:
    assert (
        child("""
        def plan():
            try:
                yield from Call(time.sleep, 600).within(0.01)
            except TimeoutError:
                pass
            yield from Start(iter(Call(time.sleep, 600)))
            yield from Start(iter(Call(nap, 600)))
            yield from Sleep(0.05)

        drive(plan())
        anyio.run(lambda: adrive(plan()))
        said("end")
    """)
        == "end\n"
    )


def test_a_stream_that_nobody_has_closed_complains_of_nothing_at_exit() -> None:
    assert (
        child("""
        def plan():
            yield from Start(iter(Call(nap, 600)))
            yield from Start(iter(Call(time.sleep, 600)))
            yield from Sleep(0.01)
            yield from Emit((TextDelta("x"),))
            yield from Emit((TextDelta("y"),))

        stream = Stream(plan())
        said(str(next(stream).text))
    """)
        == "x\n"
    )


# Signals


@pytest.mark.parametrize("plan", ["reading", "reading_in_company", "opening"])
@pytest.mark.parametrize("how", ["sync", "asyncio", "trio"])
def test_an_interrupt_closes_the_connections(plan: str, how: str) -> None:
    with noting(b"" if plan == "opening" else STREAMING) as hangup:
        code = f"""
            import tests.core.test_leaving as leaving
            plan = leaving.{plan}(Request("POST", sys.argv[1], content=b"?"))

            async def main():
                async with AsyncStream(plan) as events:
                    async for _ in events:
                        said("reading")

            try:
                if {how!r} == "sync":
                    for _ in Stream(plan):
                        said("reading")
                else:
                    anyio.run(main, backend={how!r})
            except KeyboardInterrupt:
                said("interrupted")
                sys.stdin.readline()
        """
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + dedent(code), hangup.server.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n", process.communicate()
        for _ in range(2 if plan == "opening" else 1):
            hangup.asked.acquire(timeout=SOON)
        rests(process)
        process.send_signal(signal.SIGINT)
        since = monotonic()
        assert process.stdout.readline() == "interrupted\n", process.communicate()
        hangup.saw_it_at_once(since, 2 if plan == "opening" else 1)
        assert process.communicate("\n", timeout=SOON) == ("", "")
        assert process.returncode == 0


# Forking


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_of_a_process_that_has_used_everything_works_as_if_it_were_the_first() -> None:
    def behave(peer: Peer) -> None:
        while peer.request():
            peer.send(reply(b"ok"))

    with serving(behave) as server:
        out = child(
            """
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads, which is the point
            request = Request("GET", sys.argv[1])

            def everything():
                yield from Spawn("log", lambda: iter(Call(nap)))
                outcomes = yield from side_by_side(
                    [iter(Send(request)), iter(Send(request)), iter(Call(nap)), iter(Call(time.sleep, 0.01))]
                )
                alone = yield from Send(request)
                return [outcome.unwrap() for outcome in outcomes][2], alone.body

            hanging = threading.Event()
            assert drive(everything()) == ("napped", b"ok")
            drive(iter(Spawn("hangs", lambda: iter(Call(hanging.wait, 600)))))
            pid = os.fork()
            if not pid:
                assert background_tasks() == ()
                assert drive(everything()) == ("napped", b"ok")
                assert anyio.run(lambda: adrive(everything())) == ("napped", b"ok")
                said("child")
                sys.exit()
            _, status = os.waitpid(pid, 0)
            assert status == 0, status
            assert drive(everything()) == ("napped", b"ok")
            hanging.set()
            said("parent")
        """,
            server.url,
        )
    assert out == "child\nparent\n"


# Threads


def answering(peer: Peer) -> None:
    """Answer with a stream, or with a whole."""
    while head := peer.request():
        peer.send(STREAMING + b"0\r\n\r\n" if b"stream" in head else reply(b"ok"))


def told(request: Request) -> Plan[None]:
    """Tell what is read."""
    channel = yield from Open(request)
    while data := (yield from Read(channel)):
        yield from Emit((TextDelta(data.decode()),))


def everything(url: str) -> Plan[None]:
    """Streams, a call and an exchange side by side."""
    streamed = Request("GET", f"{url}/stream")
    plans = [told(streamed), told(streamed), iter(Call(len, "abc")), iter(Send(Request("GET", url)))]
    yield from side_by_side(plans, limit=3)


def test_many_threads_drive_at_once_over_the_connections_of_one_process() -> None:
    """Each its own runs: nothing that they share is touched by two."""
    errors: list[BaseException] = []
    results: list[Any] = []

    with serving(answering) as server:

        def work() -> None:
            try:
                for _ in range(5):
                    results.append(drive(iter(Send(Request("GET", server.url)))).body)
                    results.append(list(Stream(everything(server.url))))
                    with Stream(everything(server.url)) as events:
                        next(events)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(3 * SOON)
    assert errors == []
    assert results.count(b"ok") == 80
    assert results.count([TextDelta("first"), TextDelta("first")]) == 80


def test_a_worker_that_was_idle_for_long_ends_and_the_next_one_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    from arshai_kit import _threads

    pool = _threads.Workers()
    monkeypatch.setattr(_threads, "_IDLE_SECONDS", 0.01)
    workers: SimpleQueue[threading.Thread] = SimpleQueue()
    seen: list[threading.Thread] = []
    for _ in range(3):
        pool.run(lambda: workers.put(threading.current_thread()))
        seen.append(workers.get(timeout=SOON))
        seen[-1].join(SOON)
        assert not seen[-1].is_alive()
    assert len(set(seen)) == 3


def test_a_worker_about_to_end_still_takes_the_job_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has waited long enough, but before it could say so somebody has picked it."""
    from arshai_kit import _threads

    pool = _threads.Workers()
    first, second = threading.Event(), threading.Event()

    class Late(SimpleQueue):  # type: ignore[type-arg]
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            if timeout is None:
                return super().get()
            pool.run(second.set)  # just now
            raise Empty

    monkeypatch.setattr(_threads, "SimpleQueue", Late)
    monkeypatch.setattr(_threads, "_IDLE_SECONDS", 0.01)
    pool.run(first.set)
    assert first.wait(SOON)
    assert second.wait(SOON)


def test_a_process_that_ends_leaves_no_connection_open(tmp_path: Path) -> None:
    """The connections that nobody but us can close are closed when the process ends: there is no warning."""
    script = tmp_path / "asks.py"
    script.write_text(
        dedent("""
            import json, threading
            from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
            from arshai_kit import complete, openai_compatible

            BODY = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()

            class Answers(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"
                def do_POST(self):
                    self.rfile.read(int(self.headers["content-length"]))
                    self.send_response(200)
                    self.send_header("content-length", str(len(BODY)))
                    self.end_headers()
                    self.wfile.write(BODY)
                def log_message(self, *_): pass

            server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            print(complete(openai_compatible("m", base_url=f"http://127.0.0.1:{server.server_port}/v1"), "Hello").text)
            server.socket.close()
        """),
        "utf-8",
    )
    done = subprocess.run([sys.executable, "-W", "error", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")


def test_many_threads_may_be_the_first_to_use_it() -> None:
    """What is imported late is imported by several at once, and by the program itself."""
    code = """
        import sys, threading, arshai_kit
        started, said = threading.Barrier(50), []
        def use():
            started.wait()
            said.append(arshai_kit.run(len, "abc"))
        def elsewhere():
            started.wait()
            import logging
        threads = [threading.Thread(target=use) for _ in range(49)] + [threading.Thread(target=elsewhere)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(said == [3] * 49)
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
