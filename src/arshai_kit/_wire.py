"""The logger `arshai_kit.wire`: requests and replies at DEBUG, keys removed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from arshai_kit.effects import Channel, Open, Read, Reply, Request, Secret, Send

if TYPE_CHECKING:
    from logging import Logger

__all__ = ["answered", "asked", "logger"]

_LONGEST = 20_000
_PRIVATE = r"(?i)auth|key|token|secret|cookie|password"


def logger() -> Logger | None:
    """The logger, if anybody listens to it: nobody does who has not imported `logging`."""
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    found: Logger = logging.getLogger("arshai_kit.wire")
    return found if found.isEnabledFor(logging.DEBUG) else None


def asked(log: Logger, request: Request) -> None:
    """Log a request that is about to be sent."""
    log.debug(
        "> %s %s\n%s\n%s",
        request.method,
        re.sub(r"(?i)([?&][^=&]*(?:key|token|secret)[^=&]*=)[^&]*", r"\1***", request.url),
        _headers(request.headers),
        _text(request.content, request),
    )


def answered(log: Logger, effect: Any, value: Any, error: BaseException | None) -> None:
    """Log what came back for *effect*, if it is an exchange."""
    match effect, value:
        case ((Send() | Open() | Read()), _) if error is not None:
            log.debug("< %s: %s", type(error).__name__, error)
        case Send(request), Reply(status, headers, body):
            log.debug("< %s\n%s\n%s", status, _headers(headers), _text(body, request))
        case Open(), Channel(_, status, headers):
            log.debug("< %s\n%s", status, _headers(headers))
        case Read(), bytes():
            log.debug("< %s", _text(value, None))


def _headers(headers: Iterable[tuple[str, str | Secret]]) -> str:
    return "\n".join([f"{name}: {'***' if re.search(_PRIVATE, name) else value}" for name, value in headers])


def _text(data: bytes, request: Request | None) -> str:
    """*data* to read, without the keys that went with *request*, should a server repeat them."""
    text = data[:_LONGEST].decode("utf-8", "replace")
    for _, value in request.headers if request else ():
        if isinstance(value, Secret):
            text = text.replace(value.reveal().removeprefix("Bearer "), "***")
    return text if len(data) <= _LONGEST else f"{text}… ({len(data):,} bytes)"
