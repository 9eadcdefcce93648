"""Google's errors: the code is a word, a reason may say more than the status, the time to wait is among details."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from arshai_kit._json import loads
from arshai_kit.dialects.failures import failed, failure, kept
from arshai_kit.effects import Reply
from arshai_kit.errors import BadRequest, ProviderError, Unauthorized
from arshai_kit.models import Endpoint
from arshai_kit.records import Response

__all__ = ["refused", "told"]

_DELAY: Final = re.compile(r"\d{1,7}(\.\d{1,9})?s", re.ASCII)


def refused(endpoint: Endpoint, reply: Reply) -> ProviderError:
    """The error that *reply*, whose status is none of success, stands for."""
    try:
        body = loads(reply.body)
    except ValueError:
        body = None
    if reply.status < 400 or not isinstance(body, dict | list):
        return failed(endpoint, reply)
    return told(endpoint, body, status=reply.status, headers=reply.headers)


def told(
    endpoint: Endpoint,
    body: Any,
    *,
    status: int | None = None,
    headers: Iterable[tuple[str, str]] = (),
    partial: Response | None = None,
) -> ProviderError:
    """The error that *body* tells, also one of a list; a key that is refused is no mistake of the request."""
    inner = _inner(body)
    word, number = inner.get("status"), inner.get("code")
    swapped = {"error": {**inner, "code": word, "status": number}}
    is_usual = isinstance(word, str) and isinstance(number, int)
    error = failure(endpoint, swapped if is_usual else body, status=status, headers=headers, partial=partial)
    error.details = kept(endpoint, body)  # as Google put it
    if error.retry_after is None:
        error.retry_after = next(_delays(inner), None)
    if isinstance(error, BadRequest) and any(reason.startswith("API_KEY") for reason in _reasons(inner)):
        return _as_unauthorized(error)
    return error


def _as_unauthorized(error: BadRequest) -> Unauthorized:
    found = Unauthorized(str(error))
    found.__dict__.update(error.__dict__)
    return found


def _inner(body: Any) -> Mapping[str, Any]:
    body = body[0] if isinstance(body, list) and body else body
    inner = body.get("error") if isinstance(body, dict) else None
    return inner if isinstance(inner, dict) else {}


def _details(inner: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = inner.get("details")
    for each in details if isinstance(details, list) else ():
        if isinstance(each, dict):
            yield each


def _reasons(inner: Mapping[str, Any]) -> Iterator[str]:
    for each in _details(inner):
        if isinstance(each.get("reason"), str):
            yield each["reason"]


def _delays(inner: Mapping[str, Any]) -> Iterator[float]:
    """The seconds to wait, as in `{"retryDelay": "48.912345678s"}`."""
    for each in _details(inner):
        delay = each.get("retryDelay")
        if isinstance(delay, str) and _DELAY.fullmatch(delay):
            yield float(delay[:-1])
