"""What every dialect sends and hears around its bodies: requests with their keys, and what headers tell of limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn

from arshai_kit._json import dumps
from arshai_kit.effects import Request, Secret
from arshai_kit.errors import Misuse
from arshai_kit.models import Ask, Endpoint, Settings
from arshai_kit.records import RateLimit, ToolCall

__all__ = [
    "authorization",
    "fitting",
    "has_tools",
    "located",
    "misplaced",
    "posted",
    "rate_limits",
    "signature",
    "under",
]

_LIMIT: Final = re.compile(r"(?:x-)?ratelimit-(limit|remaining|reset)(?:-(.+))?")
_DURATION: Final = re.compile(r"(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?(?:([\d.]+)ms)?")
_UNITS: Final = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_EPOCH: Final = 1e9
_READABLE: Final = 15
_DIGEST: Final = 24
_HOMES: Final = {
    "openai": "api.openai.com",
    "gemini": "generativelanguage.googleapis.com",
    "vertex": "googleapis.com",
    "openrouter": "openrouter.ai",
}
"""Where those live who live in one place; what calls itself so elsewhere is somebody else."""


def posted(endpoint: Endpoint, url: str, body: Mapping[str, Any], *, stream: bool = False) -> Request:
    """The request that sends *body* to *url* with the key of *endpoint*, whose own headers win."""
    headers: dict[str, str | Secret] = {
        "content-type": "application/json",
        "accept": "text/event-stream" if stream else "application/json",
    }
    if endpoint.api_key is not None and endpoint.api_key.reveal():
        headers[endpoint.key_header] = authorization(endpoint)
    for name, value in endpoint.headers:
        headers[name.lower()] = value
    return Request(
        "POST",
        url,
        tuple(headers.items()),
        dumps(body),
        endpoint.timeout,
        endpoint.connect_timeout,
        endpoint.max_body,
    )


def authorization(endpoint: Endpoint) -> Secret:
    """The key of *endpoint*, as its header wants it."""
    key = endpoint.api_key or Secret("")
    return Secret(f"Bearer {key.reveal()}") if endpoint.key_header == "authorization" else key


def located(endpoint: Endpoint) -> str:
    """The address of *endpoint*, its name put where `{name}` stands, if it does.

    >>> located(Endpoint(name="a/b", base_url="https://example.org/{name}?v=1", dialect=None))
    'https://example.org/a%2Fb?v=1'
    """
    base_url, name = endpoint.base_url, endpoint.name
    if "{name}" not in base_url:
        return base_url
    from urllib.parse import quote

    if name.strip(".") == "":
        raise Misuse(f"{name!r} is no name that can stand in an address")
    return base_url.replace("{name}", quote(name, safe=""))


def under(base_url: str, path: str) -> str:
    """The address of *path* under *base_url*, whose query stays; a base that ends in *path* already is not doubled.

    >>> under("https://example.org/v1/", "/responses"), under("https://example.org/v1?api-version=2", "/responses")
    ('https://example.org/v1/responses', 'https://example.org/v1/responses?api-version=2')
    """
    base, mark, query = base_url.partition("?")
    return base.rstrip("/").removesuffix(path) + path + mark + query


def fitting(key: str, longest: int | None, *, plain: bool = False) -> str:
    """*key*, the id of a call, or what stands for it where it has more than *longest* characters.

    Where ids are *plain*, they are letters and digits, *longest* of them. What stands for an id is always the same, so
    that a call and its result still go together.

    >>> fitting("call_1", 40), fitting("call_1", 9, plain=True), fitting("call00100", 9, plain=True)
    ('call_1', '74196fe72', 'call00100')
    >>> fitting("call_" + "1234567890" * 4, 40)
    'call_12345678902ca84742c0a16db8abf878ba'
    """
    if longest is None or (len(key) == longest and key.isascii() and key.isalnum() if plain else len(key) <= longest):
        return key
    from hashlib import sha256

    digest = sha256(key.encode()).hexdigest()[: longest if plain else min(longest, _DIGEST)]
    return key[: min(_READABLE, longest - len(digest))] + digest


@lru_cache(maxsize=256)
def _signature(provider: str, base_url: str) -> str:
    from urllib.parse import urlsplit

    host, home = urlsplit(base_url).hostname or "", _HOMES.get(provider)
    if host in {"localhost", "::1"} or host.endswith(".localhost") or host.startswith("127."):
        return provider if home is None else f"{provider}@localhost"
    return provider if home is not None and f".{host}".endswith(f".{home}") else f"{provider}@{host}"


def signature(endpoint: Endpoint) -> str:
    """Who *endpoint* is, for the state on what it sends, which goes back to none but it.

    Whoever is not at home is told apart by the host: a gateway before OpenAI, a resource on Azure, whatever is
    compatible. All on this machine are one.

    >>> signature(Endpoint(name="m", base_url="https://api.example.org/v1", dialect=None))
    'openai-compatible@api.example.org'
    """
    return _signature(endpoint.provider, endpoint.base_url)


def has_tools(ask: Ask, settings: Settings) -> bool:
    """Whether tools go out with *ask*, so that it makes sense to say how they are chosen: `extra` may take them back.

    >>> has_tools(Ask(()), Settings(extra={"tools": [{"type": "web_search"}]})), has_tools(Ask(()), Settings())
    (True, False)
    """
    added = settings.extra.get("tools", ())
    return added is not None and bool(ask.tools or added)


def misplaced(part: ToolCall, _: Any = None) -> NoReturn:
    """Refuse *part*, which stands where the model does not speak: no provider takes it there."""
    raise Misuse(
        f"the call of {part.name!r} is in a message that is not the model's: calls belong into an assistant's message, "
        "assistant(ToolCall(…)); what a tool gave back is a tool_result(…)"
    )


def rate_limits(headers: Iterable[tuple[str, str]]) -> tuple[RateLimit, ...]:
    """What *headers* tell of the limits that a provider sets.

    >>> rate_limits([("x-ratelimit-limit-tokens", "200000"), ("x-ratelimit-reset-tokens", "1m0.5s")])
    (RateLimit('tokens', limit=200000, reset=60.5),)
    """
    told = [(name, value) for name, value in headers if "ratelimit-" in name]
    if not told:
        return ()
    found: dict[str, dict[str, Any]] = {}
    for name, value in told:
        what, kind = _limit(name)
        number = _seconds(value) if what == "reset" else _count(value) if what else None
        if number is not None:
            found.setdefault(kind, {})[what] = number
    return tuple([RateLimit(kind, **each) for kind, each in found.items()])


@lru_cache(maxsize=256)
def _limit(name: str) -> tuple[str, str]:
    """What the header *name* tells, and of which kind; nothing if it is another one."""
    match = _LIMIT.fullmatch(name)
    return ("", "") if match is None else (match[1], match[2] or "requests")


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _seconds(text: str) -> float | None:
    """The seconds that *text* stands for: a number of them, or a duration; a point in time is none.

    >>> _seconds("2m59.56s"), _seconds("12ms"), _seconds("7.5"), _seconds("1741305600000")
    (179.56, 0.012, 7.5, None)
    """
    try:
        if (match := _DURATION.fullmatch(text)) is not None and text:
            parts = [float(part or 0) * unit for part, unit in zip(match.groups(), _UNITS, strict=True)]
            return round(sum(parts), 6)
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < _EPOCH else None
