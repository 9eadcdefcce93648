"""Exchanges that block, over httpcore's pool and sockets of our own, which any thread can break off.

httpcore knows HTTP and keeps connections; how long an operation may take and who must be woken is ours. What cannot be
broken off is the look-up of a name: `getaddrinfo` knows neither time nor signal, so a worker in it is left behind and
ends when it returns.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from functools import lru_cache, partial
from threading import TIMEOUT_MAX, Event
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpcore

from arshai_kit._transport.blame import blame
from arshai_kit._transport.body import Gathering, Inflation, headers_of, inflation
from arshai_kit._transport.environment import proxy_for
from arshai_kit._transport.exchange import Exchange, Fuse, Gate, Limits
from arshai_kit._transport.pools import LEFT_OVER, LINGER, Address, Shelf, Way, call_options, pool_options
from arshai_kit._transport.public import all_public, resolved
from arshai_kit._transport.route import STREAMED, WHOLE, head, route_to
from arshai_kit._transport.streams import Backend
from arshai_kit.effects import Reply
from arshai_kit.errors import ArshaiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arshai_kit.effects import Request

__all__ = ["Line", "SyncTransport"]


class SyncTransport:
    """Exchanges over connections that it keeps; safe across threads, and in a forked child."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_calling(weakref.WeakMethod(self._leave_to_parent)))

    def send(self, request: Request, until: float, fuse: Fuse | None = None) -> Reply:
        """The whole reply to *request*, come before *until* on the monotonic clock."""
        exchange, response = self._answered(request, until, fuse, WHOLE)
        try:
            headers = headers_of(response.headers)
            body = Gathering(exchange.host, headers, request.max_body)
            for part in response.stream:  # type: ignore[union-attr]  # that of a sync pool is sync
                body.add(part)
            return Reply(response.status, headers, body.whole())
        except Exception as error:  # noqa: BLE001  # all that a library raises is told in our words
            blame(error, exchange)
        finally:
            self._over(exchange, response)

    def open(self, request: Request, until: float, fuse: Fuse | None = None) -> Line:
        """The reply to *request*, its headers come before *until* and its body still coming."""
        exchange, response = self._answered(request, until, fuse, STREAMED)
        try:
            parts: Iterator[bytes] = iter(response.stream)  # type: ignore[arg-type]  # as above
            over = partial(self._over, exchange, response)
            return Line(exchange, response.status, headers_of(response.headers), parts, over)
        except BaseException:
            self._over(exchange, response)
            raise

    def close(self) -> None:
        """Close all connections; those in use break."""
        self._backend.close()
        self._shelf.surplus(0)

    def _begin(self) -> None:
        self._backend = Backend()
        self._gate = Gate(self._limits, Event)
        self._shelf: Shelf[httpcore.ConnectionInterface] = Shelf()
        self._holding: set[int] = set()  # the exchanges that have a connection, or are about to take one
        self._way = lru_cache(maxsize=256)(self._found)

    def _leave_to_parent(self) -> None:
        # Locks may be held by threads that the child does not have, so all is new and nothing is waited for.
        self._backend.abandon()
        self._begin()

    def _found(self, url: str) -> Way[httpcore.ConnectionInterface]:
        route = route_to(url)
        proxy = proxy_for(route.scheme, route.host, route.port)
        pool = httpcore.ConnectionPool(**pool_options(route.scheme, proxy, self._backend))
        address = Address.of(route)
        return Way(route, address, partial(pool.create_connection, address.origin), proxy)

    def _answered(
        self, request: Request, until: float, fuse: Fuse | None, accepted: tuple[bytes, bytes]
    ) -> tuple[Exchange, httpcore.Response]:
        way = self._way(request.url)
        headers = head(request, way.route, accepted)
        exchange = Exchange(way.route.name, request, until, fuse)
        way.begin(exchange)
        try:
            self._take_turn(exchange)
            exchange.begin()
            if request.public and way.proxied:  # where the name leads, the proxy will find out for itself
                all_public(way.route.host, resolved(exchange, way.route.host, way.route.port))
            raw = httpcore.Request(
                request.method, way.address, headers=headers, content=request.content, extensions=call_options(exchange)
            )
            return exchange, self._replied(way, raw, exchange)
        except BaseException as error:
            self._over(exchange, None)
            if isinstance(error, Exception):
                blame(error, exchange)
            raise

    def _replied(
        self, way: Way[httpcore.ConnectionInterface], raw: httpcore.Request, exchange: Exchange
    ) -> httpcore.Response:
        while True:
            connection = self._connection(way, exchange)
            exchange.connections = [connection]
            try:
                return connection.handle_request(raw)
            except (httpcore.RemoteProtocolError, httpcore.ReadError):
                connection.close()
                if not exchange.may_go_again():
                    raise

    def _connection(self, way: Way[httpcore.ConnectionInterface], exchange: Exchange) -> httpcore.ConnectionInterface:
        self._holding.add(id(exchange))  # not before: for who waits for its turn, a connection rests
        while not exchange.fresh and (connection := self._shelf.take(exchange.origin)) is not None:
            if not connection.has_expired():
                return connection
            connection.close()
        for extra in self._shelf.surplus(self._limits.max_connections - len(self._holding)):
            extra.close()
        return way.connect()

    def _take_turn(self, exchange: Exchange) -> None:
        exchange.check()
        gate = self._gate
        ticket = gate.enter(exchange)
        if ticket is None:
            return
        exchange.waiting = ticket.event
        try:
            exchange.check()
            started = monotonic()
            if not ticket.event.wait(min(max(exchange.until - started, 0), TIMEOUT_MAX)):
                raise exchange.late(started)
            exchange.check()
        except BaseException:
            gate.give_up(ticket)
            raise
        exchange.waiting = None
        exchange.gate = gate

    def _over(self, exchange: Exchange, response: httpcore.Response | None) -> None:
        """Give back what *exchange* had; the fuse goes first, or it could hit whoever uses the connection next."""
        gate = exchange.gate
        if gate is not None and gate is not self._gate:
            return  # begun before a fork, so all of it is the parent's
        exchange.free()
        try:
            if response is not None:
                response.close()
            self._lay_down(exchange, usable=response is not None)
        finally:
            if gate is not None:
                gate.leave(exchange)

    def _lay_down(self, exchange: Exchange, *, usable: bool) -> None:
        stream, exchange.stream = exchange.stream, None
        if stream is not None and not usable:
            stream.close()
        with suppress(IndexError):
            connection = exchange.connections.pop()
            for each in self._shelf.put(exchange.origin, connection) if usable else [connection]:
                each.close()
        self._holding.discard(id(exchange))


def _calling(method: weakref.WeakMethod[Any]) -> Any:
    def call() -> None:
        if (alive := method()) is not None:
            alive()

    return call


class Line:
    """A reply whose body is still coming; one thread at a time reads it."""

    __slots__ = ("_exchange", "_inflation", "_over", "_parts", "_pieces", "headers", "status")

    def __init__(
        self,
        exchange: Exchange,
        status: int,
        headers: tuple[tuple[str, str], ...],
        parts: Iterator[bytes],
        over: Callable[[], None],
    ) -> None:
        self.status = status
        self.headers = headers
        self._exchange = exchange
        self._parts = parts
        self._over = over
        self._inflation = inflation(exchange.host, headers)
        self._pieces: Iterator[bytes] = iter(())

    def read(self, until: float) -> bytes:
        """The next bytes as soon as any have come, none at the end; before *until* on the monotonic clock."""
        exchange = self._exchange
        exchange.until = until
        try:
            data = next(self._parts, b"") if self._inflation is None else self._inflated(self._inflation)
        except Exception as error:  # noqa: BLE001  # all that a library raises is told in our words
            self._over()
            blame(error, exchange)
        if not data:
            self._over()
        return data

    def close(self) -> None:
        """Be done: the connection is kept if the body is at its end, and dropped if not."""
        self._over()

    def finish(self) -> None:
        """Be done, but read what little is left, so that the connection can be used again."""
        until, room = monotonic() + LINGER, LEFT_OVER
        with suppress(ArshaiError):
            while room > 0 and (data := self.read(until)):
                room -= len(data)
        self._over()

    def _inflated(self, inflation: Inflation) -> bytes:
        while True:
            if piece := next(self._pieces, b""):
                return piece
            part = next(self._parts, b"")
            if not part:
                inflation.end()
                return b""
            self._pieces = inflation.feed(part)
