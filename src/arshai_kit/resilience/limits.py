"""Whoever asks waits for its turn, first in, first out, or is refused; what it used is put right afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from attrs import frozen

from arshai_kit._json import dumps
from arshai_kit._record import Record
from arshai_kit.effects import Emit, Now, Plan, Random, Sleep
from arshai_kit.errors import Misuse, OverLimit, ProviderError, RateLimited, TimedOut
from arshai_kit.models import Ask, is_model, written
from arshai_kit.records import Audio, File, Image, Notice, Response, Text, Thinking, ToolCall, ToolResult
from arshai_kit.records.vectors import Embeddings, Kind
from arshai_kit.resilience.around import AgentAround, Around, asking, named, wrappable
from arshai_kit.resilience.embedding import EmbedderAround, is_embedder
from arshai_kit.resilience.nesting import is_within
from arshai_kit.resilience.quotas import Quota, Told

__all__ = ["Limited", "Limiting", "estimated_tokens", "limited", "limits_told", "ticket"]

T = TypeVar("T")

_LONGEST: Final = 600.0
"""Whoever waits as long as it takes waits no longer than this because a provider said so."""


def ticket() -> Plan[str]:
    """A name for one call that no other has."""
    return f"{(yield from Now()):.6f}-{(yield from Random()):.17g}"


# What a call needs


def estimated_tokens(model: Any, ask: Ask) -> int:
    """About how many tokens *ask* may need of *model*: a quarter of its characters, and the longest answer allowed."""
    parts = [part for message in ask.messages for part in message.parts]
    told = sum(map(_size, parts)) + sum(len(tool.description) + len(dumps(tool.parameters)) for tool in ask.tools)
    told += len(dumps(ask.output.schema)) if ask.output is not None else 0
    return -(-told // 4) + (ask.settings.max_tokens or _longest(model))


def _longest(model: Any) -> int:
    """The longest answer that *model* is set to give, nought if it is not; that of the longest of several."""
    inner = (getattr(model, "model", None), *getattr(model, "models", ()))
    own: int | None = getattr(model, "max_tokens", None)
    return own or max([_longest(each) for each in inner if each is not None], default=0)


def _size(part: Any) -> int:
    """How long *part* is, as if in letters."""
    match part:
        case Text(text) | Thinking(text):
            return len(text)
        case ToolCall(name=name):
            return len(name) + len(written(part))
        case ToolResult(content=content):
            return len(content) if isinstance(content, str) else sum(map(_size, content))
        case Image() | File() | Audio():
            return 4000  # an image is about a thousand tokens
    return 0


def limits_told(response: Any) -> Told:
    """What came with *response* of the limits that its provider sets, where it says what is left and how long."""
    limits = response.rate_limits if isinstance(response, Response | Embeddings) else ()
    return tuple(
        [
            ("tokens" if "token" in each.kind else "requests", each.remaining, each.reset)
            for each in limits
            if each.remaining is not None and each.reset
        ]
    )


def _used(response: Any) -> int | None:
    known = isinstance(response, Response | Embeddings) and response.usage.reported
    return response.usage.total_tokens if known else None


def _hold(error: Exception) -> float | None:
    return error.retry_after if isinstance(error, ProviderError) and not isinstance(error, OverLimit) else None


# What is done around a call


@frozen(eq=False, repr=False)
class Limiting(Record):
    """Each call waits for its turn, or for at most *wait* seconds; *estimate* is how many tokens it may need."""

    quota: Any
    wait: bool | float = True
    estimate: Any = None

    def around(self, make_plan: Callable[[], Plan[T]], name: str) -> Plan[T]:
        """The answer of the plan, once it is its turn."""
        return self.with_tokens(make_plan, name, self.estimate if isinstance(self.estimate, int) else 0)

    def with_tokens(self, make_plan: Callable[[], Plan[T]], name: str, tokens: int) -> Plan[T]:
        """The answer of a plan that may need *tokens*; a place is given back however it ends."""
        key, settled = (yield from ticket()), False
        try:
            refused = yield from _in_line(self._turn(key, tokens, name))
            try:
                response = yield from _raised(refused) if refused else make_plan()
            except Exception as error:
                used = 0 if isinstance(error, RateLimited) else _used(getattr(error, "partial", None))
                yield from asking(self.quota, self.quota.settle, key, used, (), _hold(error))
                settled = True
                raise
            yield from asking(self.quota, self.quota.settle, key, _used(response), limits_told(response), None)
            settled = True
        finally:
            if not settled:  # also when it has no turn because its quota, or its time, is away: it has used nothing
                self.quota.leave(key)
        return response

    def _turn(self, key: str, tokens: int, name: str) -> Plan[OverLimit | None]:
        """Wait in line, and be told so once; why it is never the turn of *key*, if so."""
        began: float | None = None
        while True:
            pause, least, limit = yield from asking(self.quota, self.quota.enter, key, tokens)
            if not pause:
                return None
            now = yield from Now()
            left = self._left(limit, 0.0 if began is None else now - began)
            if left <= 0 or least > left:
                return _refused(name, limit, max(least, pause))
            if began is None:
                began = now
                yield from Emit((Notice("waiting", name, limit, {"seconds": round(max(least, pause), 3)}),))
            yield from Sleep(min(pause, left), least)

    def _left(self, limit: str, waited: float) -> float:
        """How long one who has *waited* waits on for *limit*."""
        if self.wait is not True:
            return self.wait - waited
        return _LONGEST if limit == "provider" else float("inf")


def _in_line(plan: Plan[T]) -> Plan[T]:
    """*plan*, which waits for a turn: whose time passes meanwhile says nothing of any server."""
    try:
        return (yield from plan)
    except TimedOut as error:
        error.in_line = True
        raise


def _raised(error: Exception) -> Plan[Any]:
    yield from ()
    raise error


def _refused(name: str, limit: str, seconds: float) -> OverLimit:
    which = "the limit that its provider set" if limit == "provider" else limit
    why = f"{name} is not asked: {which} is used up, come back in {seconds:.3g} s"
    return OverLimit(why, limit=limit, retry_after=seconds)


@frozen(eq=False, repr=False)
class Limited(Around):
    """A model that is asked when its *quota* has room; see `limited`."""

    quota: Any
    wait: bool | float = True
    estimate: Any = None

    def __attrs_post_init__(self) -> None:
        _once(self.model, self.quota)

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The answer of the model, once it is the turn of *ask*."""
        match self.estimate:
            case None:
                tokens = estimated_tokens(self.model, ask)
            case int():
                tokens = self.estimate
            case estimate:
                tokens = _checked(estimate(ask))
        policy = Limiting(self.quota, self.wait)
        return policy.with_tokens(lambda: self.model.ask(ask, stream=stream), self.name, tokens)


@frozen(eq=False, repr=False)
class LimitedEmbedder(EmbedderAround):
    """An embedder that is asked when its *quota* has room; see `limited`."""

    quota: Any
    wait: bool | float = True
    estimate: Any = None

    def __attrs_post_init__(self) -> None:
        _once(self.embedder, self.quota)

    def embed(self, texts: Sequence[str], *, kind: Kind = None) -> Plan[Embeddings]:
        """What the embedder gives, once it is the turn of *texts*."""
        match self.estimate:
            case None:
                tokens = sum(map(getattr(self.embedder, "count", _text_tokens), texts))
            case int():
                tokens = self.estimate
            case estimate:
                tokens = _checked(estimate(texts))
        policy = Limiting(self.quota, self.wait)
        return policy.with_tokens(lambda: self.embedder.embed(texts, kind=kind), self.name, tokens)


def _text_tokens(text: str) -> int:
    """About how many tokens *text* has, for an embedder that does not count: a third of its bytes."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)


def _checked(tokens: Any) -> int:
    if type(tokens) is not int or tokens < 0:
        raise Misuse(f"estimate= gives a whole number of tokens from 0, not {tokens!r}")
    return tokens


def _once(inner: Any, quota: Any) -> None:
    if is_within(inner, "quota", quota):
        why = "a call that has a place would wait for another one of the same quota"
        raise Misuse(f"{named(inner)} is limited by this quota already, and {why}: wrap it once")


def limited(
    model: Any,
    quota: Any = None,
    *,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    concurrent: int | None = None,
    wait: bool | float = True,
    estimate: int | Callable[[Any], int] | None = None,
) -> Any:
    """*model*, an agent or an embedder, that never exceeds a *quota*, its own or a shared one, nor its provider's.

    Whoever comes while it is used up waits in line, first in, first out; with *wait* in seconds no longer than that,
    with `False` not at all: `OverLimit` says which limit it was and when there is room again. At the provider's word
    `True` waits for ten minutes at most, `float("inf")` for as long as it says. The tokens of a call are
    estimated (`estimated_tokens`; *estimate* is a number, or a function of the `Ask`, of an embedder of the texts) and
    put right by what it used.

    >>> from arshai_kit import openai
    >>> limited(openai("gpt-5.6-luna", api_key="sk-1"), requests_per_minute=60, concurrent=4).quota
    Quota(requests_per_minute=60, concurrent=4)
    """
    numbers = (requests_per_minute, tokens_per_minute, concurrent)
    if quota is not None and numbers != (None, None, None):
        raise Misuse("limited() takes a quota, or the limits of a new one, not both")
    if quota is not None and not hasattr(quota, "settle"):
        raise Misuse(f"a quota is a Quota(requests_per_minute=…) or a RedisQuota, not {quota!r}")
    if not isinstance(wait, int | float) or not wait >= 0:
        raise Misuse(f"wait= is True, False, or a number of seconds, not {wait!r}")
    if estimate is not None and not callable(estimate) and (type(estimate) is not int or estimate < 0):
        raise Misuse(f"estimate= is a whole number of tokens, or a function of the Ask, not {estimate!r}")
    if quota is None:
        quota = Quota(
            requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, concurrent=concurrent
        )
    if is_embedder(model):
        return LimitedEmbedder(model, quota, wait, estimate)
    if is_model(wrappable(model, "limited")):
        return Limited(model, quota, wait, estimate)
    if callable(estimate):
        raise Misuse("the tokens of an agent's call are estimated by a number: estimate=2000")
    _once(model, quota)
    return AgentAround(model, Limiting(quota, wait, estimate))
