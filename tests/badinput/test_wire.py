"""The logger `arshai_kit.wire`: what was sent and what came, keys removed, and nothing when nobody listens."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import _wire
from arshai_kit.effects import Channel, Now, Open, Read, Reply, Request, Secret, Send
from arshai_kit.errors import Unreachable
from tests.badinput.ways import DONE, KEY, Way, answering, asked, before, body, chunk, everyway, message, model_at, sent

WIRE = "arshai_kit.wire"
HELLO = body(message({"content": "Hello"}), f"x-echo: Bearer {KEY}", "set-cookie: id=4711", "x-request-id: req-7")
STREAM = sent(chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop"), DONE)


@everyway
def test_requests_and_replies_are_shown(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, WIRE)
    with answering(*before(way), STREAM if way.streams else HELLO) as server:
        came = way.ask(model_at(server))
        address = server.url
    assert came.response is not None
    told = [record.getMessage() for record in caplog.records if record.name == WIRE]
    questions = [each for each in told if each.startswith("> ")]
    assert len(questions) == 1 + way.loops
    assert questions[0].startswith(f"> POST {address}/v1/chat/completions\ncontent-type: application/json\n")
    assert "authorization: ***\n" in questions[0]
    assert '"content":"What is the weather in Oslo?"' in questions[0]
    replies = [each for each in told if each.startswith("< ")]
    assert replies[0].startswith("< 200\n")
    assert '"finish_reason": "stop"' in "".join(replies)
    if not way.streams:
        assert "x-echo: ***\nset-cookie: ***\nx-request-id: req-7\n" in replies[-1]
    assert KEY not in "".join(told)


@everyway
def test_nothing_is_shown_above_debug(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    asked(way, STREAM if way.streams else HELLO)
    assert not [record for record in caplog.records if record.name.startswith("arshai_kit")]


@everyway
def test_an_exchange_that_fails_is_shown(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, WIRE)
    way.ask(model_at("http://no-such-host.invalid/v1"))
    (asking, failing) = [record.getMessage() for record in caplog.records if record.name == WIRE]
    assert asking.startswith("> POST http://no-such-host.invalid/v1/chat/completions\n")
    assert failing.startswith("< Unreachable: no connection to no-such-host.invalid")


def test_who_has_not_imported_logging_does_not_listen() -> None:
    """And need not pay for it."""
    program = (
        "import sys, arshai_kit\nfrom arshai_kit import openai_compatible, complete, _wire\n"
        "listening, found = _wire.logger(), 'logging' in sys.modules\n"
        "assert found or listening is None\nimport logging\nassert _wire.logger() is None\n"
        "logging.getLogger('arshai_kit.wire').setLevel(logging.DEBUG)\nassert _wire.logger() is not None\n"
        "print('fine', found)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=False)
    assert (done.stdout, done.stderr) == ("fine False\n", "")


# What is hidden


class Kept(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record*."""
        self.told.append(record.getMessage())


def listening() -> tuple[_wire.Listening, list[str]]:
    """A listener of its own, and what it hears."""
    log, kept = logging.Logger("wire", logging.DEBUG), Kept()  # noqa: LOG001  # one that nobody else has
    log.addHandler(kept)
    return _wire.Listening(log), kept.told


def request(*headers: tuple[str, Any], url: str = "http://h/v1", content: bytes = b"{}") -> Request:
    """A request."""
    return Request("POST", url, headers, content)


BEARER = ("authorization", Secret(f"Bearer {KEY}"))


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        (BEARER, "authorization: ***"),
        (("api-key", KEY), "api-key: ***"),
        (("X-Goog-Api-Key", KEY), "X-Goog-Api-Key: ***"),
        (("x-plain", Secret(KEY)), "x-plain: ***"),
        (("Cookie", "a=b"), "Cookie: ***"),
        (("x-request", "plain"), "x-request: plain"),
    ],
)
def test_headers_are_shown_but_for_keys(header: tuple[str, Any], shown: str) -> None:
    wire, told = listening()
    _wire.asked(wire, request(header))
    assert told == [f"> POST http://h/v1\n{shown}\n{{}}"]


def test_keys_in_an_address_are_not_shown_nor_repeated() -> None:
    wire, told = listening()
    asking = request(url=f"http://h/v1?a=1&api-key={KEY}&x=2&access_token=t0p-s3cret#end")
    _wire.asked(wire, asking)
    _wire.answered(wire, Send(asking), Reply(404, (), f"no {KEY}, no t0p-s3cret".encode()), None)
    assert told == ["> POST http://h/v1?a=1&api-key=***&x=2&access_token=***#end\n\n{}", "< 404\n\nno ***, no ***"]


@pytest.mark.parametrize("form", [KEY, f"Bearer {KEY}", KEY.replace("/", "\\/"), KEY.replace("/", "%2F")])
def test_a_key_that_is_repeated_is_removed_in_whatever_form(form: str) -> None:
    wire, told = listening()
    asking = request(BEARER, content=f'{{"note": "{form}"}}'.encode())
    _wire.asked(wire, asking)
    _wire.answered(wire, Send(asking), Reply(200, (("x-told", form), ("x-key", "k")), f"<{form}>".encode()), None)
    _wire.answered(wire, Open(asking), Channel(1, 200, (("x-told", form),)), None)
    _wire.answered(wire, Read(Channel(1, 200)), f"data: {form}\n".encode(), None)
    _wire.answered(wire, Send(asking), None, Unreachable(f"no {form}"))
    _wire.answered(wire, Now(), 5.0, None)
    assert told == [
        '> POST http://h/v1\nauthorization: ***\n{"note": "***"}',
        "< 200\nx-told: ***\nx-key: ***\n<***>",
        "< 200\nx-told: ***",
        "< data: ***\n",
        "< Unreachable: no ***",
    ]


@given(st.text(max_size=30), st.text(max_size=30), st.lists(st.integers(0, 100), max_size=6))
def test_a_key_in_a_stream_is_removed_wherever_the_network_cuts_it(
    before: str, after: str, places: Sequence[int]
) -> None:
    wire, told = listening()
    _wire.asked(wire, request(BEARER))
    told.clear()
    data = f"{before}{KEY}{after}".encode()
    marks = sorted({0, len(data), *(place for place in places if place < len(data))})
    for start, end in zip(marks, [*marks[1:], len(data)], strict=True):
        _wire.answered(wire, Read(Channel(7, 200)), data[start:end], None)
    _wire.answered(wire, Read(Channel(7, 200)), b"", None)
    shown = "".join(each.removeprefix("< ") for each in told)
    assert KEY not in shown
    assert "***" in shown


def test_a_long_body_is_cut_and_the_cut_leaves_no_half_of_a_key() -> None:
    for place in range(20_000 - len(KEY) - 3, 20_003, 5):
        wire, told = listening()
        asking = request(BEARER)
        _wire.asked(wire, asking)
        _wire.answered(wire, Send(asking), Reply(200, (), b"x" * place + KEY.encode() + b"y" * 50_000), None)
        assert told[1].endswith(" bytes)")
        assert "sk-" not in told[1]
        assert 19_900 < len(told[1]) < 20_100


def test_without_a_key_a_long_body_is_cut_all_the_same() -> None:
    wire, told = listening()
    _wire.asked(wire, request(content=b"x" * 30_000))
    assert told == [f"> POST http://h/v1\n\n{'x' * 20_000}… (30,000 bytes)"]
