"""Recorded streams as bytes: which there are, and how they are cut into what a network read brings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import frozen

HERE = Path(__file__).parent.parent / "tests" / "wire" / "data"
"""The recordings that come with the tests."""
OPERATIONS: Mapping[str, str] = MappingProxyType(
    {"chat": "chat", "responses": "responses", "streamGenerateContent": "gemini"}
)
"""Which dialect an operation is spoken in."""
PIECE = 16 * 1024
_EVENT_END = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")


@frozen
class Recorded:
    """A recorded stream: its headers, and its bytes in pieces."""

    name: str
    headers: tuple[tuple[str, str], ...]
    pieces: tuple[bytes, ...]

    @property
    def body(self) -> bytes:
        """All bytes."""
        return b"".join(self.pieces)


def folder(given: Path | None) -> Path:
    """Where recordings are: as *given*, as `ARSHAI_WIRE` says, or those of the tests."""
    named = given or (Path(os.environ["ARSHAI_WIRE"]) if os.environ.get("ARSHAI_WIRE") else None)
    if named is None:
        return HERE
    return named / "data" if (named / "data").is_dir() else named


def streams(given: Path) -> Mapping[str, Sequence[Recorded]]:
    """The recorded streams under *given*, by the dialect that they are in."""
    found: dict[str, list[Recorded]] = {dialect: [] for dialect in OPERATIONS.values()}
    for path in sorted(given.rglob("*.json")):
        for exchange in exchanges(json.loads(path.read_text("utf-8"))):
            found[OPERATIONS[exchange["operation"]]].append(recorded(exchange))
    return found


def exchanges(conversation: Any) -> Iterator[Any]:
    """The exchanges of *conversation* whose reply is a stream of events."""
    for exchange in conversation.get("exchanges", ()) if isinstance(conversation, dict) else ():
        if exchange["body_format"] == "sse" and exchange["status"] < 300 and exchange["operation"] in OPERATIONS:
            yield exchange


def recorded(exchange: Any) -> Recorded:
    """The stream of *exchange*, in one piece."""
    headers = tuple(exchange["response_headers"].items())
    return Recorded(exchange["id"], headers, (exchange["response_body"].encode(),))


def in_pieces(streams: Iterable[Recorded]) -> tuple[Recorded, ...]:
    """*streams* as a fast network brings them: in pieces of 16 KiB."""
    return tuple([Recorded(each.name, each.headers, tuple(cut(each.body))) for each in streams])


def by_event(streams: Iterable[Recorded]) -> tuple[Recorded, ...]:
    """*streams* as providers write them: a piece for each event. No recording tells where the network cut it."""
    return tuple(
        [Recorded(each.name, each.headers, tuple(filter(None, _EVENT_END.split(each.body)))) for each in streams]
    )


def cut(data: bytes, size: int = PIECE) -> Iterator[bytes]:
    """*data* in pieces of *size* bytes.

    >>> list(cut(b"abcde", 2))
    [b'ab', b'cd', b'e']
    """
    for place in range(0, len(data), size):
        yield data[place : place + size]
