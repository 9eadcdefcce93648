"""Statuses of failure, once, twice and for ever; what a server says of trying again, in every form."""

from __future__ import annotations

from arshai_kit.errors import (
    BadRequest,
    NotFound,
    ProviderError,
    RateLimited,
    ServerFailed,
    Unauthorized,
)
from tests.faults.rows import Answers, Fails, Row
from tests.faults.server import hello, status

KINDS: dict[int, type[ProviderError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    408: ProviderError,
    409: BadRequest,
    413: BadRequest,
    422: BadRequest,
    429: RateLimited,
    500: ServerFailed,
    502: ServerFailed,
    503: ServerFailed,
    529: ServerFailed,
}
PASSING = (408, 409, 429, 500, 502, 503, 529)


def rows(code: int) -> tuple[Row, ...]:
    """A status once, twice, and for ever."""
    failed = Fails(KINDS[code], rf"^HTTP {code}: told so", has={"status": code})
    if code not in PASSING:
        return (Row(f"{code} once", (status(code), hello), failed), Row(f"{code} for ever", (status(code),), failed))
    return (
        Row(f"{code} once", (status(code), hello), Answers(requests=2)),
        Row(f"{code} twice", (status(code), status(code), hello), Answers(requests=3)),
        Row(
            f"{code} for ever",
            (status(code),),
            Fails(KINDS[code], rf"^HTTP {code}: told so", requests=3, has={"status": code}),
        ),
    )


ROWS = tuple(row for code in KINDS for row in rows(code))
