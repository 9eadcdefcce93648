"""Public addresses, reached by awaiting: what `public` decides, performed on an event loop."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import anyio

from arshai_kit._transport.blame import unconnected
from arshai_kit._transport.public import all_public, only_public

if TYPE_CHECKING:
    from anyio.abc import SocketStream

    from arshai_kit._transport.exchange import Exchange
    from arshai_kit._transport.public import Found

__all__ = ["check_public", "connect_public"]


async def check_public(exchange: Exchange, host: str, port: int) -> None:
    """Raise unless all addresses of *host* are public: it is others who connect to one of them."""
    all_public(host, await _found(exchange, host, port))


async def connect_public(exchange: Exchange, host: str, port: int) -> SocketStream:
    """A connection to the first public address of *host* that takes one."""
    found = only_public(host, await _found(exchange, host, port))
    refused: OSError = OSError("its name has no address")
    for tried, (*_, address) in enumerate(found):
        # Each gets its share of the time, so that one which swallows packets leaves some for the next.
        with anyio.move_on_after(exchange.left_to_connect() / (len(found) - tried)):
            try:
                return await anyio.connect_tcp(str(address[0]), port)  # a number: nothing is looked up again
            except OSError as error:
                refused = error
    exchange.left_to_connect()
    raise refused


async def _found(exchange: Exchange, host: str, port: int) -> list[Found]:
    try:
        return list(await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        raise unconnected(exchange, error) from error
