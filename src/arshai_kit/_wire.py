"""The logger `arshai_kit.wire`: requests and replies at DEBUG, keys removed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from arshai_kit.effects import Channel, Open, Read, Reply, Request, Secret, Send, hidden, private, veiled

if TYPE_CHECKING:
    from logging import Logger

__all__ = ["Listening", "answered", "asked", "logger"]

_LONGEST = 20_000


class Listening:
    """The logger of one run, and what it must not show: the keys that went out, in each form a server may repeat."""

    __slots__ = ("held", "log", "secrets")

    def __init__(self, log: Logger) -> None:
        self.log = log
        self.secrets: list[bytes] = []  # appended to by any thread that sends, never changed otherwise
        self.held: dict[int, bytes] = {}

    def learn(self, secret: str) -> None:
        """Never show *secret*."""
        from urllib.parse import quote  # only for those who listen

        for each in (secret, secret.partition(" ")[2]):
            for form in (each, each.replace("/", "\\/"), quote(each, safe="")):
                if form and (data := form.encode()) not in self.secrets:
                    self.secrets.append(data)

    def shown(self, data: bytes) -> str:
        """*data* to read, not too much of it."""
        secrets = sorted(self.secrets, key=len, reverse=True)
        if len(data) <= _LONGEST:
            return _masked(data, secrets).decode(errors="replace")
        more = len(secrets[0]) if secrets else 0
        text = _masked(data[: _LONGEST + more], secrets).decode(errors="replace")
        return f"{text[: len(text) - more]}… ({len(data):,} bytes)"  # what is left off may be half a key

    def piece(self, number: int, data: bytes) -> str:
        """What one read of a stream brings to read: the beginning of a key waits for the rest of it."""
        data = self.held.pop(number, b"") + data
        for place in range(max(0, len(data) - max(map(len, self.secrets), default=0)), len(data)):
            if any(len(data) - place < len(each) and each.startswith(data[place:]) for each in self.secrets):
                self.held[number], data = data[place:], data[:place]
                break
        return self.shown(data)


def logger() -> Listening | None:
    """The logger, if anybody listens to it: nobody does who has not imported `logging`."""
    if "logging" not in sys.modules:
        return None
    import logging  # waits for whoever is importing it right now in another thread

    found: Logger = logging.getLogger("arshai_kit.wire")
    return Listening(found) if found.isEnabledFor(logging.DEBUG) else None


def asked(wire: Listening, request: Request) -> None:
    """Log a request that is about to be sent."""
    for name, value in request.headers:
        if isinstance(value, Secret) or private(name):
            wire.learn(value.reveal() if isinstance(value, Secret) else value)
    for value in hidden(request.url):
        wire.learn(value)
    url = veiled(request.url)
    wire.log.debug("> %s %s\n%s\n%s", request.method, url, _headers(wire, request.headers), wire.shown(request.content))


def answered(wire: Listening, effect: Any, value: Any, error: BaseException | None) -> None:
    """Log what came back for *effect*, if it is an exchange."""
    log = wire.log
    match effect, value:
        case ((Send() | Open() | Read()), _) if error is not None:
            log.debug("< %s: %s", type(error).__name__, wire.shown(str(error).encode(errors="replace")))
        case Send(), Reply(status, headers, body):
            log.debug("< %s\n%s\n%s", status, _headers(wire, headers), wire.shown(body))
        case Open(), Channel(_, status, headers):
            log.debug("< %s\n%s", status, _headers(wire, headers))
        case Read(channel), bytes() if text := wire.piece(channel.number, value):
            log.debug("< %s", text)


def _headers(wire: Listening, headers: Iterable[tuple[str, str | Secret]]) -> str:
    told = [(name, "***" if private(name) else str(value)) for name, value in headers]
    return "\n".join([f"{name}: {wire.shown(value.encode(errors='replace'))}" for name, value in told])


def _masked(data: bytes, secrets: Iterable[bytes]) -> bytes:
    """*data* without *secrets*, longest first.

    >>> _masked(b"Bearer sk-123 is wrong", [b"Bearer sk-123", b"sk-123"])
    b'*** is wrong'
    """
    for secret in secrets:
        data = data.replace(secret, b"***")
    return data
