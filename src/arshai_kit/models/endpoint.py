"""Models that speak HTTP, each in its dialect: pure functions build what goes out, and read what comes back."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from inspect import isawaitable
from typing import Any, Final, TypeAlias, TypeVar

from attrs import evolve, field, frozen

from arshai_kit._record import Record, short
from arshai_kit.effects import Call, Now, Plan, Random, Reply, Request, Secret, Send, private, veiled
from arshai_kit.errors import Misuse, TimedOut
from arshai_kit.fetching import MustFetch, fetched, replaced
from arshai_kit.models.asks import SETTINGS, Ask, Settings, masked, shown
from arshai_kit.models.protocol import UNKNOWN, Capabilities, check
from arshai_kit.models.streamed import Hand, begun, replied, rest
from arshai_kit.records import Event, Response
from arshai_kit.retry import Retry, attempts

__all__ = ["Dialect", "Endpoint", "Headers", "Token", "address", "pairs"]

T = TypeVar("T")

_TELLING: Final = re.compile(
    r"(?:key|token|secret|passw(?:or)?d|pwd|sig|signature|auth|authorization|credentials?|jwt|bearer|assertion|bypass)$",
    re.I,
)
"""Names of what is secret, where it stands in the query of an address; fewer than `private` hides: they are refused."""

_LONGEST: Final = 1e300
"""More is no number of seconds, and no `float` in the end."""

Token: TypeAlias = Callable[[], str] | Callable[[], Awaitable[str]]
"""Gives an access token that is good for now, sync or async; asked before each call, so it should keep its own."""
Headers: TypeAlias = Mapping[str, str | Secret] | Iterable[tuple[str, str | Secret]]
"""Headers that go with each request; those with a telling name are kept secret."""


def _retry(retry: Retry | int | None) -> Retry | int | None:
    if retry is None or isinstance(retry, Retry) or (type(retry) is int and retry >= 0):
        return retry
    raise Misuse(f"retry= takes a number of times, an arshai_kit.retry.Retry, or None for never, not {retry!r}")


def _positive(_: Any, spot: Any, value: Any) -> None:
    """Refuse what bounds nothing; `math.inf` says that there is no bound."""
    if type(value) not in (int, float) or not value > 0 or (value > _LONGEST and value != float("inf")):
        raise Misuse(f"{spot.name}= is a number above zero (math.inf for no limit), not {shown(value)}")


def _signs(_self: Any, _spot: Any, value: Any) -> None:
    if value is not None and not callable(value):
        raise Misuse(f"token= takes a function that returns an access token, not {type(value).__name__}")


def _header_name(_: Any, spot: Any, value: Any) -> None:
    if value is not None and (
        not isinstance(value, str) or not value.isascii() or not value.replace("-", "a").isalnum()
    ):
        raise Misuse(f"{spot.name}= is the name of a header, or None for none, not {shown(value)}")


def _key(key: str | Secret | None) -> Secret | None:
    if key is None or isinstance(key, Secret):
        return key
    if not isinstance(key, str):
        raise Misuse(f"api_key= is a string, or None for no key, not {type(key).__name__}")
    return Secret(key)


def address(base_url: str, *, name: str = "base_url", like: str = "https://api.example.com/v1") -> str:
    """*base_url*, if it can be one and holds no key: an address is kept, shown and pickled as it is.

    A refusal calls it *name*, and *like* shows how one looks.

    >>> address("localhost:8080")
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: base_url='localhost:8080' is no address; it looks like 'https://api.example.com/v1'
    """
    from urllib.parse import parse_qsl, urlsplit  # it imports much: only when a model is made

    found = base_url.strip() if isinstance(base_url, str) else ""
    try:
        parts = urlsplit(found)
        fits = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        fits = False
    if not fits or any(letter.isspace() for letter in found):
        raise Misuse(f"{name}={_shown(base_url)} is no address; it looks like {like!r}")
    if parts.username or parts.password:
        raise Misuse(f"{name}= holds a user name or password; pass it as api_key= or headers=, where it stays secret")
    for key, _ in parse_qsl(f"{parts.query}&{parts.fragment}"):
        if _TELLING.search(key):
            raise Misuse(f"{name}= holds a key ({key}=…); pass it as api_key= or headers=, where it stays secret")
    return found


def _shown(base_url: Any) -> str:
    """What was given for an address, without what may be a secret in it.

    >>> _shown("me:pass@example.org/v1?key=sk-1"), _shown(7)
    ("'…@example.org/v1'", '7')
    """
    if not isinstance(base_url, str):
        return repr(base_url) if base_url is None or type(base_url) in (int, float, bool) else type(base_url).__name__
    before, at, after = base_url.partition("?")[0].partition("#")[0].rpartition("@")
    return repr(f"…@{after}" if at else before + after)


def pairs(given: Headers) -> tuple[tuple[str, str | Secret], ...]:
    """The headers *given*; what is secret by its name is kept so.

    >>> pairs({"X-Title": "app", "X-Api-Key": "sk-1"})
    (('X-Title', 'app'), ('X-Api-Key', Secret('***')))
    """
    try:
        return tuple([_header(name, value) for name, value in (given.items() if isinstance(given, Mapping) else given)])
    except (TypeError, ValueError) as error:
        if isinstance(error, Misuse):
            raise
        raise Misuse(
            f"headers= takes names and values, as in {{'X-Title': 'app'}}, not {type(given).__name__}"
        ) from None


def _header(name: str, value: str | Secret) -> tuple[str, str | Secret]:
    if not isinstance(name, str) or not name or not isinstance(value, str | Secret):
        raise Misuse(f"headers= takes text: {name!r} holds {type(value).__name__}")
    return name, Secret(value) if isinstance(value, str) and private(name) else value


@frozen(eq=False, repr=False)
class Dialect(Record):
    """A wire format: pure functions between records and JSON.

    *build* makes the request, *parse* the response of a whole reply. *start* makes the state of a stream
    from its headers, and *advance* folds one server-sent event (`None` at the end of the bytes) into it and tells what
    there is to tell; the last event is `Finished`, and the end without one raises `StreamIncomplete`. *count*, where
    the provider counts tokens, makes the request that asks for it and *counted* reads the reply.

    *build* raises `fetching.MustFetch` for a part that it can only send as bytes and that has but an address.
    """

    build: Callable[[Endpoint, Ask, bool], Request]
    parse: Callable[[Endpoint, Reply], Response]
    start: Callable[[Endpoint, tuple[tuple[str, str], ...]], Any]
    advance: Callable[[Any, Any], tuple[Any, tuple[Event, ...]]]
    count: Callable[[Endpoint, Ask], Request] | None = None
    counted: Callable[[Endpoint, Reply], int] | None = None


@frozen(kw_only=True, eq=False, repr=False)
class Endpoint(Settings):
    """A model that speaks HTTP: where it lives, which dialect it speaks, and how it is to answer.

    *timeout* is the longest silence and *deadline* the longest time of a whole call, both in seconds; *retry* says
    how often, or how, a call that failed is tried again. The key goes out in the header *key_header*, after the word
    `Bearer` if that is `authorization`; a *token* function, where there is one, gives the key of each call.

    All attempts of a call carry one and the same value in *idempotency_header*, so that a server which heeds it does
    the work once; `None` sends no such header.
    """

    name: str
    base_url: str = field(converter=address)
    dialect: Dialect
    provider: str = "openai-compatible"
    api_key: Secret | None = field(default=None, converter=_key)
    key_header: str = "authorization"
    token: Token | None = field(default=None, repr=False, validator=_signs)
    headers: tuple[tuple[str, str | Secret], ...] = field(default=(), converter=pairs)
    timeout: float = field(default=300.0, validator=_positive)
    connect_timeout: float = field(default=10.0, validator=_positive)
    deadline: float = field(default=900.0, validator=_positive)
    max_body: int = field(default=64 * 1024 * 1024, validator=_positive)
    retry: Retry | int | None = field(default=2, converter=_retry)
    idempotency_header: str | None = field(default="idempotency-key", validator=_header_name)
    capabilities: Capabilities = UNKNOWN

    def __repr__(self) -> str:
        own = ("provider", "api_key", "timeout", "deadline", "retry")
        given = [name for name in SETTINGS if getattr(self, name, None) is not None]
        told = [f"base_url={veiled(self.base_url)!r}"] if hasattr(self, "base_url") else []  # it may be half made
        told += [f"{name}={getattr(self, name)!r}" for name in (*own, *given) if hasattr(self, name)]
        if extra := getattr(self, "extra", None):
            told.append(f"extra={short(masked(extra))}")
        return f"Endpoint({getattr(self, 'name', None)!r}, {', '.join(told)})"

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Answer *ask* over HTTP, trying again as *retry* says."""
        began = yield from Now()
        until = began + self.deadline
        endpoint = yield from self._signed(until)
        built = yield from _built(ask, lambda ask: endpoint.request(ask, stream=stream), until)
        request = yield from self._marked(built, began)
        parse, start, advance = self.dialect.parse, self.dialect.start, self.dialect.advance
        again = partial(attempts, self.retry, name=self.name, began=began, until=until)
        if not stream:
            return (yield from again(lambda: _whole(endpoint, request, parse, until)))
        hand = Hand(partial(parse, endpoint), partial(start, endpoint), advance, self.max_body)
        if isinstance(self.retry, Retry) and self.retry.restart:
            told: list[bool] = []
            return (yield from again(lambda: replied(hand, request, until, told), told=told))
        return (yield from rest((yield from again(lambda: begun(hand, request, until)))))

    def request(self, ask: Ask, *, stream: bool) -> Request:
        """The HTTP request that puts *ask*; what this model is known not to take is refused."""
        choice = ask.settings.tool_choice or self.tool_choice
        if choice is not None and ask.tools:
            _check_choice(choice, self, ask)
        if self.capabilities is not UNKNOWN:
            check(self, ask)
        return self.dialect.build(self, ask, stream)

    def count(self, ask: Ask) -> Plan[int]:
        """How many tokens *ask* has, as the provider counts them."""
        count, counted = self.dialect.count, self.dialect.counted
        if count is None or counted is None:
            raise Misuse(f"{self.provider} has no endpoint that counts tokens; Response.usage tells what a call used")
        until = (yield from Now()) + self.deadline
        endpoint = yield from self._signed(until)
        request = yield from _built(ask, lambda ask: count(endpoint, ask), until)
        return (yield from endpoint.exchange(lambda _: request, counted))

    def exchange(self, build: Callable[[Endpoint], Request], parse: Callable[[Endpoint, Reply], T]) -> Plan[T]:
        """What *parse* reads in the reply to the request that *build* makes, with a key, retries and a deadline."""
        began = yield from Now()
        until = began + self.deadline
        endpoint = yield from self._signed(until)
        request = yield from self._marked(build(endpoint), began)
        once = partial(_whole, endpoint, request, parse, until)
        return (yield from attempts(self.retry, once, self.name, began, until))

    def _marked(self, request: Request, now: float) -> Plan[Request]:
        """*request* with the mark that all its attempts carry, if there can be several."""
        header = self.idempotency_header
        if not header or not self.retry or header.lower() in [name.lower() for name, _ in request.headers]:
            return request
        mark = f"{int(now * 1000):x}-{int((yield from Random()) * 2**53):014x}"
        return evolve(request, headers=(*request.headers, (header.lower(), mark)))

    def _signed(self, until: float) -> Plan[Endpoint]:
        """This endpoint with the key of now, got before *until*; no layer and no recording sees it."""
        if self.token is None:
            return self
        asking: Call[Secret] = Call(_access_token, self.token)
        try:
            key = yield from asking.within(max(0.001, until - (yield from Now())))
        except TimedOut:  # a deadline around this
            raise
        except TimeoutError as error:
            raise TimedOut(f"token= gave no access token within {self.deadline:g} s, the deadline=") from error
        return evolve(self, api_key=key, key_header="authorization", token=None)


def _access_token(token: Callable[[], Any]) -> Any:
    """What *token* gives, as a secret; to be awaited if that has to be."""
    key = token()
    return _awaited(key) if isawaitable(key) else _key_of(key)


async def _awaited(key: Awaitable[Any]) -> Secret:
    return _key_of(await key)


def _key_of(key: Any) -> Secret:
    if not isinstance(key, str) or not key:
        found = "an empty one" if key == "" else type(key).__name__
        raise Misuse(f"token= is a function that returns an access token, a string, not {found}")
    return Secret(key)


def _built(ask: Ask, build: Callable[[Ask], Request], until: float) -> Plan[Request]:
    """The request that *build* makes of *ask*, once what can only go as bytes has been fetched."""
    while True:
        try:
            return build(ask)
        except MustFetch as missing:
            part = missing.part
            found = yield from fetched(part, until)
            ask = evolve(ask, messages=tuple([replaced(message, part, found) for message in ask.messages]))


def _check_choice(choice: str, endpoint: Endpoint, ask: Ask) -> None:
    names = [tool.name for tool in ask.tools]
    if choice not in {"auto", "none", "required", *names} and "tools" not in {**endpoint.extra, **ask.settings.extra}:
        raise Misuse(f"tool_choice={choice!r} names no tool; there are: {', '.join(names)}")


def _whole(endpoint: Endpoint, request: Request, parse: Callable[[Endpoint, Reply], T], until: float) -> Plan[T]:
    return parse(endpoint, (yield from Send(request, until)))
