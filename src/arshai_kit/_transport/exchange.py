"""One exchange: how long it may take, whose turn it is, and how another thread breaks it off.

Nothing here does I/O but one `shutdown` of a socket, and nothing here is imported but the standard library.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from arshai_kit.errors import TimedOut, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from arshai_kit._transport.environment import ProxyAddress
    from arshai_kit.effects import Request

__all__ = ["Exchange", "Fuse", "Gate", "Limits", "Ticket"]

# A connection that the server gave up while it was idle breaks within one round trip of our sending on it. Later than
# this the server may have begun to work on the request, and asking again could make it work (and charge) twice.
STALE = 1.0

# What our own work may take of a time-out that we still call silence.
SLACK = 0.05

# How late a time-out rings when the event loop was busy with something else, and the moment that is granted then.
BUSY = 0.05
A_MOMENT = 0.25


class Limits(Protocol):
    """How many exchanges run at a time, in all and with one host."""

    @property
    def max_connections(self) -> int: ...
    @property
    def max_connections_per_host(self) -> int: ...


class Fuse:
    """Breaks off the exchanges that run under it, from any thread; those that start later end at once."""

    __slots__ = ("_lock", "_running", "blown")

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[Exchange] = set()
        self.blown = False

    def blow(self) -> None:
        """Break off whatever runs under this fuse; doing it twice does no harm."""
        with self._lock:
            self.blown = True
            for exchange in self._running:
                exchange.break_off()

    def guard(self, exchange: Exchange) -> None:
        """Let *exchange* run under this fuse."""
        with self._lock:
            self._running.add(exchange)
            if self.blown:
                exchange.broken = True

    def free(self, exchange: Exchange) -> None:
        """Forget *exchange*, which is over."""
        with self._lock:
            self._running.discard(exchange)
            exchange.socket = None

    def let_go(self, exchange: Exchange) -> None:
        """Forget the socket of *exchange* before it is closed or serves another one, which must not be hit."""
        with self._lock:
            exchange.socket = None


class Exchange:
    """One request on its way to its reply.

    It rides through httpcore as the *timeout* that httpcore hands on to our network streams, so that every read and
    write knows what is left of the time, and whom a fuse has to wake.
    """

    __slots__ = (
        "began",
        "broken",
        "cause",
        "connect_until",
        "connections",
        "forgiven",
        "fresh",
        "fuse",
        "gate",
        "heard",
        "host",
        "origin",
        "peer",
        "proxy",
        "public",
        "request",
        "reused",
        "scoped",
        "sent_at",
        "socket",
        "stream",
        "until",
        "waiting",
    )

    def __init__(self, host: str, request: Request, until: float, fuse: Fuse | None = None) -> None:
        self.host = host
        self.origin = host
        self.proxy: ProxyAddress | None = None
        self.peer = host  # with whom it connects, as messages say it
        self.public = False  # connects to public addresses alone
        self.request = request
        self.until = until
        self.connect_until = until
        self.began = 0.0
        self.forgiven = False
        self.fuse = fuse
        self.connections: list[Any] = []  # the one that serves it; whoever ends the exchange takes it out, once
        self.socket: Any = None
        self.stream: Any = None  # the one made for it: httpcore forgets it where the talk with a SOCKS proxy fails
        self.waiting: Any = None
        self.broken = False
        self.cause: BaseException | None = None
        self.gate: Gate | None = None
        self.heard = False
        self.reused = False
        self.fresh = False
        self.scoped = True
        self.sent_at = 0.0
        if fuse is not None:
            fuse.guard(self)

    def break_off(self) -> None:
        """Wake whoever waits in this exchange; called under the lock of the fuse."""
        self.broken = True
        waiting, socket = self.waiting, self.socket  # once: whoever waited may go on this very moment
        if waiting is not None:
            waiting.set()
        if socket is not None:
            shut(socket)

    def hold(self, socket: Any) -> None:
        """Note the socket that a fuse has to shut, then look whether it blew: in this order none is missed."""
        self.socket = socket
        self.check()

    def check(self) -> None:
        """Raise if this exchange was broken off."""
        if self.broken:
            raise Unreachable(f"the exchange with {self.host} was broken off")

    def let_go(self) -> None:
        """Have no socket, for the moment or for good."""
        if self.fuse is not None:
            self.fuse.let_go(self)
        self.socket = None

    def free(self) -> None:
        """Take the fuse away: the exchange is over."""
        if self.fuse is not None:
            self.fuse.free(self)
        self.socket = None

    def begin(self) -> None:
        """Begin the time of silence: its turn has come, and queueing only counts towards the deadline."""
        self.began = monotonic()
        self.until = min(self.until, self.began + self.request.timeout)

    def start_connecting(self) -> None:
        """Begin the time for a connection, which covers TCP and TLS."""
        self.connect_until = min(self.until, monotonic() + self.request.connect_timeout)
        if self.proxy is not None:
            self.peer = f"the proxy {self.proxy.name} (for {self.host})"

    def start_tls(self, *, inside: bool) -> None:
        """Begin a handshake, *inside* TLS or not: with the proxy, if that speaks TLS too, and then with the server."""
        if inside or self.proxy is None or self.proxy.scheme != "https":
            self.peer = self.host

    def left_to_connect(self) -> float:
        """Seconds until the connection must stand; raises when there are none."""
        self.check()
        left = self.connect_until - monotonic()
        if left <= 0:
            raise self.late_to_connect()
        return left

    def late_to_connect(self) -> TimedOut:
        """No connection within the time for it."""
        return TimedOut(
            f"no connection to {self.peer} within {self.request.connect_timeout:g} s or what was left of the time"
        )

    def forgive(self, due: float) -> bool:
        """Whether the time that was up at *due* was not the server's: nobody saw it, for the event loop was busy.

        What the server said meanwhile is here by now, so it gets a moment more; but only once, or a loop that is always
        busy would never see the end of an exchange.
        """
        now = monotonic()
        if self.forgiven or now - due < BUSY:
            return False
        self.forgiven, self.until = True, max(self.until, now + A_MOMENT)
        return True

    def late(self, started: float) -> TimedOut:
        """The time is up, after *started* being when we began to wait for the server."""
        if self.waiting is not None:
            return TimedOut(f"no connection to {self.host} became free in time (limits=, ARSHAI_MAX_CONNECTIONS)")
        silent = monotonic() - started
        timeout = self.request.timeout
        if silent + SLACK >= timeout:
            return TimedOut(f"{self.host} told nothing for {silent:.3g} s (timeout={timeout:g})")
        doing = "in the middle of its reply" if self.heard else "before it answered"
        return TimedOut(
            f"time was up {doing}: {self.host} had told nothing for {silent:.3g} s "
            "(deadline=, or timeout= with nothing told)"
        )

    def may_go_again(self) -> bool:
        """Whether the request met a connection that the server had given up while it was idle.

        Nothing of a reply was seen, on a connection that had served before, and it broke at once: what browsers take
        as the sign that the server never read the request, whatever its method. Asked again on a fresh connection,
        which is never stale, so this happens at most once.
        """
        stale = self.reused and not self.heard and not self.broken and monotonic() - self.sent_at < STALE
        if stale:
            self.fresh, self.reused = True, False
        return stale


class Ticket:
    """A place in the queue before a gate."""

    __slots__ = ("event", "granted", "host")

    def __init__(self, host: str, event: Any) -> None:
        self.host = host
        self.event = event
        self.granted = False


class Gate:
    """Lets in so many exchanges, in all and for each host, first come first served.

    Who waits for a host that is full holds up nobody else. The events of its tickets come from *new_event*, so that
    threads and tasks use one and the same gate.
    """

    def __init__(self, limits: Limits, new_event: Callable[[], Any]) -> None:
        self._most = limits.max_connections
        self._most_per_host = limits.max_connections_per_host
        self._new_event = new_event
        self._lock = Lock()
        self._inside = 0
        self._at: dict[str, int] = {}
        self._queue: deque[Ticket] = deque()

    def enter(self, exchange: Exchange) -> Ticket | None:
        """Go in, or get a ticket to wait with."""
        host = exchange.host
        with self._lock:
            # Nobody in the queue could go in (whoever can is let in at once), so going ahead overtakes nobody.
            if self._has_room(host):
                self._let_in(host)
                exchange.gate = self
                return None
            ticket = Ticket(host, self._new_event())
            self._queue.append(ticket)
            return ticket

    @property
    def inside(self) -> int:
        """How many are in."""
        return self._inside

    def leave(self, exchange: Exchange) -> None:
        """Make room for the next; leaving twice is leaving once."""
        with self._lock:
            if exchange.gate is self:
                exchange.gate = None
                self._let_out(exchange.host)

    def give_up(self, ticket: Ticket) -> None:
        """Leave the queue, and pass the place on if it was granted meanwhile."""
        with self._lock:
            if ticket.granted:
                self._let_out(ticket.host)
            else:
                with suppress(ValueError):
                    self._queue.remove(ticket)

    def _has_room(self, host: str) -> bool:
        return self._inside < self._most and self._at.get(host, 0) < self._most_per_host

    def _let_in(self, host: str) -> None:
        self._inside += 1
        self._at[host] = self._at.get(host, 0) + 1

    def _let_out(self, host: str) -> None:
        self._inside -= 1
        self._at[host] -= 1
        if not self._at[host]:
            del self._at[host]
        for ticket in self._queue:
            if self._has_room(ticket.host):
                self._queue.remove(ticket)
                self._let_in(ticket.host)
                ticket.granted = True
                ticket.event.set()
                return


def shut(socket: Any) -> None:
    """Wake whoever reads or writes *socket* in another thread; closing it would not.

    On an `SSLSocket` the plain method is meant: its own one also drops the TLS state under the reader's feet. While a
    socket connects, Linux wakes it too; elsewhere the time to connect bounds the wait.
    """
    import socket as sockets

    with suppress(OSError):
        sockets.socket.shutdown(socket, sockets.SHUT_RDWR)
