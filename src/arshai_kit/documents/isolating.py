"""Reading in a process of its own, which is ended when it takes too long or too much, and else used again."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
from functools import cache
from threading import Lock
from time import monotonic
from typing import Final

from arshai_kit.documents.records import Document, Limits
from arshai_kit.documents.wire import HEADER, question, unpacked
from arshai_kit.errors import BadDocument, DocumentTooLarge, Misuse

__all__ = ["isolated"]

_CODE: Final = "import sys; sys.path[:] = sys.argv[1:]; from arshai_kit.documents.worker import main; main()"
_STARVED: Final = frozenset({signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGKILL})
_KEPT: Final = tuple("PATH LD_LIBRARY_PATH DYLD_LIBRARY_PATH LANG LC_ALL TMPDIR".split())


def isolated(kind: str, data: bytes, limits: Limits) -> Document:
    """The document of media type *kind* in *data*, read by another process."""
    children = _children(os.getpid())
    while True:
        child = children.take()
        try:
            reply, last = child.asked(question(kind, limits), data, limits)
        except _Gone:
            child.end()
            continue
        except BaseException:
            child.end()
            raise
        if last:
            child.end()
        else:
            children.give(child)
        return unpacked(reply)


class _Gone(Exception):
    """A process that nobody asked for a while has ended by itself."""


class _Child:
    """A process that reads documents, and our end of the socket to it."""

    def __init__(self) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            raise _cannot("there is no Python to be started here")
        self.place, theirs = socket.socketpair()
        path = [each or os.getcwd() for each in sys.path]  # noqa: PTH109  # as Python takes an empty one
        try:
            with theirs:
                self.process = subprocess.Popen(  # noqa: S603  # this very Python, and a line of ours
                    [sys.executable, "-I", "-c", _CODE, *path],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={name: os.environ[name] for name in _KEPT if name in os.environ},
                )
        except OSError as error:
            self.place.close()
            raise _cannot(str(error)) from error
        self.used = False

    def asked(self, head: bytes, data: bytes, limits: Limits) -> tuple[bytes, bool]:
        """What it answers; whether that was its last answer."""
        until = monotonic() + limits.seconds
        fresh, self.used = not self.used, True
        try:
            self._send(b"%*d" % (HEADER, len(head)) + head + b"%*d" % (HEADER, len(data)), until)
            self._send(data, until)
            told = self._receive(HEADER + 1, until)
            return self._receive(int(told[:HEADER]), until), told[HEADER:] != b"0"
        except TimeoutError:
            raise DocumentTooLarge(
                f"reading it took more than {limits.seconds:g} seconds: seconds= of Limits"
            ) from None
        except (OSError, EOFError):
            code = self.process.wait()
            if code == 0 and not fresh:
                raise _Gone from None
            if code > 0 and fresh:
                raise _cannot(f"it ended at once, with {code}") from None
            raise _broken(code, limits) from None

    def _send(self, data: bytes, until: float) -> None:
        self.place.settimeout(_left(until))
        self.place.sendall(data)

    def _receive(self, size: int, until: float) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        got = 0
        while got < size:
            self.place.settimeout(_left(until))
            if not (count := self.place.recv_into(view[got:])):
                raise EOFError
            got += count
        return bytes(data)

    def end(self) -> None:
        """End it, whatever it does."""
        self.place.close()
        self.process.kill()
        self.process.wait()


def _left(until: float) -> float:
    if (left := until - monotonic()) <= 0:
        raise TimeoutError
    return left


def _cannot(why: str) -> Misuse:
    return Misuse(f"no process can be started to read documents in ({why}): Limits(isolated=False) reads them here")


def _broken(code: int, limits: Limits) -> BadDocument:
    """Why a process ended that was to answer: who gets no memory in C++ aborts, and the kernel kills."""
    if -code in _STARVED:
        why = f"reading it needs more than {limits.memory:,} bytes of memory (memory= of Limits)"
        return DocumentTooLarge(f"{why}, or it is made to do harm: the process that read it ended by signal {-code}")
    return BadDocument(f"it is damaged, or made to do harm: the process that read it ended with {code}")


class _Children:
    """The processes that wait for a document; as many as were asked at one time."""

    def __init__(self) -> None:
        self.lock, self.process = Lock(), os.getpid()
        self.idle: list[_Child] = []
        atexit.register(self.close)

    def take(self) -> _Child:
        """One that waits, or a new one."""
        with self.lock:
            if self.idle:
                return self.idle.pop()
        return _Child()

    def give(self, child: _Child) -> None:
        """Let *child* wait for the next document."""
        with self.lock:
            self.idle.append(child)

    def close(self) -> None:
        """End all that wait; a fork that ends leaves them to its parent."""
        if os.getpid() != self.process:
            return
        with self.lock:
            idle, self.idle = self.idle, []
        for child in idle:
            child.end()


@cache
def _children(process: int) -> _Children:  # noqa: ARG001  # a fork has none of its parent's
    return _Children()
