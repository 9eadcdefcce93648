"""A name server for tests, and a say in what is public, which nothing outside of tests has."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from attrs import define, field

from arshai_kit._transport import public

REAL = socket.getaddrinfo


@define
class Names:
    """Answers for each name in turn, the last one for ever; *asked* tells which names were looked up."""

    answers: dict[str, Sequence[Sequence[str]]]
    asked: list[str] = field(factory=list)

    def look_up(self, host: Any, port: Any, *options: Any, **named: Any) -> Any:
        """What stands in the place of `socket.getaddrinfo`; addresses are none of its business."""
        name = host.decode() if isinstance(host, bytes) else host
        try:
            ip_address(name)
        except ValueError:
            if name not in self.answers:
                return REAL(host, port, *options, **named)
            if (options[3:4] or (named.get("flags", 0),))[0] & socket.AI_NUMERICHOST:
                raise socket.gaierror(socket.EAI_NONAME, "no number") from None  # trio tries this first
        else:
            return REAL(host, port, *options, **named)
        turn = self.asked.count(name)
        self.asked.append(name)
        found = self.answers[name][min(turn, len(self.answers[name]) - 1)]
        return [row for address in found for row in REAL(address, port, type=socket.SOCK_STREAM)]


def naming(patch: pytest.MonkeyPatch, **answers: Sequence[Sequence[str]]) -> Names:
    """The names of *answers* under `.test`, each look-up of one giving its next answer."""
    names = Names({f"{name}.test": given for name, given in answers.items()})
    patch.setattr(socket, "getaddrinfo", names.look_up)
    return names


def publish(patch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let *addresses* and no others be public."""
    patch.setattr(public, "is_public", lambda address: address in addresses)
