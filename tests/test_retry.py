"""Trying again: tenacity decides, the clock of the run counts, and what has been told is not told twice."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import Response, complete, openai_compatible, stream, using
from arshai_kit.effects import Close, Open, Plan, Send, Sleep
from arshai_kit.errors import (
    BadReply,
    BadRequest,
    Misuse,
    ProviderError,
    RateLimited,
    ServerFailed,
    StreamIncomplete,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from arshai_kit.retry import Retry, decided, transient
from arshai_kit.testing import clock, recorded, replayed
from tests.core.worlds import World, everywhere, listening
from tests.laws.provider import Provider, Sent, provider, whole
from tests.test_completion import DONE, chunk

ANSWER = whole({"choices": [{"message": {"content": "Fine."}, "finish_reason": "stop"}]})
TOLD = Sent([chunk({"content": "Fi"}), chunk({"content": "ne."}), chunk({}, "stop"), DONE])


@pytest.fixture(scope="module")
def there() -> Iterator[Provider]:
    with provider() as living:
        yield living


def failing(status: int, *headers: tuple[str, str]) -> Sent:
    return whole({"error": {"message": "not now"}}, status, *headers)


def asked(there: Provider, world: World, *replies: Sent, **options: Any) -> Response:
    """The answer of a provider that gives *replies*, of which the last is an answer, whole or streamed."""
    there.answers(*[TOLD if reply is ANSWER and world.listening else reply for reply in replies])
    asking: Callable[..., Plan[Response]] = stream.plan if world.listening else complete.plan
    return world.run(lambda: asking(there.model(**options), "Well?"))


# -- how often --


@everywhere
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(there: Provider, world: World, status: int) -> None:
    with clock():
        assert asked(there, world, failing(status), failing(status), ANSWER).text == "Fine."
    assert len(there.asked) == 3


@everywhere
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_stays_wrong_is_not(there: Provider, world: World, status: int) -> None:
    with pytest.raises(ProviderError) as caught:
        asked(there, world, failing(status, ("x-request-id", "req-7")))
    assert (caught.value.status, caught.value.request_id, len(there.asked)) == (status, "req-7", 1)


@everywhere
@pytest.mark.parametrize(
    ("retry", "attempts"), [(None, 1), (0, 1), (1, 2), (2, 3), (4, 5), (Retry(), 3), (Retry.times(1), 2)]
)
def test_attempts_are_counted(there: Provider, world: World, retry: Any, attempts: int) -> None:
    """And the error is that of the last one."""
    replies = [failing(429, ("x-request-id", f"req-{number}")) for number in range(1, 6)]
    with clock(), pytest.raises(RateLimited) as caught:
        asked(there, world, *replies, retry=retry)
    assert len(there.asked) == attempts
    assert caught.value.request_id == f"req-{attempts}"


@pytest.mark.parametrize("wrong", [True, -1, 1.5, "2", tenacity.stop_after_attempt(3), tenacity.wait_fixed(1)])
def test_what_is_no_policy_is_refused(wrong: Any) -> None:
    with pytest.raises(Misuse, match="retry= takes a number of times"):
        openai_compatible("m", base_url="http://x", retry=wrong)


@everywhere
def test_the_provider_may_say_whether_it_makes_sense(there: Provider, world: World) -> None:
    with clock():
        assert asked(there, world, failing(400, ("x-should-retry", "true")), ANSWER).text == "Fine."
        with pytest.raises(ServerFailed):
            asked(there, world, failing(500, ("x-should-retry", "false")), ANSWER)
    assert len(there.asked) == 1


@everywhere
def test_a_connection_that_cannot_be_made_is_tried_again(world: World) -> None:
    opened: list[Any] = []

    def on_request(effect: Any, _: Any) -> Plan[Any]:
        opened.append(effect)
        return (yield from effect)

    nobody = openai_compatible("m", base_url="http://127.0.0.1:9/v1", api_key="")
    asking: Callable[..., Plan[Response]] = stream.plan if world.listening else complete.plan
    with clock(), using(layers=[{Send: on_request, Open: on_request}]), pytest.raises(Unreachable):
        world.run(lambda: asking(nobody, "Well?"))
    assert len(opened) == 3


@everywhere
def test_a_connection_that_breaks_is_tried_again(there: Provider, world: World) -> None:
    with clock():
        assert asked(there, world, Sent([b'{"choi'], kind="application/json", cut=True), ANSWER).text == "Fine."


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Unreachable("broke"), True),
        (TimedOut("silent"), False),
        (BadReply("HTML", status=200), False),
        (ProviderError("odd", status=408), True),
        (StreamIncomplete("cut"), False),
        (BadRequest("no", status=400), False),
        (Unauthorized("no", status=401, should_retry=True), True),
        (ServerFailed("broke", status=500), True),
        (ValueError("ours"), False),
    ],
)
def test_what_may_pass(error: Exception, again: bool) -> None:
    assert transient(error) is again


# -- how long --


@contextmanager
def sleeping() -> Iterator[list[float]]:
    """How long was waited."""
    slept: list[float] = []

    def on_sleep(effect: Sleep, _: Any) -> Plan[None]:
        slept.append(effect.seconds)
        yield from effect

    with using(layers=[{Sleep: on_sleep}]), clock():
        yield slept


@everywhere
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("retry-after", "7")], 7),
        ([("retry-after", "0")], 0),
        ([("retry-after-ms", "250"), ("retry-after", "9")], 0.25),
        ([("date", "Tue, 01 Jul 2025 10:00:00 GMT"), ("retry-after", "Tue, 01 Jul 2025 10:01:30 GMT")], 90),
        ([("retry-after", "120")], 120),
    ],
)
def test_the_wait_is_what_the_provider_asks_for(
    there: Provider, world: World, headers: list[tuple[str, str]], seconds: float
) -> None:
    with sleeping() as slept:
        assert asked(there, world, failing(429, *headers), ANSWER).text == "Fine."
    assert slept[:1] == [seconds]


@everywhere
def test_a_wait_that_is_too_long_is_not_waited(there: Provider, world: World) -> None:
    """Longer than the ceiling, or than there is time left."""
    for seconds, options in (("121", {}), ("3600", {"retry": Retry(ceiling=3599)}), ("60", {"deadline": 50})):
        with sleeping() as slept, pytest.raises(RateLimited) as caught:
            asked(there, world, failing(429, ("retry-after", seconds)), ANSWER, **options)
        assert (slept, caught.value.retry_after, len(there.asked)) == ([], float(seconds), 1)
    with sleeping() as slept:
        assert (
            asked(there, world, failing(429, ("retry-after", "600")), ANSWER, retry=Retry(ceiling=600)).text == "Fine."
        )
    assert slept[:1] == [600]


@given(st.integers(1, 20))
def test_by_default_the_wait_grows_with_jitter(number: int) -> None:
    waits = [decided(50, ServerFailed("broke", status=500), number, 0.0) for _ in range(30)]
    bound = min(8.0, 0.5 * 2 ** (number - 1))
    assert all(wait is not None and 0 <= wait <= bound for wait in waits)
    assert len(set(waits)) > 1


# -- policies of a user's own --


@everywhere
def test_tenacity_sees_the_time_and_the_attempts_of_the_run(there: Provider, world: World) -> None:
    policies: list[tuple[Retry, list[float]]] = [
        (Retry(tenacity.stop_after_delay(9), tenacity.wait_fixed(5)), [5, 5]),
        (Retry(tenacity.stop_before_delay(11), tenacity.wait_fixed(5)), [5, 5]),
        (Retry(tenacity.stop_before_delay(9), tenacity.wait_fixed(5)), [5]),
        (Retry(tenacity.stop_after_attempt(4), tenacity.wait_incrementing(1, 2)), [1, 3, 5]),
        (Retry(tenacity.stop_after_attempt(2) | tenacity.stop_after_delay(100), tenacity.wait_fixed(1)), [1]),
        (Retry(wait=tenacity.wait_fixed(1) + tenacity.wait_fixed(2)), [3, 3]),
        (Retry(wait=tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(4))), [1, 4]),
        (Retry(wait=tenacity.wait_exception(lambda error: float(getattr(error, "status", 0)))), [500, 500]),
        (Retry(retry=tenacity.retry_if_exception_type(BadRequest)), []),
        (Retry(retry=tenacity.retry_if_exception_message(match=".*not now"), wait=tenacity.wait_none()), [0, 0]),
        (Retry(lambda state: state.attempt_number > 1, lambda state: 2.0 * state.attempt_number), [2]),
    ]
    for policy, waits in policies:
        with sleeping() as slept, pytest.raises(ServerFailed):
            asked(there, world, *[failing(500)] * 9, retry=policy, deadline=5000)
        assert (policy, slept) == (policy, waits)


@everywhere
def test_attempts_end_with_the_deadline(there: Provider, world: World) -> None:
    with sleeping() as slept, pytest.raises(ServerFailed):
        asked(
            there, world, *[failing(500)] * 20, retry=Retry(tenacity.stop_never, tenacity.wait_fixed(10)), deadline=35
        )
    assert slept == [10, 10, 10]


def test_what_a_policy_raises_is_not_hidden(there: Provider) -> None:
    def broken(_: Any) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asked(there, World(), failing(500), retry=Retry(broken))


def test_a_policy_is_a_value() -> None:
    assert Retry.times(2).stop.max_attempt_number == 3
    assert repr(Retry(ceiling=5)) == "Retry(ceiling=5)"
    assert pickle.loads(pickle.dumps(Retry(ceiling=5))) == Retry(ceiling=5)


# -- streams --


@listening
def test_once_something_was_told_nothing_is_tried_again(there: Provider, world: World) -> None:
    broken = [
        Sent([chunk({"content": "Fi"})], cut=True),
        Sent([chunk({"content": "Fi"}), b'data: {"error": {"message": "overloaded", "code": 503}}\n\n']),
        Sent([chunk({"content": "Fi"})]),
    ]
    for reply in broken:
        with sleeping() as slept, pytest.raises(ProviderError) as caught:
            asked(there, world, reply, ANSWER)
        assert (len(there.asked), slept, caught.value.partial.text) == (1, [], "Fi")


@listening
def test_before_something_was_told_a_stream_is_tried_again(there: Provider, world: World) -> None:
    silent = [
        Sent([b": wait\n\n"], cut=True),
        Sent([chunk({"role": "assistant"})], cut=True),
        Sent([b'data: {"error": {"message": "overloaded", "code": 503}}\n\n']),
        Sent([b"<html>Bad gateway</html>"], status=502, kind="text/html"),
    ]
    for reply in silent:
        with clock():
            assert asked(there, world, reply, ANSWER).text == "Fine."
        assert len(there.asked) == 2


@listening
def test_what_failed_is_closed_before_the_next_attempt(there: Provider, world: World) -> None:
    order: list[str] = []

    def note(effect: Any, _: Any) -> Plan[Any]:
        order.append(type(effect).__name__)
        return (yield from effect)

    replies = [failing(500), Sent([b": wait\n\n"], cut=True), ANSWER]
    with using(layers=[{Open: note, Close: note, Sleep: note}]), clock():
        asked(there, world, *replies)
    shown = [name for name in order if name != "Sleep"]
    assert shown == ["Open", "Close"] * 3


# -- replays --


@everywhere
def test_a_replay_decides_the_same(there: Provider, world: World, tmp_path: Path) -> None:
    """Chance, waits and attempts are in the recording: nothing is decided anew."""
    path = tmp_path / "run.jsonl"
    policy = Retry(tenacity.stop_after_attempt(3), tenacity.wait_random(0, 0.01))
    with recorded(path):
        first = asked(there, world, failing(500), failing(503), ANSWER, retry=policy)
    there.answers()
    never = Retry(tenacity.stop_after_attempt(1))
    asking: Callable[..., Plan[Response]] = stream.plan if world.listening else complete.plan
    with replayed(path):
        assert world.run(lambda: asking(there.model(retry=never), "Well?")) == first
    assert there.asked == []
