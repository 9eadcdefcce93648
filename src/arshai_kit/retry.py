"""tenacity decides, the world supplies: its objects are asked inside a recorded effect, on the clock of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Call, Emit, Now, Plan, Sleep
from arshai_kit.errors import Misuse, OverBudget, ProviderError, RestartRefused, StreamIncomplete, TimedOut, Unreachable
from arshai_kit.records import Notice

__all__ = ["Retry", "attempts", "transient"]

T = TypeVar("T")

_TRANSIENT = frozenset({408, 409, 429})
_LONGEST_WAIT = 30 * 24 * 3600.0


def _asked(_: Any, spot: Any, value: Any) -> None:
    """Refuse what tenacity cannot ask."""
    if value is not None and not callable(value):
        raise Misuse(
            f"{spot.name}= is one of tenacity's objects, such as stop_after_attempt(3), not {value!r}; "
            "Retry.times(2) tries again twice"
        )


def _number(_: Any, spot: Any, value: Any) -> None:
    if not isinstance(value, int | float) or not value >= 0:
        raise Misuse(f"{spot.name}= is a number of seconds, not {value!r}")


@frozen(eq=False, repr=False)
class Retry(Record):
    """When to try again, and how long to wait between tries: tenacity's own objects, `None` for our defaults.

    By default three attempts in all, of what is `transient`, with full jitter up to 0.5, 1, 2, … 8 s. What the provider
    asks for (`Retry-After`) goes before *wait*; when it is more than *ceiling* seconds, the call fails at once.

    A streamed answer is tried again until something of it has been told. With *restart* also then, and when it ended
    too early: `Notice("restarted", …)` says that it begins anew. It never does after a tool has been called meanwhile.
    """

    stop: Any = field(default=None, validator=_asked)
    wait: Any = field(default=None, validator=_asked)
    retry: Any = field(default=None, validator=_asked)
    ceiling: float = field(default=120.0, validator=_number)
    restart: bool = field(default=False, kw_only=True)

    @classmethod
    def times(cls, number: int) -> Retry:
        """Try again *number* times."""
        from tenacity import stop_after_attempt

        return cls(stop_after_attempt(number + 1))


def transient(error: BaseException) -> bool:
    """Whether a call may succeed in a moment: 408, 409, 429, 5xx, and connections that could not be made or broke.

    >>> from arshai_kit.errors import RateLimited, BadRequest
    >>> transient(RateLimited(status=429)), transient(BadRequest(status=400))
    (True, False)
    """
    if not isinstance(error, ProviderError):
        return False
    if error.should_retry is not None:
        return error.should_retry
    if error.status is None:
        return isinstance(error, Unreachable)
    return error.status in _TRANSIENT or error.status >= 500


def attempts(
    retry: Retry | int | None,
    once: Callable[[], Plan[T]],
    name: str,
    began: float,
    until: float,
    told: list[bool] | None = None,
) -> Plan[T]:
    """The result of *once*, made anew as often as *retry* says and while there is time *until* then.

    *name* is what is asked. *once* notes in *told* that it has told something, so that the next one begins anew.
    """
    number, last = 1, None
    while True:
        try:
            return (yield from once())
        except OverBudget as refused:
            if last is None:
                raise
            last.add_note(f"not tried again: {refused}")
            raise last from refused
        except ProviderError as error:
            last = error
            now = yield from Now()
            if error.retry_after is None and error.retry_at is not None:
                error.retry_after = min(max(0.0, error.retry_at - now), _LONGEST_WAIT)
            pause = yield from Call(decided, retry, error, number, now - began)
            if pause is None or now + pause >= until:
                raise
            if told:
                yield from _restarted(name, error)
                told.clear()
            figures = {"seconds": pause, "attempt": number + 1}
            yield from Emit((Notice("retrying", name, str(error), figures),))
            yield from _waited(pause, error)
        number += 1


def _restarted(name: str, error: ProviderError) -> Plan[None]:
    """Tell that the answer begins anew; where it cannot, *error* is raised."""
    try:
        yield from Emit((Notice("restarted", name, str(error)),))
    except RestartRefused as refused:
        error.add_note(f"not tried again: {refused}")
        raise error from error.__cause__


def _waited(pause: float, error: ProviderError) -> Plan[None]:
    """Wait for *pause* seconds; where a deadline around this leaves no time for it, *error* says more than that."""
    try:
        yield from Sleep(pause)
    except TimedOut as late:
        error.add_note(f"not tried again: {late}")
        raise error from late


def decided(retry: Retry | int | None, error: ProviderError, number: int, elapsed: float) -> float | None:
    """Seconds to wait before the next attempt, after *number* of them failed; `None` to give up."""
    if not retry:
        return None
    from tenacity import retry_if_exception, stop_after_attempt, wait_random_exponential

    policy = Retry.times(retry) if isinstance(retry, int) else retry
    state = _state(error, number, elapsed)
    passing = _passing if policy.restart else transient
    if not (policy.retry or retry_if_exception(passing))(state):
        return None
    pause = error.retry_after
    if pause is None:
        pause = float((policy.wait or wait_random_exponential(multiplier=0.5, max=8))(state))
    elif pause > policy.ceiling:
        return None
    state.upcoming_sleep = pause
    return None if (policy.stop or stop_after_attempt(3))(state) else pause


def _passing(error: BaseException) -> bool:
    """What is `transient`, and an answer that ended too early."""
    return transient(error) or isinstance(error, StreamIncomplete)


def _state(error: ProviderError, number: int, elapsed: float) -> Any:
    """What tenacity's objects look at, filled from the clock of the run."""
    from tenacity import Future, RetryCallState

    state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]  # its own loop is not used
    state.attempt_number = number
    state.start_time, state.outcome_timestamp = 0.0, elapsed
    state.outcome = Future(number)
    state.outcome.set_exception(error)
    return state
