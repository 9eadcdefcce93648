"""A stream without a socket: a layer that answers `Open`, `Read` and `Close` with bytes that a test writes."""

from __future__ import annotations

from collections.abc import Sequence

from arshai_kit.effects import Channel, Close, Layer, Open, Plan, Read, Where
from arshai_kit.errors import Unreachable

__all__ = ["wired"]


def wired(pieces: Sequence[bytes], *, cut: bool = False) -> Layer:
    """Answer every request with *pieces*, read one by one; *cut* breaks the connection behind them."""
    left: list[bytes] = []

    def on_open(_effect: Open, _where: Where) -> Plan[Channel]:
        yield from ()
        left[:] = [piece for piece in pieces if piece]
        return Channel(1, 200, (("content-type", "text/event-stream"),))

    def on_read(_effect: Read, _where: Where) -> Plan[bytes]:
        yield from ()
        if not left and cut:
            raise Unreachable("the connection broke")
        return left.pop(0) if left else b""

    def on_close(_effect: Close, _where: Where) -> Plan[None]:
        yield from ()

    return {Open: on_open, Read: on_read, Close: on_close}
