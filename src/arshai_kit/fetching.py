"""What lies at an address and can only be sent as bytes: fetched, within limits, from public addresses alone."""

from __future__ import annotations

from typing import Final, TypeAlias

from attrs import evolve

from arshai_kit.effects import Now, Plan, Reply, Request, Send
from arshai_kit.errors import BadReply, Misuse
from arshai_kit.records import Audio, File, Image, Message, Part, ToolResult

__all__ = ["MAX_BYTES", "SECONDS", "Media", "MustFetch", "fetched", "replaced"]

Media: TypeAlias = Image | File | Audio

MAX_BYTES: Final = 20 * 1024 * 1024
SECONDS: Final = 30.0


class MustFetch(Misuse):
    """A dialect can send *part* only as bytes, and it has but an address; whoever asks a model fetches it then."""

    def __init__(self, part: Media) -> None:
        kind = type(part).__name__.lower()
        super().__init__(f"this model takes no address of {kind}s; it is fetched when the model is asked")
        self.part = part


def fetched(part: Media, until: float) -> Plan[Media]:
    """*part* with the bytes that lie at its address."""
    now = yield from Now()
    request = Request("GET", part.url, timeout=SECONDS, max_body=MAX_BYTES, public=True)
    reply = yield from Send(request, min(until, now + SECONDS))
    if reply.status != 200:
        raise BadReply(f"{part.url} answers HTTP {reply.status}", status=reply.status)
    return evolve(part, data=reply.body, url="", media_type=part.media_type or _type(reply))


def _type(reply: Reply) -> str:
    return dict(reply.headers).get("content-type", "").partition(";")[0].strip().lower()


def replaced(message: Message, old: Media, new: Media) -> Message:
    """*message*, with *new* in the place of *old*, also in what tools answered."""
    if all(part is not old and type(part) is not ToolResult for part in message.parts):
        return message
    return evolve(message, parts=tuple([_replaced(part, old, new) for part in message.parts]))


def _replaced(part: Part, old: Media, new: Media) -> Part:
    if isinstance(part, ToolResult) and not isinstance(part.content, str):
        return evolve(part, content=tuple([_replaced(each, old, new) for each in part.content]))
    return new if part == old else part
