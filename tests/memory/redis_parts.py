"""Parts around the server that speaks Redis' language: a way to it that fails, a standby that takes over, a cluster."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.resilience.redis_server import RedisServer

__all__ = ["LONG", "Way", "cluster", "hold_still", "patient", "redis_client", "standby", "take_over", "way_to"]

LONG = 60.0
CERTIFICATE = Path(__file__).parent.parent / "transport" / "server.pem"


def patient(done: Callable[[], Any], what: str) -> Any:
    """What *done* gives once it gives something; a shared machine is slow at times."""
    until = time.monotonic() + LONG
    while not (found := done()):
        assert time.monotonic() < until, what
        time.sleep(0.01)
    return found


@contextmanager
def redis_client(kind: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
    """A client made by *kind*, closed in the end."""
    client = kind(*args, **kwargs)
    try:
        yield client
    finally:
        client.close()


# -- a way to the server --


@define
class Way:
    """A TCP relay to *port*, which may lose what the server answers, or keep it waiting.

    With *every*, each reply of that number is lost, and its connection with it; while it is *held*, none comes through.
    """

    port: int
    every: int = 0
    secure: bool = False
    lost: int = 0
    _next: bool = False
    _held: threading.Event = field(factory=threading.Event)
    _count: int = 0
    _lock: threading.Lock = field(factory=threading.Lock)
    _threads: list[threading.Thread] = field(factory=list)
    _open: list[socket.socket] = field(factory=list)
    _listening: Any = None

    @property
    def url(self) -> str:
        """Where it begins."""
        port = self._listening.getsockname()[1]
        if not self.secure:
            return f"redis://127.0.0.1:{port}/0"
        return f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={CERTIFICATE}"

    def hold(self) -> None:
        """Let nothing of what the server answers through."""
        self._held.clear()

    def release(self) -> None:
        """Let it through again."""
        self._held.set()

    def lose_next(self) -> None:
        """Lose the next reply."""
        with self._lock:
            self._next = True

    def cut(self) -> None:
        """Break all its connections."""
        with self._lock:
            for each in self._open:
                _shut(each)

    def start(self) -> None:
        """Be there."""
        self._held.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._run(self._accept)

    def stop(self) -> None:
        """Be gone, and every thread with it."""
        _shut(self._listening)
        self.release()
        self.cut()
        for thread in self._threads:
            thread.join(LONG)
            assert not thread.is_alive()
        for each in (self._listening, *self._open):
            each.close()

    def _run(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        context = None
        if self.secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:  # it was stopped
                return
            self._run(self._relay, near, context)

    def _relay(self, near: socket.socket, context: ssl.SSLContext | None) -> None:
        """Bring one connection to the server and back."""
        with self._lock:
            self._open.append(near)
        try:
            if context is not None:
                near = context.wrap_socket(near, server_side=True)
                with self._lock:
                    self._open.append(near)
            far = socket.create_connection(("127.0.0.1", self.port), LONG)
        except OSError:
            _shut(near)
            return
        with self._lock:
            self._open.append(far)
        far.settimeout(None)
        self._run(self._pump, near, far, lambda: False)
        self._pump(far, near, self._loses)

    def _pump(self, from_: socket.socket, to: socket.socket, loses: Callable[[], bool]) -> None:
        with suppress(OSError):
            while (data := from_.recv(65536)) and not loses():
                to.sendall(data)
        _shut(from_)
        _shut(to)

    def _loses(self) -> bool:
        """Whether the reply that has come is lost."""
        self._held.wait(LONG)
        with self._lock:
            self._count += 1
            lost = self._next or (bool(self.every) and self._count % self.every == 0)
            self._next = False
            self.lost += lost
            return lost


def _shut(connection: socket.socket) -> None:
    """Wake whoever waits for it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def way_to(server: RedisServer, every: int = 0, *, secure: bool = False) -> Iterator[Way]:
    """A way to *server*."""
    way = Way(server.port, every, secure)
    way.start()
    try:
        yield way
    finally:
        way.stop()


# -- a standby, and who decides that it takes over --


@contextmanager
def standby(folder: Path) -> Iterator[tuple[RedisServer, RedisServer, Any]]:
    """A server, its replica, and the `Sentinel` of a process that makes this the master when that is gone."""
    from redis import sentinel as sentinels

    with ExitStack() as stack:
        parts = [folder / name for name in ("master", "replica", "sentinel")]
        for part in parts:
            part.mkdir()
        quick = ("--repl-diskless-sync-delay", "0")
        master = stack.enter_context(RedisServer(parts[0], options=quick))
        following = ("--replicaof", f"127.0.0.1 {master.port}", *quick)
        replica = stack.enter_context(RedisServer(parts[1], options=following))
        told = stack.enter_context(redis_client(replica.client))
        patient(lambda: told.info("replication")["master_link_status"] == "up", "the replica finds no master")
        config = parts[2] / "sentinel.conf"
        config.write_text(
            f"sentinel monitor ours 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds ours 600000\n"  # a busy machine is no dead one: `take_over` says when
            "sentinel failover-timeout ours 2000\n"
        )
        watching = stack.enter_context(RedisServer(parts[2], config=config))
        made: Any = sentinels.Sentinel  # it is untyped
        sentinel = made([("127.0.0.1", watching.port)], socket_timeout=LONG)
        for each in sentinel.sentinels:
            stack.callback(each.close)
        patient(lambda: sentinel.discover_slaves("ours"), "the sentinel finds no replica")
        yield master, replica, sentinel


def take_over(master: RedisServer, sentinel: Any) -> None:
    """Kill *master*, and have the sentinel make its replica the master."""
    from redis import ResponseError

    master.kill()

    def begun() -> bool:
        try:
            sentinel.sentinels[0].execute_command("SENTINEL", "FAILOVER", "ours")
        except ResponseError as error:
            return "INPROG" in str(error)
        return True

    patient(begun, "the sentinel finds no good replica")


def hold_still(master: RedisServer) -> None:
    """Let *master* write nothing more, and its replica have all that it has written."""
    with redis_client(master.client) as client:
        client.client_pause(int(1000 * LONG), all=False)

        def has_all() -> bool:
            told = client.info("replication")
            return bool(told["slave0"]["offset"] >= told["master_repl_offset"])

        patient(has_all, "the replica does not follow")


# -- a cluster --


@contextmanager
def cluster(folder: Path, nodes: int = 3) -> Iterator[tuple[RedisServer, ...]]:
    """Servers that share the keys among them."""
    with ExitStack() as stack:
        servers = []
        for number in range(nodes):
            place = folder / f"node-{number}"
            place.mkdir()
            servers.append(stack.enter_context(RedisServer(place, clustered=True)))
        clients = [stack.enter_context(redis_client(server.client)) for server in servers]
        for number, client in enumerate(clients):
            first, last = (16384 * place // nodes for place in (number, number + 1))
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for client in clients[1:]:
            where = servers[0]
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", where.port, where.bus)

        def whole() -> bool:
            told = [client.execute_command("CLUSTER", "INFO") for client in clients]
            return all(b"cluster_state:ok" in each and b"cluster_known_nodes:%d\r" % nodes in each for each in told)

        patient(whole, "the cluster does not come together")
        yield tuple(servers)
