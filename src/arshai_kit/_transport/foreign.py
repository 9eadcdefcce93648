"""Exchanges over the user's own client: httpx, its fork httpx2, or whatever has their `build_request` and `send`.

The client's own settings (proxies, certificates, headers, limits) hold, and so does what it does with redirects and
cookies, but for redirects, which nobody follows with a key. Blocking clients bound each read but not a drip of header
bytes; a fuse breaks them off once their headers have come, and until then their worker is left behind.

A public request takes nothing of the client but its way out: no headers, keys, cookies or parameters. All addresses of
its host must be public, and so must the peer of the connection that is then made, before a byte is sent; a client that
does not tell of its connections is refused, but for httpx's own fakes, which make none.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from threading import Timer
from time import monotonic
from typing import TYPE_CHECKING, Any

from arshai_kit._transport.blame import blame
from arshai_kit._transport.blocking import Line
from arshai_kit._transport.body import Gathering, headers_of
from arshai_kit._transport.exchange import Exchange, Fuse
from arshai_kit._transport.pools import LINGER
from arshai_kit._transport.public import Guard, all_public, blind, resolved
from arshai_kit._transport.route import AGENT, STREAMED, WHOLE, named, sent_headers
from arshai_kit.effects import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from arshai_kit._transport.awaiting import AwaitedLine
    from arshai_kit.effects import Request

__all__ = ["ForeignAsync", "ForeignSync"]

_FAKES = frozenset({"ASGITransport", "MockTransport", "WSGITransport"})


class ForeignSync:
    """Exchanges over a blocking client of the user."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def send(self, request: Request, until: float, fuse: Fuse | None = None) -> Reply:
        """The whole reply to *request*, come before *until* as far as the client can be bounded."""
        exchange, response = self._answered(request, until, fuse, WHOLE)
        try:
            headers = _headers(response)
            body = Gathering(exchange.host, headers, request.max_body)
            for part in _timed(exchange, response):
                body.add(part)
            return Reply(response.status_code, headers, body.whole())
        except Exception as error:  # noqa: BLE001  # all that a library raises is told in our words
            blame(error, exchange)
        finally:
            _over(exchange, response)

    def open(self, request: Request, until: float, fuse: Fuse | None = None) -> Line:
        """The reply to *request*, its body still coming."""
        exchange, response = self._answered(request, until, fuse, STREAMED)
        try:
            over = partial(_over, exchange, response)
            return _ForeignLine(exchange, response.status_code, _headers(response), _timed(exchange, response), over)
        except BaseException:
            _over(exchange, response)
            raise

    def close(self) -> None:
        """Do nothing: who made the client closes it."""

    def _answered(
        self, request: Request, until: float, fuse: Fuse | None, accepted: tuple[bytes, bytes]
    ) -> tuple[Exchange, Any]:
        exchange = Exchange(named(request.url), request, until, fuse)
        exchange.begin()
        try:
            exchange.check()
            response = self._replied(_built(self._client, exchange, accepted), exchange)
            exchange.heard = True
            with suppress(AttributeError, KeyError):  # only a real network has one
                exchange.socket = response.extensions["network_stream"].get_extra_info("socket")
            if exchange.broken:
                response.close()
            exchange.check()
        except BaseException as error:
            exchange.free()
            if isinstance(error, Exception):
                blame(error, exchange)
            raise
        return exchange, response

    def _replied(self, built: Any, exchange: Exchange) -> Any:
        if not exchange.request.public:
            return self._client.send(built, stream=True, follow_redirects=False)
        guard = _guard(self._client, built)
        if guard is not None:
            all_public(guard.host, resolved(exchange, guard.host, built.url.port or 0))
            built.extensions["trace"] = guard.blocking
        response = self._client.send(built, stream=True, follow_redirects=False, auth=None)
        if guard is not None and not guard.told:
            response.close()
            raise blind(guard.host)
        return response


class _ForeignLine(Line):
    """A reply whose body is still coming through a client that lets nobody shorten its waits."""

    __slots__ = ()

    def finish(self) -> None:
        """Be done, but read what little is left, so that the connection can be used again.

        What breaks it off is a fuse, whose lock knows whether the socket is still ours.
        """
        exchange = self._exchange
        if exchange.fuse is None:
            exchange.fuse = Fuse()
            exchange.fuse.guard(exchange)
        timer = Timer(LINGER, exchange.fuse.blow)
        timer.daemon = True
        timer.start()
        try:
            super().finish()
        finally:
            timer.cancel()


class ForeignAsync:
    """Exchanges over an async client of the user."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def send(self, request: Request, until: float) -> Reply:
        """The whole reply to *request*, come before *until* on the monotonic clock."""
        from arshai_kit._transport.awaiting import exchange_in_time, gathered

        exchange = Exchange(named(request.url), request, until)
        exchange.begin()
        response = None
        try:
            with exchange_in_time(exchange):
                response = await self._answer(exchange, WHOLE)
                headers = _headers(response)
                body = Gathering(exchange.host, headers, request.max_body)
                await gathered(body, _Timed(exchange, response))
            return Reply(response.status_code, headers, body.whole())
        except Exception as error:  # noqa: BLE001  # all that a library raises is told in our words
            blame(error, exchange)
        finally:
            if response is not None:
                await response.aclose()

    async def open(self, request: Request, until: float) -> AwaitedLine:
        """The reply to *request*, its headers come before *until* and its body still coming."""
        from arshai_kit._transport.awaiting import AwaitedLine, exchange_in_time

        exchange = Exchange(named(request.url), request, until)
        exchange.begin()
        response = None
        try:
            with exchange_in_time(exchange):
                response = await self._answer(exchange, STREAMED)
            parts = _Timed(exchange, response)
            return AwaitedLine(exchange, response.status_code, _headers(response), parts, response.aclose)
        except BaseException as error:
            if response is not None:
                await response.aclose()
            if isinstance(error, Exception):
                blame(error, exchange)
            raise

    async def close(self) -> None:
        """Do nothing: who made the client closes it."""

    async def _answer(self, exchange: Exchange, accepted: tuple[bytes, bytes]) -> Any:
        built = _built(self._client, exchange, accepted)
        if exchange.request.public:
            response = await self._public(built, exchange)
        else:
            response = await self._client.send(built, stream=True, follow_redirects=False)
        exchange.heard = True
        return response

    async def _public(self, built: Any, exchange: Exchange) -> Any:
        from arshai_kit._transport.reaching import check_public

        guard = _guard(self._client, built)
        if guard is not None:
            await check_public(exchange, guard.host, built.url.port or 0)
            built.extensions["trace"] = guard.awaiting
        response = await self._client.send(built, stream=True, follow_redirects=False, auth=None)
        if guard is not None and not guard.told:
            await response.aclose()
            raise blind(guard.host)
        return response


def _built(client: Any, exchange: Exchange, accepted: tuple[bytes, bytes]) -> Any:
    request = exchange.request
    left = max(exchange.until - monotonic(), 0.001)
    silence = None if left == float("inf") else left
    headers = sent_headers(request, accepted)
    built = client.build_request(
        request.method,
        request.url,
        headers=headers,
        content=request.content,
        timeout=(min(request.connect_timeout, left), silence, silence, silence),
    )
    if not request.public:
        return built
    options = {"content": request.content, "extensions": built.extensions}
    return type(built)(request.method, request.url, headers=[*headers, AGENT], **options)  # nothing of the client's own


def _guard(client: Any, built: Any) -> Guard | None:
    """Who looks on while *client* connects; nobody where it makes no connections, being a fake of httpx's own."""
    find = getattr(client, "_transport_for_url", None)  # no public name tells
    kinds = () if find is None else type(find(built.url)).__mro__
    if any(kind.__name__ in _FAKES for kind in kinds):
        return None
    return Guard(built.url.raw_host.decode("ascii"))


def _headers(response: Any) -> tuple[tuple[str, str], ...]:
    headers = headers_of(response.headers.raw)
    if response.is_closed:  # read and decoded already: by a fake of a transport, or by a hook of the user's
        return tuple(pair for pair in headers if pair[0] not in ("content-encoding", "content-length"))
    return headers


def _timed(exchange: Exchange, response: Any) -> Iterator[bytes]:
    """The parts of the body, the time looked at between them."""
    started = monotonic()
    for part in (response.content,) if response.is_closed else response.stream:
        yield part
        if monotonic() > exchange.until:
            raise exchange.late(started)
        started = monotonic()


def _over(exchange: Exchange, response: Any) -> None:
    exchange.free()
    response.close()


class _Timed:
    """The parts of the body, each within the time."""

    def __init__(self, exchange: Exchange, response: Any) -> None:
        self._exchange = exchange
        self._parts: AsyncIterator[bytes] = _once(response.content) if response.is_closed else aiter(response.stream)

    def __aiter__(self) -> _Timed:
        return self

    async def __anext__(self) -> bytes:
        from arshai_kit._transport.awaiting import exchange_in_time

        with exchange_in_time(self._exchange):
            return await anext(self._parts)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
