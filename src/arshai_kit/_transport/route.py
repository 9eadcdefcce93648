"""What a request looks like on the wire, with everything that is the same for each call made once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from attrs import frozen

from arshai_kit.errors import Misuse

if TYPE_CHECKING:
    from arshai_kit.effects import Request, Secret

__all__ = ["AGENT", "STREAMED", "WHOLE", "Route", "head", "named", "route_to", "sent_headers"]


class RawHeaders(list[tuple[bytes, bytes]]):
    """Headers as they are sent; a traceback that shows its variables shows only their names.

    >>> RawHeaders([(b"authorization", b"Bearer sk-1")])
    <headers: authorization>
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<headers: {', '.join([name.decode('latin-1') for name, _ in self])}>"


# Compression pays for a whole reply; a stream must not wait in a compressor of the server.
WHOLE = (b"accept-encoding", b"gzip, deflate")
STREAMED = (b"accept-encoding", b"identity")
AGENT = (b"user-agent", b"arshai-kit")


@frozen
class Route:
    """An address, taken apart as the wire wants it; *name* is how messages call the server at *origin*."""

    scheme: str
    host: str
    port: int
    target: bytes
    name: str
    origin: str
    host_header: tuple[bytes, bytes]


def route_to(url: str) -> Route:
    """The way to *url*.

    >>> route = route_to("https://api.example.com/v1/chat?a=b c#there")
    >>> route.name, route.host, route.port, route.target
    ('api.example.com', 'api.example.com', 443, b'/v1/chat?a=b%20c')
    """
    try:
        parts = urlsplit(url)
        host, port, secret = parts.hostname or "", parts.port, parts.username or parts.password
        host = host if host.isascii() else host.encode("idna").decode()
    except ValueError as error:
        raise Misuse(f"base_url= is no address: {_shown(url)!r} ({error})") from error
    if parts.scheme not in ("http", "https") or not host or host.startswith(".") or ".." in host:
        raise Misuse(f"base_url= must begin with http:// or https:// and name a host, not {_shown(url)!r}")
    if secret:
        raise Misuse(f"base_url= must not hold a user or password ({host}); send an authorization header instead")
    default = 443 if parts.scheme == "https" else 80
    shown = f"[{host}]" if ":" in host else host
    name = shown if port in (None, default) else f"{shown}:{port}"
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{_query(parts.query)}" if parts.query else "")
    return Route(
        parts.scheme, host, port or default, target.encode(), name, f"{parts.scheme}://{name}", (b"host", name.encode())
    )


def _query(text: str) -> str:
    return quote(text, safe="/%:@!$&'()*+,;=~?[]")


def _shown(url: str) -> str:
    """*url* without what may be secret.

    >>> _shown("htp://me:pass@a.com/x?key=1")
    'htp://a.com/x'
    """
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0])


@lru_cache(maxsize=512)
def _name(name: str) -> bytes:
    return name.lower().encode("latin-1")


def head(request: Request, route: Route, accepted: tuple[bytes, bytes]) -> RawHeaders:
    """The headers of *request* as bytes, and those that the wire wants beside them."""
    headers = RawHeaders()
    for name, value in request.headers:
        if not _is_sendable(value):  # what raises here must not hold the text: some tracebacks show variables
            wrong = "a line break, a space at an end, or a letter outside ASCII"
            raise Misuse(f"the value of the header {name!r} cannot be sent: it holds {wrong}")
        headers.append((_name(name), _text(value).encode()))
    given = {name for name, _ in headers}
    if request.method == "GET" and not request.content:
        given.add(b"content-length")  # which servers that guard others may take for an attack
    wanted = (route.host_header, accepted, AGENT, (b"content-length", b"%d" % len(request.content)))
    return RawHeaders([*(pair for pair in wanted if pair[0] not in given), *headers])


def _text(value: str | Secret) -> str:
    return value if isinstance(value, str) else value.reveal()


def _is_sendable(value: str | Secret) -> bool:
    text = _text(value)
    return text.isascii() and text.isprintable() and text.strip() == text


def sent_headers(request: Request, accepted: tuple[bytes, bytes]) -> RawHeaders:
    """The headers of *request*, for a client that adds those of the wire."""
    sent = head(request, _NOWHERE, accepted)
    return RawHeaders([pair for pair in sent if pair[0] not in (b"host", b"content-length", AGENT[0])])


@lru_cache(maxsize=256)
def named(url: str) -> str:
    """How messages call the server at *url*."""
    return route_to(url).name


_NOWHERE = Route("http", "", 80, b"/", "", "", (b"host", b""))
