"""Statuses of failure, once, twice and for ever; what a server says of trying again, in every form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from arshai_kit.errors import (
    BadReply,
    BadRequest,
    NotFound,
    ProviderError,
    RateLimited,
    ServerFailed,
    StreamIncomplete,
    Unauthorized,
)
from tests.badinput.ways import body, sent
from tests.faults.rows import Answers, Expected, Fails, Row, Scene, soon
from tests.faults.server import CLOSE, RESET, Act, Again, Script, hello, status

KINDS: dict[int, type[ProviderError]] = {
    400: BadRequest,
    401: Unauthorized,
    402: RateLimited,
    403: Unauthorized,
    404: NotFound,
    408: ProviderError,
    409: BadRequest,
    413: BadRequest,
    418: BadRequest,
    422: BadRequest,
    429: RateLimited,
    500: ServerFailed,
    502: ServerFailed,
    503: ServerFailed,
    504: ServerFailed,
    529: ServerFailed,
}
PASSING = frozenset({408, 409, 429, 500, 502, 503, 504, 529})


def failed(code: int, requests: int = 1, **has: Any) -> Fails:
    """The error of a status."""
    return Fails(KINDS[code], rf"^HTTP {code}: told so", requests=requests, has={"status": code, **has})


def rows(code: int) -> tuple[Row, ...]:
    """A status once, twice and for ever."""
    acts: tuple[tuple[str, tuple[Act, ...]], ...] = (
        ("once", (status(code), hello)),
        ("twice", (status(code), status(code), hello)),
        ("for ever", (status(code),)),
    )
    if code not in PASSING:
        return tuple([Row(f"{code} {name}", each, failed(code)) for name, each in acts])
    outcomes: tuple[Expected, ...] = (Answers(requests=2), Answers(requests=3), failed(code, 3))
    return tuple([Row(f"{code} {name}", each, outcome) for (name, each), outcome in zip(acts, outcomes, strict=True)])


# Waits that are asked for

NOW, IN_A_SECOND = "Mon, 23 Nov 2026 10:00:00 GMT", "Mon, 23 Nov 2026 10:00:01 GMT"
LONG_AGO, AT_THE_END = "Thu, 23 Nov 2006 10:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"
IN_AN_HOUR, AN_HOUR_AGO = "Mon, 23 Nov 2026 11:00:00 GMT", "Mon, 23 Nov 2026 09:00:00 GMT"
HUGE = "9" * 400


def waited(seconds: float) -> Callable[[Scene], None]:
    """A check that so much time lay between the first two requests."""

    def check(scene: Scene) -> None:
        first, second, *_ = scene.server.seen
        assert second.when - first.when >= seconds

    return check


def after(name: str, *headers: str, code: int = 429, at_least: float = 0.0) -> Row:
    """A failure that passes, and asks for a wait that can be kept, or for nonsense."""
    return Row(f"{code}, {name}", (status(code, *headers), hello), Answers(requests=2), check=waited(at_least))


def refuses(name: str, *headers: str, code: int = 429, seconds: float | None = 3600.0, deadline: float = 7200.0) -> Row:
    """A failure that asks for a longer wait than anybody wants, though there is time: it ends the call at once."""
    outcome = failed(code, retry_after=seconds)
    return Row(f"{code}, {name}", (status(code, *headers), hello), outcome, options={"deadline": deadline})


WAITS = (
    after("Retry-After of seconds", "Retry-After: 1", at_least=1.0),
    after("Retry-After of a fraction", "Retry-After: 0.05", at_least=0.05),
    after("Retry-After of seconds", "Retry-After: 1", code=503, at_least=1.0),
    after("Retry-After of seconds", "Retry-After: 1", code=529, at_least=1.0),
    after("Retry-After of a fraction", "Retry-After: 0.05", code=408, at_least=0.05),
    after("Retry-After of a date", f"Date: {NOW}", f"Retry-After: {IN_A_SECOND}", at_least=1.0),
    after("Retry-After of a date that has passed, and no Date", f"Retry-After: {LONG_AGO}"),
    after("Retry-After of a date that has passed", f"Date: {NOW}", f"Retry-After: {AN_HOUR_AGO}"),
    after("Retry-After of a date that is none", f"Date: {NOW}", "Retry-After: Mon, 99 Nov 2026 99:99:99 GMT"),
    after("Retry-After of a date in an unknown zone", f"Date: {NOW}", "Retry-After: Mon, 23 Nov 2026 10:00:01"),
    after("retry-after-ms", "retry-after-ms: 60", at_least=0.06),
    after("retry-after-ms before Retry-After", "Retry-After: 3600", "retry-after-ms: 60", at_least=0.06),
    after("retry-after-ms of nonsense", "retry-after-ms: x", "Retry-After: 0.05", at_least=0.05),
    after("Retry-After of 0", "Retry-After: 0"),
    after("retry-after-ms of 0", "retry-after-ms: 0"),
    after("Retry-After below 0", "Retry-After: -5"),
    after("Retry-After of NaN", "Retry-After: NaN"),
    after("Retry-After without end", "Retry-After: inf"),
    after("Retry-After of HTML", "Retry-After: <html><body>later</body></html>"),
    after("Retry-After of nothing", "Retry-After:"),
    after("Retry-After twice", "Retry-After: 0", "Retry-After: 0"),
    after("retry-after-ms below 0", "retry-after-ms: -5"),
    after("retry-after-ms of NaN", "retry-after-ms: NaN"),
    refuses("Retry-After of 3600", "Retry-After: 3600"),
    refuses("Retry-After of 3600", "Retry-After: 3600", code=503),
    refuses("Retry-After of 3600", "Retry-After: 3600", code=500),
    refuses("retry-after-ms of an hour", "retry-after-ms: 3600000"),
    refuses("Retry-After of a date in an hour", f"Date: {NOW}", f"Retry-After: {IN_AN_HOUR}"),
    refuses("Retry-After of 400 digits", f"Retry-After: {HUGE}", seconds=30 * 86_400.0),
    refuses("Retry-After of a far date, and no Date", f"Retry-After: {AT_THE_END}", seconds=30 * 86_400.0),
    refuses("Retry-After beyond the deadline", "Retry-After: 60", seconds=60.0, deadline=10.0),
    refuses("Retry-After, which helps no bad request", "Retry-After: 0", code=400, seconds=0.0),
)


# What is said of trying again


def told(code: int, word: str, *acts: Act) -> tuple[Act, ...]:
    """A status with `x-should-retry`, then *acts*."""
    return (status(code, f"x-should-retry: {word}"), *acts)


SHOULD = (
    *[Row(f"{code}, x-should-retry true, once", told(code, "true", hello), Answers(requests=2)) for code in (400, 401)],
    *[Row(f"{code}, x-should-retry true, once", told(code, "TRUE", hello), Answers(requests=2)) for code in (413, 422)],
    Row("404, x-should-retry true, for ever", told(404, "true"), failed(404, 3, should_retry=True)),
    *[
        Row(f"{code}, x-should-retry false", told(code, "false", hello), failed(code, should_retry=False))
        for code in sorted(PASSING)
    ],
    Row("500, x-should-retry of nonsense", told(500, "maybe", hello), Answers(requests=2)),
    Row("400, x-should-retry of nonsense", told(400, "1", hello), failed(400, should_retry=None)),
    Row(
        "429 for want of money",
        (status(429, content={"error": {"message": "no credit", "code": "insufficient_quota"}}), hello),
        Fails(RateLimited, "no credit", has={"should_retry": False, "code": "insufficient_quota"}),
    ),
    Row("503 and no retries", (status(503), hello), failed(503), options={"retry": None}),
    Row(
        "503 five times and five retries", (*[status(503)] * 5, hello), Answers(requests=6), options={"retry": soon(5)}
    ),
    Row(
        "one failure after another",
        (status(500), (RESET,), status(429)),
        failed(429, 4),
    ),
    Row("one failure after another, then an answer", (status(503), status(408), hello), Answers(requests=3)),
    Row("a failure that passes, then one that does not", (status(503), status(401), hello), failed(401, 2)),
)


# Bodies of failures


def saying(code: int, content: Any, kind: str = "text/html") -> Script:
    """A status with some other body."""
    return (body(content, status=f"{code} Told", kind=kind),)


def repeated(make: Callable[[str], Script]) -> Act:
    """What *make* makes of the header that has the key in it."""
    return lambda asked: make(asked.headers["authorization"])


def told_of(key: str) -> Any:
    """A failure in whose every field is the *key*."""
    return {"error": {"message": f"wrong key: {key}", "type": key, "code": key, "param": [{"sent": key}]}, "auth": key}


HEAD = b"HTTP/1.1 500 Told\r\nContent-Type: application/json\r\n\r\n"
DEEP = b'{"error":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
ODD = (
    Row(
        "502 of HTML",
        (saying(502, b"<html><title>502 Bad Gateway</title></html>"),),
        Fails(ServerFailed, "^HTTP 502: an HTML page, '502 Bad Gateway'", requests=3),
    ),
    Row("500 of nothing", (saying(500, b""),), Fails(ServerFailed, "^HTTP 500: nothing", requests=3)),
    Row(
        "401 that repeats the key",
        (repeated(lambda key: status(401, f"x-request-id: {key}", content=told_of(key))),),
        Fails(Unauthorized, r"^HTTP 401: wrong key: Bearer \*\*\*$"),
    ),
    Row(
        "401 that repeats the key without its word",
        (repeated(lambda key: status(401, content=told_of(key.split()[1]))),),
        Fails(Unauthorized, r"^HTTP 401: wrong key: \*\*\*$"),
    ),
    Row(
        "403 of HTML that repeats the key",
        (repeated(lambda key: saying(403, f"<title>{key}</title><p>not with {key}".encode())),),
        Fails(Unauthorized, r"^HTTP 403: an HTML page, 'Bearer \*\*\*'"),
    ),
    Row(
        "a stream that repeats the key",
        (repeated(lambda key: (sent(b"data: " + json.dumps(told_of(key)).encode() + b"\n\n"),)),),
        Fails(ServerFailed, r"wrong key: Bearer \*\*\*"),
        only="stream",
    ),
    Row("401 of null", (saying(401, b"null", "application/json"),), Fails(Unauthorized, "^HTTP 401: ")),
    Row("400 of a list", (saying(400, b"[]", "application/json"),), Fails(BadRequest, "^HTTP 400: ")),
    Row("400 of NaN", (saying(400, b'{"error": NaN}', "application/json"),), Fails(BadRequest, "^HTTP 400: ")),
    Row("400, 100,000 levels deep", (saying(400, DEEP, "application/json"),), Fails(BadRequest, "^HTTP 400: ")),
    Row("429 in Latin-1", (saying(429, b"d\xe9sol\xe9", "text/plain"),), Fails(RateLimited, "HTTP 429", requests=3)),
    Row(
        "404 of words",
        (saying(404, b"404 page not found", "text/plain"),),
        Fails(NotFound, "page not found; base_url may be wrong"),
    ),
    Row(
        "500 without end",
        ((HEAD, Again(b"x" * 65536)),),
        Fails(BadReply, "max_body="),
        memory=True,
    ),
    Row(
        "500 that is an answer",
        ((b"HTTP/1.1 500 Told\r\n\r\n" + b"data: [DONE]\n\n", CLOSE),),
        Fails(ServerFailed, requests=3),
    ),
    Row("204", ((b"HTTP/1.1 204 No Content\r\n\r\n",),), Fails(BadReply), Fails(StreamIncomplete)),
    Row("206 of a part", ((body(b'{"choices": [', status="206 Partial Content"),),), Fails(BadReply)),
    Row("304", ((b"HTTP/1.1 304 Not Modified\r\n\r\n",),), Fails(ProviderError, "HTTP 304", has={"status": 304})),
    Row("599", (saying(599, b"odd", "text/plain"),), Fails(ServerFailed, "^HTTP 599: odd", requests=3)),
    Row("999", (saying(999, b"odd", "text/plain"),), Fails(ServerFailed, "^HTTP 999: odd", requests=3)),
)
ROWS = (*[row for code in KINDS for row in rows(code)], *WAITS, *SHOULD, *ODD)
