"""A server of raw sockets that breaks HTTP in every way a test asks for, and proxies to stand before it."""

from __future__ import annotations

import contextlib
import gzip
import select
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import TypeVar

import pytest
from attrs import define, field

T = TypeVar("T")

PEM = Path(__file__).with_name("server.pem")
"""A certificate for localhost and 127.0.0.1 that signs itself, with its key: for tests alone, worth nothing."""

SOON = 30.0
"""Seconds that nothing here ever takes, unless it hangs."""


def reply(body: bytes = b"hello", *more: str, status: str = "200 OK") -> bytes:
    """A whole reply, its length told."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    """A reply in chunks, with its end or without."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + (b"0\r\n\r\n" if end else b"")


def raw_deflate(data: bytes) -> bytes:
    """Deflate without the zlib frame, as some servers send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def bomb(size: int) -> bytes:
    """A small gzip body that becomes *size* bytes."""
    return gzip.compress(bytes(size))


@define
class Peer:
    """One connection, seen from the server."""

    sock: socket.socket
    number: int
    seen: list[bytes] = field(factory=list)
    body: bytes = b""
    _buffer: bytes = b""

    def request(self) -> bytes:
        """The head of the next request, once its body has come too; empty when the client has hung up."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                return b""
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        while len(self._buffer) < size:
            if not self._more():
                return b""
        self.body, self._buffer = self._buffer[:size], self._buffer[size:]
        self.seen.append(head)
        return head

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self.sock.sendall(data)

    def drip(self, data: bytes, gone: Event) -> None:
        """Send *data* byte by byte, slowly, until the client hangs up or the test is over."""
        for byte in data:
            self.send(bytes([byte]))
            if gone.wait(0.05):
                return

    def hung_up(self) -> bool:
        """Wait until the client hangs up."""
        return not self._more()

    def reset(self) -> None:
        """Hang up in the rudest way."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self._buffer += data
        return bool(data)


Behaviour = Callable[[Peer], None]


class Server:
    """Accepts connections and lets *behave* do with each what it will, in a thread of its own."""

    def __init__(self, behave: Behaviour, *, tls: bool = False) -> None:
        self.behave = behave
        self.peers: list[Peer] = []
        self.over = Event()
        self.gone = Event()
        self.errors: list[BaseException] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._tls = server_context() if tls else None
        self._threads = [Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def heads(self) -> list[bytes]:
        """The heads of all requests that came."""
        return [head for peer in self.peers for head in peer.seen]

    def close(self) -> None:
        """Stop, and wake whoever waits in a behaviour."""
        self.over.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(peer.sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SOON)
        assert not any(thread.is_alive() for thread in self._threads)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            thread = Thread(target=self._serve, args=(sock, len(self.peers)), daemon=True)
            self.peers.append(Peer(sock, len(self.peers)))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        peer = self.peers[number]
        sock.settimeout(SOON)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._tls is not None:
                peer.sock = sock = self._tls.wrap_socket(sock, server_side=True)
            self.behave(peer)
        except OSError:
            self.gone.set()
        except BaseException as error:
            self.errors.append(error)
        finally:
            peer.sock.close()


def server_context() -> ssl.SSLContext:
    """What a server with the tests' certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    return context


@contextlib.contextmanager
def serving(behave: Behaviour, *, tls: bool = False) -> Iterator[Server]:
    """A server that behaves so, while the block runs; what went wrong in it fails the test."""
    server = Server(behave, tls=tls)
    try:
        yield server
    finally:
        server.close()
        if server.errors:
            raise server.errors[0]


def always(data: bytes) -> Behaviour:
    """Answer each request with *data*, and keep the connection."""

    def behave(peer: Peer) -> None:
        while peer.request():
            peer.send(data)

    return behave


def once(data: bytes) -> Behaviour:
    """Answer one request with *data*, and hang up."""

    def behave(peer: Peer) -> None:
        if peer.request():
            peer.send(data)

    return behave


def echo(peer: Peer) -> None:
    """Answer each request with its own head."""
    while head := peer.request():
        peer.send(reply(head))


def silent(peer: Peer) -> None:
    """Take a request and never answer."""
    peer.request()
    peer.hung_up()


def proxying(peer: Peer) -> None:
    """Be a proxy: open tunnels, and answer requests for other hosts oneself."""
    while head := peer.request():
        method, target, _ = head.split(b" ", 2)
        if method != b"CONNECT":
            peer.send(reply(b"by proxy: " + target))
            continue
        host, _, port = target.decode().rpartition(":")
        with socket.create_connection((host, int(port)), SOON) as upstream:
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            relay(peer.sock, upstream)
        return


def socks(peer: Peer) -> None:
    """Be a SOCKS5 proxy that asks for no name."""
    peer.sock.recv(4096)
    peer.send(b"\5\0")
    if not (request := peer.sock.recv(4096)):
        return
    size = request[4]
    host = request[5 : 5 + size] if request[3] == 3 else b".".join(b"%d" % byte for byte in request[4:8])
    port = int.from_bytes(request[-2:], "big")
    with socket.create_connection((host.decode(), port), SOON) as upstream:
        peer.send(b"\5\0\0\1\0\0\0\0\0\0")
        relay(peer.sock, upstream)


def relay(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes both ways until either side ends; in one thread, since a TLS socket serves only one at a time."""
    facing = {one: other, other: one}
    while True:
        held = [sock for sock in facing if isinstance(sock, ssl.SSLSocket) and sock.pending()]
        ready = held or select.select(list(facing), [], [], SOON)[0]
        for source in ready:
            if not (data := source.recv(65536)):
                return
            facing[source].sendall(data)


def at_some_pace(act: Callable[[float], T]) -> T:
    """What *act* gives at the first pace that this machine keeps up with.

    For a law about how two times compare: it holds however long they both are, so whoever breaks it breaks it at every
    pace, and a machine that was busy for a moment does not.
    """
    for pace in (1.0, 5.0):
        try:
            return act(pace)
        except (Exception, pytest.fail.Exception):  # whatever it is, the last pace decides
            continue
    return act(25.0)


def eventually(holds: Callable[[], object]) -> None:
    """Wait until *holds* does; fail when it never will."""
    deadline = monotonic() + SOON
    tick = threading.Event()
    while not holds():
        assert monotonic() < deadline, "this never came about"
        tick.wait(0.005)
