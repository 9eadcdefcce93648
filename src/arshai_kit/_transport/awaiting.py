"""Exchanges that await, over httpcore's pool and anyio's sockets; cancelling breaks them off.

Each wait for the network has a cancel scope that keeps the time, and none is needed for what is already here. So
a wait whose time was up while the event loop was busy can be taken up again: what we compute is nobody's silence.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache, partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpcore
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSStream

from arshai_kit._transport.blame import blame, tls_failed, unconnected
from arshai_kit._transport.body import Gathering, Inflation, headers_of, inflation
from arshai_kit._transport.environment import proxy_for
from arshai_kit._transport.exchange import BUSY, Exchange, Gate, Limits
from arshai_kit._transport.pools import LEFT_OVER, LINGER, Address, Shelf, Way, call_options, keep_alive, pool_options
from arshai_kit._transport.reaching import check_public, connect_public
from arshai_kit._transport.route import STREAMED, WHOLE, head, route_to
from arshai_kit._transport.streams import JOINED, readable
from arshai_kit.effects import Reply
from arshai_kit.errors import ArshaiError, TimedOut

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping

    from arshai_kit.effects import Request

AsyncWay = Way[httpcore.AsyncConnectionInterface]

AT_ONCE = 16 * 1024
"""As much as every system takes at once on a connection that has nothing left to send."""

__all__ = ["AwaitedLine", "OwnAsync", "exchange_in_time", "gathered"]


async def closed(connections: Iterable[httpcore.AsyncConnectionInterface | AwaitedStream]) -> None:
    """Close *connections*, cancelled or not."""
    left = list(connections)
    try:
        while left:
            with anyio.CancelScope(shield=True):
                await left.pop().aclose()
    finally:  # no shield keeps off `asyncio.Task.cancel`, which may come while one of them is being closed
        if left:
            await closed(left)


async def gathered(body: Gathering, parts: AsyncIterator[bytes]) -> None:
    """Put all *parts* into *body*."""
    try:
        async for part in parts:
            body.add(part)
    except ArshaiError:
        await abandoned(parts)
        raise


@contextmanager
def in_time(seconds: float, late: Callable[[], TimedOut]) -> Iterator[None]:
    """Cancel the body when *seconds* are over, and raise what *late* makes."""
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise late()


def exchange_in_time(exchange: Exchange) -> AbstractContextManager[None]:
    """Cancel the body when the time of *exchange* is over."""
    started = monotonic()
    return in_time(exchange.until - started, lambda: exchange.late(started))


async def abandoned(parts: AsyncIterator[bytes]) -> None:
    """Run *parts* out without waiting for the network.

    Dropping an async generator in its middle leaves its closing to the event loop, which complains; and the outermost
    of httpcore's closes only itself. Cancelled where it would wait, each of them ends in order.
    """
    with anyio.CancelScope() as scope, suppress(Exception):
        scope.cancel()
        while await anext(parts, None) is not None:
            pass


class Content:
    """The body of a request; no generator, which a cancelled send would leave to the event loop (see `abandoned`)."""

    __slots__ = ("_left",)

    def __init__(self, content: bytes) -> None:
        self._left = [content]

    def __aiter__(self) -> Content:
        return Content(self._left[0])

    async def __anext__(self) -> bytes:
        if self._left:
            return self._left.pop()
        raise StopAsyncIteration


class StarvedError(TimedOut):
    """The time to connect was up while the event loop was busy: nothing was sent, so it can be tried again."""


class AwaitedStream(httpcore.AsyncNetworkStream):
    """A connection, serving one exchange after another; httpcore passes the exchange in the place of a time-out."""

    def __init__(self, stream: anyio.abc.ByteStream, serving: Exchange) -> None:
        self._stream = stream
        facts = cast("Mapping[Any, Any]", stream.extra_attributes)  # its own type fits no single key
        self.sock = facts[SocketAttribute.raw_socket]()
        self._serving = serving
        self._head = b""

    async def read(self, max_bytes: int, timeout: Any = None) -> bytes:  # noqa: ARG002, ASYNC109  # httpcore's
        """The next bytes, as soon as any arrive."""
        exchange = self._serving
        if self._head:
            with suppress(httpcore.WriteError):  # as httpcore does: the server may have answered all the same
                await self._flush()
        # `in_time`, spelled out for what happens once a chunk
        started = monotonic()
        with anyio.CancelScope(deadline=anyio.current_time() + exchange.until - started) as scope:
            data = await self._received(max_bytes)
        if scope.cancelled_caught:
            since = exchange.began if exchange.scoped else started
            if not exchange.forgive(exchange.until):
                raise exchange.late(since)
            with in_time(exchange.until - monotonic(), lambda: exchange.late(since)):
                data = await self._received(max_bytes)
        if data:
            exchange.heard = True
        return data

    async def write(self, buffer: bytes, timeout: Any = None) -> None:  # noqa: ASYNC109  # httpcore's
        """Send *buffer*, but let a head wait for its body: so a request leaves in one segment."""
        if timeout is not None and timeout is not self._serving:
            self._serve(timeout)
        if not buffer:
            return  # the head goes with the read: httpcore's body of a CONNECT is a generator (see `abandoned`)
        if not self._head:
            self._head = buffer
        elif len(self._head) + len(buffer) <= JOINED:
            self._head += buffer
            await self._flush()
        else:
            await self._flush()
            await self._send(buffer)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: Any = None,  # noqa: ARG002, ASYNC109  # httpcore's
    ) -> AwaitedStream:
        """The same connection, encrypted from here on."""
        exchange = self._serving
        exchange.start_tls(inside=isinstance(self._stream, TLSStream))
        try:
            with in_time(exchange.left_to_connect(), lambda: late_to_connect(exchange)):
                stream = await TLSStream.wrap(
                    self._stream, ssl_context=ssl_context, hostname=server_hostname, standard_compatible=False
                )
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            if isinstance(error, ArshaiError) or not isinstance(error, Exception):
                raise
            raise tls_failed(exchange, error) from error
        return AwaitedStream(stream, exchange)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks about an idle connection; that it speaks no HTTP/2 is told by `None`."""
        return readable(self.sock) if info == "is_readable" else None

    def _serve(self, exchange: Exchange) -> None:
        """Begin the next exchange on a connection that has served others."""
        self._serving = exchange
        exchange.reused = True
        exchange.sent_at = monotonic()

    async def _received(self, max_bytes: int) -> bytes:
        try:
            return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise httpcore.ReadError(str(error.__cause__ or "")) from error

    async def _flush(self) -> None:
        head, self._head = self._head, b""
        await self._send(head)

    async def _send(self, data: bytes) -> None:
        exchange = self._serving
        if len(data) <= AT_ONCE:  # no time can be up meanwhile, but for a loop that was busy
            await self._sent(data)
            return
        with in_time(exchange.until - monotonic(), lambda: exchange.late(exchange.began)):
            await self._sent(data)

    async def _sent(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            # httpcore goes on to read: a server may answer and hang up before it has read all.
            raise httpcore.WriteError(str(error.__cause__ or "")) from error


def late_to_connect(exchange: Exchange) -> TimedOut:
    """No connection within the time for it, unless that was up while the event loop was busy."""
    late = exchange.late_to_connect()
    return StarvedError(str(late)) if monotonic() - exchange.connect_until >= BUSY else late


class AwaitedBackend(httpcore.AsyncNetworkBackend):
    """Makes connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Any = None,  # noqa: ASYNC109  # httpcore's
        local_address: str | None = None,  # noqa: ARG002  # we never ask for one
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002  # we never ask for one
    ) -> AwaitedStream:
        """A connection to *host*."""
        exchange: Exchange = timeout  # see `call_options`
        exchange.start_connecting()
        try:
            with in_time(exchange.left_to_connect(), lambda: late_to_connect(exchange)):
                if exchange.public:
                    stream = await connect_public(exchange, host, port)
                else:
                    stream = await anyio.connect_tcp(host, port)
        except ArshaiError:
            raise
        except (OSError, UnicodeError) as error:
            raise unconnected(exchange, error) from error
        made = exchange.stream = AwaitedStream(stream, exchange)
        keep_alive(made.sock)
        if monotonic() > exchange.connect_until:  # it stands, though nobody saw it in time: TLS has its own then
            exchange.start_connecting()
        return made


class OwnAsync:
    """Exchanges over connections that it keeps, for the tasks of one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._backend = AwaitedBackend()
        self._gate = Gate(limits, anyio.Event)
        self._shelf: Shelf[httpcore.AsyncConnectionInterface] = Shelf()
        self._busy: set[httpcore.AsyncConnectionInterface] = set()
        self._way = lru_cache(maxsize=256)(self._found)

    async def send(self, request: Request, until: float) -> Reply:
        """The whole reply to *request*, come before *until* on the monotonic clock."""
        exchange, way = self._begun(request, until)
        response = None
        try:
            await self._take_turn(exchange)
            response = await self._answer(exchange, way, WHOLE)
            headers = headers_of(response.headers)
            body = Gathering(exchange.host, headers, request.max_body)
            await gathered(body, aiter(response.stream))  # type: ignore[arg-type]  # an async pool's is async
            return Reply(response.status, headers, body.whole())
        except Exception as error:  # noqa: BLE001  # all that a library raises is told in our words
            blame(error, exchange)
        finally:
            await self._over(exchange, response)

    async def open(self, request: Request, until: float) -> AwaitedLine:
        """The reply to *request*, its headers come before *until* and its body still coming."""
        exchange, way = self._begun(request, until)
        response = None
        try:
            await self._take_turn(exchange)
            response = await self._answer(exchange, way, STREAMED)
            exchange.scoped = False
            parts: AsyncIterator[bytes] = aiter(response.stream)  # type: ignore[arg-type]  # as above
            return AwaitedLine(
                exchange, response.status, headers_of(response.headers), parts, partial(self._over, exchange, response)
            )
        except BaseException as error:
            await self._over(exchange, response)
            if isinstance(error, Exception):
                blame(error, exchange)
            raise

    async def close(self) -> None:
        """Close all connections; those in use break."""
        await closed((*self._busy, *self._shelf.surplus(0)))

    def _found(self, url: str) -> Way[httpcore.AsyncConnectionInterface]:
        route = route_to(url)
        proxy = proxy_for(route.scheme, route.host, route.port)
        pool = httpcore.AsyncConnectionPool(**pool_options(route.scheme, proxy, self._backend))
        address = Address.of(route)
        return Way(route, address, partial(pool.create_connection, address.origin), proxy)

    def _begun(self, request: Request, until: float) -> tuple[Exchange, AsyncWay]:
        way = self._way(request.url)
        exchange = Exchange(way.route.name, request, until)
        way.begin(exchange)
        return exchange, way

    async def _answer(self, exchange: Exchange, way: AsyncWay, accepted: tuple[bytes, bytes]) -> httpcore.Response:
        request = exchange.request
        if request.public and way.proxied:  # where the name leads, the proxy will find out for itself
            with exchange_in_time(exchange):
                await check_public(exchange, way.route.host, way.route.port)
        headers = head(request, way.route, accepted)
        content = Content(request.content)
        raw = httpcore.Request(
            request.method, way.address, headers=headers, content=content, extensions=call_options(exchange)
        )
        while True:
            connection = await self._connection(way, exchange)
            exchange.connections = [connection]
            self._busy.add(connection)
            try:
                return await connection.handle_async_request(raw)
            except StarvedError:
                self._busy.discard(connection)
                await closed((connection,))
                exchange.forgive(exchange.until)
            except (httpcore.RemoteProtocolError, httpcore.ReadError):
                self._busy.discard(connection)
                await closed((connection,))
                if not exchange.may_go_again():
                    raise

    async def _connection(self, way: AsyncWay, exchange: Exchange) -> httpcore.AsyncConnectionInterface:
        while not exchange.fresh and (connection := self._shelf.take(exchange.origin)) is not None:
            if not connection.has_expired():
                return connection
            await closed((connection,))
        made = way.connect()  # before anything is awaited: what is counted here is the sockets, not who waits for one
        exchange.connections = [made]
        self._busy.add(made)
        await closed(self._shelf.surplus(self._limits.max_connections - len(self._busy)))
        return made

    async def _take_turn(self, exchange: Exchange) -> None:
        gate = self._gate
        ticket = gate.enter(exchange)
        if ticket is not None:
            exchange.waiting = ticket.event
            try:
                with exchange_in_time(exchange):
                    await ticket.event.wait()
            except BaseException:
                gate.give_up(ticket)
                raise
            exchange.waiting = None
            exchange.gate = gate
        exchange.begin()

    async def _over(self, exchange: Exchange, response: httpcore.Response | None) -> None:
        """Give back what *exchange* had, and close what cannot serve again, cancelled or not."""
        connections, exchange.connections = exchange.connections, []
        stream, exchange.stream = exchange.stream, None
        self._busy.difference_update(connections)
        left = connections if stream is None else [*connections, stream]
        try:
            if response is not None:
                with anyio.CancelScope(shield=True):  # httpcore waits for a lock first
                    await response.aclose()
                left = [each for one in connections for each in self._shelf.put(exchange.origin, one)]
        finally:
            try:
                await closed(left)
            finally:
                self._gate.leave(exchange)


class AwaitedLine:
    """A reply whose body is still coming; one task at a time reads it."""

    __slots__ = ("_ended", "_exchange", "_inflation", "_over", "_parts", "_pieces", "headers", "status")

    def __init__(
        self,
        exchange: Exchange,
        status: int,
        headers: tuple[tuple[str, str], ...],
        parts: AsyncIterator[bytes],
        over: Callable[[], Awaitable[None]],
    ) -> None:
        self.status = status
        self.headers = headers
        self._exchange = exchange
        self._parts = parts
        self._over = over
        self._inflation = inflation(exchange.host, headers)
        self._pieces: Iterator[bytes] = iter(())
        self._ended = False

    async def read(self, until: float) -> bytes:
        """The next bytes as soon as any have come, none at the end; before *until* on the monotonic clock."""
        exchange = self._exchange
        exchange.until = until
        try:
            data = await anext(self._parts, b"") if self._inflation is None else await self._inflated(self._inflation)
        except Exception as error:  # noqa: BLE001  # all that a library raises is told in our words
            await self.close()
            blame(error, exchange)
        if not data:
            self._ended = True
            await self._over()
        return data

    async def close(self) -> None:
        """Be done: the connection is kept if the body is at its end, and dropped if not."""
        try:
            if not self._ended:
                self._ended = True
                await abandoned(self._parts)
        finally:
            await self._over()

    async def finish(self) -> None:
        """Be done, but read what little is left, so that the connection can be used again."""
        until, room = monotonic() + LINGER, LEFT_OVER
        with suppress(ArshaiError):
            while room > 0 and not self._ended and (data := await self.read(until)):
                room -= len(data)
        await self.close()

    async def _inflated(self, inflation: Inflation) -> bytes:
        while True:
            if piece := next(self._pieces, b""):
                return piece
            part = await anext(self._parts, b"")
            if not part:
                inflation.end()
                return b""
            self._pieces = inflation.feed(part)
