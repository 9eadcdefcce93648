"""TLS inside TLS, for an https address behind an https proxy: what `SSLContext.wrap_socket` cannot do."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["Nested"]

PIECE = 64 * 1024


class Nested:
    """A socket's face for TLS that runs inside the TLS of *outer*."""

    def __init__(self, outer: socket.socket, context: ssl.SSLContext, name: str | None) -> None:
        self.outer = outer
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._unsent = b""
        self._accepted = 0

    def settimeout(self, seconds: float) -> None:
        """Let an operation on the outer socket take so long."""
        self.outer.settimeout(seconds)

    def do_handshake(self) -> None:
        """Agree with the server on keys."""
        self._perform(self._tls.do_handshake)

    def recv(self, most: int) -> bytes:
        """At most *most* bytes as soon as there are any, none at the end."""
        with suppress(ssl.SSLZeroReturnError, ssl.SSLEOFError):
            data: bytes = self._perform(lambda: self._tls.read(most))
            return data
        return b""

    def send(self, data: memoryview) -> int:
        """Send some of *data* and say how much; may be called again with the same after a time-out."""
        if not self._unsent:
            self._accepted = self._tls.write(data[:PIECE])
        self._flush()
        return self._accepted

    def close(self) -> None:
        """Close the outer socket."""
        self.outer.close()

    def fileno(self) -> int:
        """The file descriptor of the outer socket."""
        return self.outer.fileno()

    def _perform(self, act: Callable[[], Any]) -> Any:
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                self._flush()
            else:
                self._flush()
                return result
            if data := self.outer.recv(PIECE):
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _flush(self) -> None:
        unsent = memoryview(self._unsent + self._outgoing.read())
        try:
            while unsent:
                unsent = unsent[self.outer.send(unsent) :]
        finally:
            self._unsent = bytes(unsent)
