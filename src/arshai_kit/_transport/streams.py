"""Sockets that know whose exchange they serve: what is left of its time, and whether it was broken off."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import weakref
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpcore

from arshai_kit._transport.blame import tls_failed, unconnected
from arshai_kit._transport.exchange import shut
from arshai_kit._transport.nested import Nested
from arshai_kit._transport.pools import keep_alive
from arshai_kit._transport.public import only_public, resolved
from arshai_kit.errors import ArshaiError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from arshai_kit._transport.exchange import Exchange

__all__ = ["Backend", "Stream", "readable"]

# Heads and bodies up to this size are sent as one segment; joining larger ones would cost more than it saves.
JOINED = 64 * 1024

DAY = 86_400.0

UNDERWAY = {errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS)}


def readable(sock: Any) -> bool:
    """Whether an idle connection has something to read, which can only be that the server closed it."""
    return sock.fileno() < 0 or _ready(sock, 0)


def _ready(sock: Any, seconds: float, *, to_send: bool = False) -> bool:
    """Whether *sock* can be read, or written, or has failed, within *seconds*."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLOUT if to_send else select.POLLIN)
        return bool(poll.poll(min(seconds, DAY) * 1000))
    one = [sock]  # Windows
    return any(select.select([] if to_send else one, one if to_send else [], one, min(seconds, DAY)))


class Stream(httpcore.NetworkStream):
    """A connection, serving one exchange after another.

    httpcore passes the exchange in the place of a time-out. *patience* is what the socket's own time-out is set to: it
    need not be set anew for each read, as long as it ends before the exchange does; then we look at the clock again.
    """

    def __init__(self, sock: Any, serving: Exchange, streams: weakref.WeakSet[Stream]) -> None:
        self.sock = sock
        self._serving = serving
        self._streams = streams
        self._patience = 0.0
        self._head = b""
        streams.add(self)

    def read(self, max_bytes: int, timeout: Any = None) -> bytes:  # noqa: ARG002  # we know whom we serve
        """The next bytes, as soon as any arrive."""
        if self._head:
            with suppress(httpcore.WriteError):  # as httpcore does: the server may have answered all the same
                self._flush()
        exchange = self._serving
        started = monotonic()
        left = exchange.until - started
        while True:
            if left <= 0:
                raise exchange.late(started if exchange.heard else exchange.began)
            try:
                if not self._patience <= left <= 8 * self._patience:
                    self._be_patient(left)
                data: bytes = self.sock.recv(max_bytes)
            except TimeoutError:
                left = exchange.until - monotonic()
                continue
            except OSError as error:
                raise httpcore.ReadError(str(error)) from error
            if data:
                exchange.heard = True
            else:
                exchange.check()  # a socket that a fuse shut looks like the end
            return data

    def write(self, buffer: bytes, timeout: Any = None) -> None:
        """Send *buffer*, but let a head wait for its body: so a request leaves in one segment."""
        if timeout is not None and timeout is not self._serving:
            self._serve(timeout)
        if not self._head:
            self._head = buffer
        elif len(self._head) + len(buffer) <= JOINED:
            self._head += buffer
            self._flush()
        else:
            self._flush()
            self._send(buffer)

    def close(self) -> None:
        """Close the socket, which no fuse may shut from now on: its number may soon be another's."""
        self._serving.let_go()
        self.sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: Any = None,  # noqa: ARG002  # as above
    ) -> Stream:
        """The same connection, encrypted from here on."""
        exchange = self._serving
        inside = isinstance(self.sock, ssl.SSLSocket)
        exchange.start_tls(inside=inside)
        sock: Any
        try:
            if inside:
                sock = Nested(self.sock, ssl_context, server_hostname)
            else:
                # The handshake comes apart from the wrapping, so that there is a socket to shut while it lasts.
                name = server_hostname
                sock = ssl_context.wrap_socket(self.sock, server_hostname=name, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            self.close()
            raise tls_failed(exchange, error) from error
        stream = Stream(sock, exchange, self._streams)
        stream._shake_hands()
        return stream

    def _shake_hands(self) -> None:
        exchange = self._serving
        try:
            exchange.hold(self.raw())
            self.sock.settimeout(exchange.left_to_connect())
            self.sock.do_handshake()
            exchange.check()
        except BaseException as error:
            self.close()
            exchange.check()
            if isinstance(error, TimeoutError) and not isinstance(error, ArshaiError):
                raise exchange.late_to_connect() from error
            if isinstance(error, OSError) and not isinstance(error, ArshaiError):
                raise tls_failed(exchange, error) from error
            raise

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks about an idle connection; that it speaks no HTTP/2 is told by `None`."""
        return readable(self.sock) if info == "is_readable" else None

    def raw(self) -> Any:
        """The socket that the system knows."""
        return getattr(self.sock, "outer", self.sock)

    def _serve(self, exchange: Exchange) -> None:
        """Begin the next exchange on a connection that has served others."""
        self._serving = exchange
        exchange.hold(self.raw())
        exchange.reused = True
        exchange.sent_at = monotonic()

    def _be_patient(self, left: float) -> None:
        self._patience = min(left * 0.75, DAY)
        self.sock.settimeout(self._patience)

    def _flush(self) -> None:
        head, self._head = self._head, b""
        self._send(head)

    def _send(self, data: bytes) -> None:
        exchange = self._serving
        started = monotonic()
        view = memoryview(data)
        while view:
            left = exchange.until - monotonic()
            if left <= 0:
                raise exchange.late(started)
            try:
                if not self._patience <= left <= 8 * self._patience:
                    self._be_patient(left)
                view = view[self.sock.send(view) :]
            except TimeoutError:
                continue
            except OSError as error:
                # httpcore goes on to read: a server may answer and hang up before it has read all.
                raise httpcore.WriteError(str(error)) from error


class Backend(httpcore.NetworkBackend):
    """Makes connections, and knows those that it made."""

    def __init__(self) -> None:
        self.streams: weakref.WeakSet[Stream] = weakref.WeakSet()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Any = None,
        local_address: str | None = None,  # noqa: ARG002  # we never ask for one
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002  # we never ask for one
    ) -> Stream:
        """A connection to the first address of *host* that takes one."""
        exchange: Exchange = timeout  # see `call_options`
        exchange.start_connecting()
        found = resolved(exchange, host, port)
        if exchange.public:
            found = only_public(host, found)
        refused: OSError | None = None
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            # Each address gets its share of the time, so that one which swallows packets leaves some for the next.
            share = exchange.left_to_connect() / (len(found) - tried)
            try:
                sock = _connected(exchange, socket.socket(family, kind, protocol), address, share)
            except OSError as error:
                exchange.check()
                refused = error
            else:
                made = exchange.stream = Stream(sock, exchange, self.streams)
                return made
        if isinstance(refused, TimeoutError):
            raise exchange.late_to_connect() from refused
        raise unconnected(exchange, refused or OSError("its name has no address")) from refused

    def close(self) -> None:
        """Close all connections, waking whoever uses one."""
        for stream in list(self.streams):
            shut(stream.raw())
            stream.close()

    def abandon(self) -> None:
        """Close our copies of the parent's sockets, in a forked child; says nothing to the servers."""
        for stream in list(self.streams):
            stream.sock.close()


def _connected(exchange: Exchange, sock: socket.socket, address: Any, seconds: float) -> socket.socket:
    try:
        sock.setblocking(False)
        # A fuse can wake a socket that has begun to connect, but not one that is only about to: so begin, then wait.
        code = sock.connect_ex(address)
        if code in UNDERWAY:
            exchange.hold(sock)
            if not _ready(sock, seconds, to_send=True):
                raise TimeoutError
            exchange.check()
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        exchange.hold(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock)
    except BaseException:
        exchange.let_go()
        sock.close()
        raise
    return sock
