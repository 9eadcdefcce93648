"""The Responses API of OpenAI, spoken without state: what the provider need not keep goes back with each question."""

from __future__ import annotations

from attrs import evolve

from arshai_kit.dialects.exchange import posted, under
from arshai_kit.dialects.responses._input import items
from arshai_kit.dialects.responses._reply import counted, parsed
from arshai_kit.dialects.responses._request import body, counting, request
from arshai_kit.dialects.responses._stream import Told, advance
from arshai_kit.effects import Reply, Request
from arshai_kit.models import Ask, Dialect, Endpoint
from arshai_kit.records import Response

__all__ = [
    "RESPONSES",
    "advance",
    "body",
    "build",
    "count",
    "counted",
    "items",
    "parse",
    "retrieval",
    "start",
]


def build(endpoint: Endpoint, ask: Ask, stream: bool) -> Request:  # noqa: FBT001  # as Dialect says
    """The request that puts *ask* to *endpoint*."""
    return request(endpoint, ask, stream=stream)


def parse(endpoint: Endpoint, reply: Reply) -> Response:
    """The response that *reply* holds as a whole; raises the error that it tells."""
    return parsed(endpoint, reply)


def start(endpoint: Endpoint, headers: tuple[tuple[str, str], ...] = ()) -> Told:
    """The state of a stream of which nothing has come yet."""
    return Told(endpoint, headers)


def count(endpoint: Endpoint, ask: Ask) -> Request:
    """The request that asks how many tokens *ask* has."""
    return counting(endpoint, ask)


def retrieval(endpoint: Endpoint, key: str) -> Request:
    """The request for the response with the id *key*, which the provider keeps or still works on."""
    from urllib.parse import quote

    url = under(under(endpoint.base_url, "/responses"), "/" + quote(key, safe=""))
    return evolve(posted(endpoint, url, {}), method="GET", content=b"")


RESPONSES = Dialect(build, parse, start, advance, count, counted)
