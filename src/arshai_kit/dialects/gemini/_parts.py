"""Parts as Gemini sends them, read into parts; each keeps what has to go back with it.

State of ours is `{"gemini": provider, …}`, so that nothing goes to a provider that did not send it: *part* holds the
other keys of the part (its signature among them), *call* those of a call and *blob* those of a medium, *id* the id that
a call was given, if it was. *field* marks what a candidate tells about its content, which never goes back.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

from arshai_kit._json import dumps, exact, loads
from arshai_kit.records import Audio, File, Image, Opaque, Part, Text, Thinking, ToolCall

__all__ = ["about", "call", "feedback", "parts", "read"]

_OF_CALL: Final = frozenset({"id", "name", "args", "willContinue", "partialArgs"})
_BESIDES: Final = frozenset({"thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"})
"""Keys of a part that say something about its content, rather than being it."""
_ABOUT: Final = ("citationMetadata", "groundingMetadata", "urlContextMetadata")


def read(data: bytes) -> Any:
    """*data* as JSON; arguments of a call, which are part of it, keep whole numbers of any size.

    >>> read(b'{"functionCall": {"name": "add", "args": {"a": 36893488147419103233}}}')["functionCall"]["args"]
    {'a': 36893488147419103233}
    """
    return exact(data.decode()) if b"functionCall" in data else loads(data)


def parts(content: Any, provider: str) -> list[Part]:
    """The parts of *content*; what is not known is kept as it came, in its place."""
    told = content.get("parts") if isinstance(content, dict) else None
    found: list[Part] = []
    for wire in told if isinstance(told, list) else ():
        if isinstance(wire, dict):
            text = wire.get("text")
            if text and type(text) is str and len(wire) == 1:  # as most are
                found.append(Text(text))
            else:
                found += _part(wire, provider)
        elif wire is not None:
            found.append(Opaque("part", wire, state={"gemini": provider}))
    return found


def about(candidate: Mapping[str, Any], provider: str, *, why: bool) -> Iterator[Opaque]:
    """What *candidate* tells about its content: sources, and *why* it ended as it did."""
    for name in (*_ABOUT, *(("finishMessage", "safetyRatings") if why else ())):
        if candidate.get(name):
            yield Opaque(name, candidate[name], state={"gemini": provider, "field": "candidate"})


def feedback(body: Mapping[str, Any], provider: str) -> Iterator[Opaque]:
    """Why the prompt was refused, if it was."""
    told = body.get("promptFeedback")
    if isinstance(told, dict) and (told.get("blockReason") or told.get("blockReasonMessage")):
        yield Opaque("promptFeedback", told, state={"gemini": provider, "field": "candidate"})


def _part(wire: Mapping[str, Any], provider: str) -> Iterator[Part]:
    match wire:
        case {"functionCall": {"name": str(name)} as told} if name:
            yield call(told, _rest(wire, "functionCall"), provider)
        case {"text": str(text), "thought": True}:
            yield from _thought(text, _rest(wire, "text", "thought"), provider)
        case {"text": str(text)}:
            rest = _rest(wire, "text")
            if text or rest:
                yield Text(text, state={"gemini": provider, "part": rest} if rest else None)
        case {"inlineData": {"data": str(data), "mimeType": str(kind)} as blob} if not wire.get("thought"):
            yield _medium(wire, blob, data, kind, provider)
        case {"fileData": {"fileUri": str(url)} as blob}:
            yield _file(wire, blob, url, provider)
        case _ if wire:
            yield _opaque(wire, provider)


def _thought(text: str, rest: dict[str, Any], provider: str) -> Iterator[Thinking]:
    if text or rest:
        yield Thinking(text, state={"gemini": provider, "part": rest})


def call(told: Mapping[str, Any], rest: Mapping[str, Any], provider: str) -> ToolCall:
    """The call that *told* is, with the other keys of its part; one that was to go on is broken off.

    >>> call({"name": "add", "args": {"a": 1}}, {"thoughtSignature": "c2ln"}, "gemini").state
    {'gemini': 'gemini', 'part': {'thoughtSignature': 'c2ln'}}
    """
    key, name, args = told.get("id"), str(told["name"]), told.get("args")
    more = {name: value for name, value in told.items() if name not in _OF_CALL}
    given = {"id": key} if isinstance(key, str) and key else {}
    state = {"gemini": provider, **given, **({"part": rest} if rest else {}), **({"call": more} if more else {})}
    if told.get("willContinue"):
        return ToolCall(given.get("id", ""), name, broken=dumps(args or {}).decode()[:-1], state=state)
    if args is None or isinstance(args, dict):
        return ToolCall(given.get("id", ""), name, args or {}, state=state)
    return ToolCall(given.get("id", ""), name, broken=dumps(args).decode(), state=state)


def _medium(wire: Mapping[str, Any], blob: Mapping[str, Any], data: str, kind: str, provider: str) -> Part:
    """A picture, sound or file, if its bytes can be given back as the same text."""
    try:
        found = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if base64.b64encode(found).decode() != data:
        return _opaque(wire, provider)
    more = {name: value for name, value in blob.items() if name not in ("data", "mimeType")}
    return _of_kind(kind, found, "", _media_state(wire, "inlineData", more, provider))


def _file(wire: Mapping[str, Any], blob: Mapping[str, Any], url: str, provider: str) -> Part:
    kind = blob.get("mimeType")
    more = {name: value for name, value in blob.items() if name not in ("fileUri", "mimeType")}
    state = _media_state(wire, "fileData", more, provider)
    return _of_kind(kind if isinstance(kind, str) else "", b"", url, state)


def _media_state(wire: Mapping[str, Any], key: str, more: dict[str, Any], provider: str) -> dict[str, Any]:
    rest = _rest(wire, key)
    return {"gemini": provider, **({"part": rest} if rest else {}), **({"blob": more} if more else {})}


def _of_kind(kind: str, data: bytes, url: str, state: dict[str, Any]) -> Part:
    if kind.startswith("image/"):
        return Image(data, url, kind, state=state)
    if kind.startswith("audio/"):
        return Audio(data, url, kind, state=state)
    return File(data, url, kind, state=state)


def _opaque(wire: Mapping[str, Any], provider: str) -> Opaque:
    kind = next((name for name in wire if name not in _BESIDES), "part")
    return Opaque(kind, wire, state={"gemini": provider})


def _rest(wire: Mapping[str, Any], *known: str) -> dict[str, Any]:
    return {name: value for name, value in wire.items() if name not in known}
