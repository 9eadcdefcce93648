"""A call above the limits waits its turn: that counts towards the deadline, and is no silence."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest

from arshai_kit import Response, aio, complete, openai_compatible, using
from arshai_kit.errors import TimedOut
from arshai_kit.scope import Limits
from tests.core.worlds import on_both
from tests.transport.server import at_some_pace

ANSWER = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()
TAKES = 0.4


class Slow(BaseHTTPRequestHandler):
    """Takes as many times `TAKES` as its path says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(TAKES * float(self.path.split("/")[1]))
        self.send_response(200)
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("bound", ["max_connections", "max_connections_per_host"])
def test_queueing_is_no_silence(url: str, bound: str) -> None:
    """Four calls through one connection take four times as long as one, each within its own time of silence."""

    def five(pace: float) -> None:
        model = openai_compatible("m", base_url=f"{url}/{pace}/v1", timeout=3 * TAKES * pace, retry=None)

        def ask(number: int) -> str:
            with using(limits=Limits(**{bound: 1})):
                return complete(model, f"question {number}").text

        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(ask, range(5))) == ["hi"] * 5

    at_some_pace(five)


@on_both
def test_queueing_is_no_silence_in_tasks(url: str, backend: str) -> None:
    async def five(pace: float) -> None:
        model = openai_compatible("m", base_url=f"{url}/{pace}/v1", timeout=3 * TAKES * pace, retry=None)
        told: list[str] = []

        async def ask(number: int) -> None:
            told.append((await aio.complete(model, f"question {number}")).text)

        async with using(limits=Limits(max_connections=1)), anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(ask, number)
        assert told == ["hi"] * 5

    at_some_pace(lambda pace: anyio.run(five, pace, backend=backend))


def test_queueing_counts_towards_the_deadline(url: str) -> None:
    limits = Limits(max_connections=1)

    def three(pace: float) -> None:
        model = openai_compatible("m", base_url=f"{url}/{pace}/v1", deadline=1.5 * TAKES * pace, retry=None)

        def ask(number: int) -> Response | TimedOut:
            try:
                with using(limits=limits):
                    return complete(model, f"question {number}")
            except TimedOut as error:
                return error

        with ThreadPoolExecutor(3) as pool:
            kinds = [type(outcome) for outcome in pool.map(ask, range(3))]
        assert kinds.count(Response) == 1
        assert kinds.count(TimedOut) == 2

    at_some_pace(three)
