"""The process that reads what is risky: one document after the other, each within its time and its memory.

It has nothing of ours but the document: no environment, no open files, and what it answers is JSON. It ends when
nobody asks it for a while, when who asks is gone, and after a document that took much memory.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from typing import Final

from arshai_kit.documents.parsing import extracted
from arshai_kit.documents.records import Limits
from arshai_kit.documents.wire import HEADER, asked, packed, packed_error
from arshai_kit.errors import BadDocument, DocumentTooLarge

__all__ = ["answers", "main"]

IDLE: Final = 60.0
_ROOM: Final = 256 * 1024 * 1024
_PAGE: Final = 4096


def main(file: int = 0) -> None:
    """Answer whoever holds the other end of the socket *file*, by default the standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides what an interrupt ends
    _warm()
    with socket.socket(fileno=file) as place:
        answers(place, _space())


def _warm() -> None:
    """Load what is needed, so that it is not counted as a document's."""
    for name in ("pypdfium2", "selectolax.lexbor"):
        try:
            __import__(name)
        except ImportError:
            continue


def answers(place: socket.socket, before: int) -> None:
    """Answer what is asked at *place*, until nobody asks; *before* is the address space without a document."""
    while True:
        place.settimeout(IDLE)
        try:
            head = _received(place)
            place.settimeout(None)
            data = _received(place)
        except (OSError, EOFError):
            return
        reply, whole = _answer(head, data, before)
        done = whole or _space() - before > _ROOM
        place.sendall(b"%*d%d" % (HEADER, len(reply), done) + reply)
        if done:
            return


def _received(place: socket.socket) -> bytearray:
    """The next message; `EOFError`, if there comes none."""
    size = int(_exactly(place, HEADER))
    return _exactly(place, size)


def _exactly(place: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    got = 0
    while got < size:
        if not (count := place.recv_into(view[got:])):
            raise EOFError
        got += count
    return data


def _answer(head: bytes | bytearray, data: bytearray, before: int) -> tuple[bytes, bool]:
    """The document, or the error; whether this process is worn out."""
    kind, limits = asked(head)
    try:
        _bound(limits, before)
        return packed(extracted(kind, bytes(data), limits)), False
    except MemoryError:
        return packed_error(DocumentTooLarge(_needs(limits))), True
    except ImportError as error:
        return packed_error(error), False
    except BadDocument as error:
        return packed_error(error), False
    finally:
        _limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)  # what is yet to be received is no document's


def _needs(limits: Limits) -> str:
    return f"it needs more than {limits.memory:,} bytes of memory: memory= of Limits"


def _bound(limits: Limits, before: int) -> None:
    """Let the kernel hold this document to its memory, and to its time also if who asks is gone."""
    _limit(resource.RLIMIT_AS, before + limits.memory)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + limits.seconds) + 2)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    soft = value if hard == resource.RLIM_INFINITY else hard if value == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (soft, hard))


def _space() -> int:
    """How much address space this process has."""
    try:
        fd = os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:  # not Linux
        return 512 * 1024 * 1024
    try:
        return int(os.read(fd, 100).split()[0]) * resource.getpagesize()
    finally:
        os.close(fd)
