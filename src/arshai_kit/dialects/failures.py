"""What a provider tells when it fails, in whatever shape, as the error that says whose fault it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial as partial_of
from math import isfinite
from typing import Any

from arshai_kit._json import Json, dumps, freeze, loads
from arshai_kit.effects import Reply, Secret, hidden
from arshai_kit.errors import (
    BadReply,
    BadRequest,
    ContentTooLong,
    NotFound,
    ProviderError,
    RateLimited,
    ServerFailed,
    Unauthorized,
)
from arshai_kit.models import Endpoint
from arshai_kit.records import Response

__all__ = ["Headers", "came", "decoded", "failed", "failure", "kept", "request_id", "retry_after", "scrubbed", "shown"]

Headers = Iterable[tuple[str, str]]

_LONGEST = 200
_PEEK = 16 * _LONGEST
_LONGEST_WAIT = 30 * 24 * 3600.0
_IDS = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "x-goog-request-id", "cf-ray")
_MESSAGE = ("message", "msg", "error_message", "error", "detail", "details", "errors", "title", "error_description")
_CODE = ("code", "type", "status", "error_code")
_STATUS = ("status_code", "statusCode", "status", "code", "http_status")

_BY_STATUS: dict[int, type[ProviderError]] = {
    401: Unauthorized,
    402: RateLimited,
    403: Unauthorized,
    404: NotFound,
    408: ProviderError,
    410: NotFound,
    429: RateLimited,
}
_BY_CODE: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"rate.?limit|quota|too_many_requests|slow_down|resource_exhausted|credit|billing", re.I), RateLimited),
    (re.compile(r"api_key|authenticat|unauthori[sz]ed|permission|forbidden", re.I), Unauthorized),
    (re.compile(r"not_?found", re.I), NotFound),
    (re.compile(r"server|overload|unavailable|internal|timeout|deadline|upstream", re.I), ServerFailed),
    (re.compile(r"invalid|bad_?request|content_filter|unsupported|unprocessable|tool_use_failed", re.I), BadRequest),
)
_PASSING = frozenset({RateLimited, ServerFailed})
_TOO_LONG = re.compile(
    r"context.{0,3}(length|window|limit)|maximum context|too.many.(prompt.|input.)?tokens|(prompt|input|messages) "
    r"(is|are) too long|too.long.*(context|tokens)|reduce the length|exceeds?.{0,40}(context|token limit)",
    re.I,
)
_SPENT = re.compile(r"insufficient_(\w+_)?(quota|balance|credits?|funds)|billing|exceeded_current_quota", re.I)
"""Codes of an account that has nothing left: asking again in a moment does not help."""
_DEEPEST = 200
_MOST = 16_384
_LEAST = 8
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.I | re.S)


def failed(endpoint: Endpoint, reply: Reply) -> ProviderError:
    """The error that *reply*, whose status is none of success, stands for."""
    headers = dict(reply.headers)
    if reply.status < 400:
        host = _host(headers.get("location", ""))
        message = (
            f"HTTP {reply.status}: {endpoint.base_url} points to {host}; correct base_url, keys are not carried on"
        )
        return ProviderError(scrubbed(endpoint, message), status=reply.status, request_id=request_id(reply.headers))
    try:
        body = loads(reply.body)
    except ValueError:
        body = shown(endpoint, reply.body)
        if reply.status == 404:
            body += "; base_url may be wrong (many end in /v1)"
    return failure(endpoint, body, status=reply.status, headers=reply.headers)


def _host(location: str) -> str:
    from urllib.parse import urlsplit

    try:
        return urlsplit(location).hostname or "another place"
    except ValueError:
        return "no address"


def failure(
    endpoint: Endpoint,
    body: Any,
    *,
    status: int | None = None,
    headers: Headers = (),
    partial: Response | None = None,
) -> ProviderError:
    """The error that *body* tells: parsed JSON in any of the shapes that providers use, or text.

    Without an HTTP *status* of its own, one that the body names counts, and without that the words of its code: what
    they say may pass is as worth another try as with a status.
    """
    body = _only(body)
    inner, clean = _inner(body), partial_of(scrubbed, endpoint)
    code, message = clean(_first(inner, _CODE)), _message(inner, clean) or shown(endpoint, _written(body))
    status = status or next(filter(None, map(_as_status, (inner.get(key) for key in _STATUS))), None)
    words = " ".join([str(inner.get(name)) for name in ("code", "type", "status")])
    kind = _kind(status, words, message)
    if kind is Unauthorized and not _secrets(endpoint):
        variable = re.sub(r"\W", "_", endpoint.provider).upper() + "_API_KEY"
        message += f" (no key was sent: pass api_key= or set {variable})"
    error = kind(
        f"HTTP {status}: {message}" if status else message,
        status=status,
        code=code,
        retry_after=retry_after(headers),
        request_id=clean(request_id(headers) or _first(body if isinstance(body, dict) else {}, ("request_id",))),
        should_retry=_should_retry(
            inner, headers, passing=status is None and kind in _PASSING and _says(words) is kind
        ),
        details=kept(endpoint, body),
        partial=partial,
    )
    if error.retry_after is None:
        error.retry_at = _moment(dict(headers).get("retry-after", ""))
    return error


def _should_retry(inner: Mapping[str, Any], headers: Headers, *, passing: bool) -> bool | None:
    """Whether the provider says that trying again makes sense, if it does: in a header, or by a code *passing* soon."""
    said = {"true": True, "false": False}.get(dict(headers).get("x-should-retry", "").lower())
    if said is not None:
        return said
    spent = any(isinstance(each := inner.get(name), str) and _SPENT.search(each) for name in _CODE)
    return False if spent else True if passing else None


def kept(endpoint: Endpoint, body: Any) -> Json:
    """What *body* tells, without the keys of *endpoint*; nothing if it is no JSON or too large for an error."""
    body = _only(body)
    if not isinstance(body, dict | list) or _deep(body):
        return None
    return freeze(_cleaned(body, partial_of(scrubbed, endpoint))) if len(dumps(body)) <= _MOST else None


def _only(body: Any) -> Any:
    """*body*, or the first of a list of them, which some make of one."""
    return body[0] if isinstance(body, list) and body else body


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {clean(name): _cleaned(each, clean) for name, each in value.items()}
    if isinstance(value, list):
        return [_cleaned(each, clean) for each in value]
    return clean(value) if isinstance(value, str) else value


def decoded(endpoint: Endpoint, reply: Reply) -> dict[str, Any]:
    """The JSON object that *reply* holds."""
    if reply.status >= 300:
        raise failed(endpoint, reply)
    try:
        body = loads(reply.body)
    except ValueError as error:
        why = "" if not reply.body.strip() or b"<" in reply.body[:200] else f" ({str(error)[:100]})"
        message = f"what came is no JSON{why}: {shown(endpoint, reply.body)}"
    else:
        if isinstance(body, dict):
            return body
        message = f"what came is no answer: {shown(endpoint, reply.body)}"
    raise BadReply(message, status=reply.status, request_id=request_id(reply.headers))


def shown(endpoint: Endpoint, body: bytes) -> str:
    """What *body* begins with, without the keys of *endpoint*: they go first, or a cut could leave half of one."""
    return came(scrubbed(endpoint, body[:_PEEK].decode(errors="replace")).encode())


def came(body: bytes) -> str:
    """What *body* begins with, for an error to show.

    >>> came(b"<html><title>502 Bad Gateway</title>...")
    "an HTML page, '502 Bad Gateway'"
    >>> came(b"")
    'nothing'
    """
    text = body[:_PEEK].decode(errors="replace").strip()
    if not text:
        return "nothing"
    if text[:1] == "<" and (title := _TITLE.search(text)):
        return f"an HTML page, {title[1].strip()[:_LONGEST]!r}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def request_id(headers: Headers) -> str:
    """What the provider's support wants to know.

    >>> request_id((("x-request-id", "req_7"),))
    'req_7'
    """
    told = dict(headers)
    return next((told[name] for name in _IDS if told.get(name)), "")


def retry_after(headers: Headers) -> float | None:
    """The seconds to wait that the provider asks for, if it does and they make sense.

    A date counts from the reply's own; where that has none, who has a clock finds out: see `ProviderError.retry_at`.

    >>> [retry_after([pair]) for pair in (("retry-after", "2"), ("retry-after-ms", "250"), ("retry-after", "-5"))]
    [2.0, 0.25, None]
    """
    told = dict(headers)
    soon = _seconds(told.get("retry-after-ms", ""), 1000.0)
    if soon is not None:
        return soon
    after = told.get("retry-after", "")
    seconds = _seconds(after)
    return _between(told.get("date", ""), after) if seconds is None else seconds


def scrubbed(endpoint: Endpoint, text: str) -> str:
    """*text* without the keys of *endpoint*, which some providers repeat.

    One of a few letters (`k`, `EMPTY`, `ollama`) stays: it is no secret, and may be part of any word.
    """
    for secret in _secrets(endpoint):
        if len(secret.rpartition(" ")[2]) < _LEAST:
            continue
        text = text.replace(secret, "***").replace(secret.replace("/", "\\/"), "***")
    return text


def _secrets(endpoint: Endpoint) -> list[str]:
    """The keys that go out with each request of *endpoint*, also without the word before them, the longest first."""
    told = [value.reveal() for _, value in endpoint.headers if isinstance(value, Secret)]
    told += [endpoint.api_key.reveal()] if endpoint.api_key else []
    told += hidden(endpoint.base_url)
    return sorted({each for value in told for each in (value, value.partition(" ")[2]) if each}, key=len, reverse=True)


def _inner(body: Any) -> Mapping[str, Any]:
    """The innermost object of *body* that holds the error, of those nested under the names in use."""
    told: dict[str, Any] = {}
    while isinstance(body, dict):
        told = {**told, **body}
        body = next((body[name] for name in ("error", "response", "detail") if isinstance(body.get(name), dict)), None)
    return told


def _message(inner: Mapping[str, Any], clean: Callable[[str], str]) -> str:
    for name in _MESSAGE:
        value = inner.get(name)
        if isinstance(value, str) and value:
            return clean(value)[: 10 * _LONGEST] + _upstream(inner, clean)
        if isinstance(value, list) and value:
            return clean("; ".join(map(_item, value[:10])))[: 10 * _LONGEST]
    return ""


def _written(body: Any) -> bytes:
    return b"JSON that is nested too deep" if _deep(body) else str(body).encode(errors="replace")


def _deep(body: Any) -> bool:
    """Whether *body* is nested deeper than can be shown; no recursion, whose end differs between Pythons."""
    level = [body]
    for _ in range(_DEEPEST):
        level = [each for value in level for each in _within(value)]
        if not level:
            return False
    return True


def _within(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _item(value: Any) -> str:
    """One of several complaints, as FastAPI lists them: where, and what."""
    if not isinstance(value, dict):
        return str(value)
    where = value.get("loc")
    path = ".".join(map(str, where)) + ": " if isinstance(where, list) else ""
    return path + str(value.get("msg") or value.get("message") or value)


def _upstream(inner: Mapping[str, Any], clean: Callable[[str], str]) -> str:
    """What the provider behind a gateway said."""
    metadata = inner.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return f" ({clean(raw)[:_LONGEST]})" if isinstance(raw, str) and raw else ""


def _first(inner: Mapping[str, Any], names: tuple[str, ...]) -> str:
    values = (inner.get(name) for name in names)
    return next((str(value) for value in values if isinstance(value, str | int) and value), "")


def _as_status(value: Any) -> int | None:
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 3 else value
    return number if type(number) is int and 300 <= number < 600 else None


def _kind(status: int | None, code: str, message: str) -> type[ProviderError]:
    if status in {None, 400, 409, 413, 422} and _TOO_LONG.search(f"{code} {message}"):
        return ContentTooLong
    if status is None:
        return _says(code) or ServerFailed
    return _BY_STATUS.get(status, ServerFailed if status >= 500 else BadRequest)


def _says(words: str) -> type[ProviderError] | None:
    """What the *words* of a code stand for, if they are known."""
    return next((kind for pattern, kind in _BY_CODE if pattern.search(words)), None)


def _seconds(text: str, in_one: float = 1.0) -> float | None:
    try:
        number = float(text) / in_one
    except ValueError:
        return None
    endless = text.strip().isdecimal()  # more digits than a number can have
    return min(number, _LONGEST_WAIT) if (isfinite(number) or endless) and number >= 0 else None


def _moment(date: str) -> float | None:
    """The seconds since the epoch that *date* means, if it is one."""
    if not date:
        return None
    from email.utils import parsedate_to_datetime  # slow to import, and seldom needed

    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _between(start: str, end: str) -> float | None:
    from email.utils import parsedate_to_datetime  # slow to import, and seldom needed

    try:
        seconds = (parsedate_to_datetime(end) - parsedate_to_datetime(start)).total_seconds()
    except (ValueError, TypeError):  # no date, or one with a time zone and one without
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT)
