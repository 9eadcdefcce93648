"""Messages as contents; each part goes back with what came on it, to the provider that sent it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from arshai_kit._json import loads
from arshai_kit.dialects.exchange import misplaced, signature
from arshai_kit.errors import Unsupported
from arshai_kit.fetching import MustFetch
from arshai_kit.models import Endpoint, written
from arshai_kit.records import Audio, File, Image, Message, Opaque, Part, Text, Thinking, ToolCall, ToolResult

__all__ = ["contents", "generation", "instruction"]

Wire = dict[str, Any]
Calls = dict[str, tuple[int, ToolCall]]
"""The calls that were made, by their ids, each with its place among those of its turn."""

_GENERATION: Final = re.compile(r"(?:.*/)?gemini-(\d+(?:\.\d+)?)")
_FILES: Final = re.compile(
    r"https?://[^/?#]*(?:googleapis\.com/[^?#]*/files/|(?<![^./])youtube\.com/|(?<![^./])youtu\.be/)"
)
"""Addresses that Google reads itself: files that were put there before, and videos."""
_UNSIGNED: Final = "skip_thought_signature_validator"
_KINDS: Final = {
    "aac": "audio/aac", "avi": "video/avi", "csv": "text/csv", "flac": "audio/flac", "gif": "image/gif",
    "heic": "image/heic", "html": "text/html", "jpeg": "image/jpeg", "jpg": "image/jpeg", "json": "application/json",
    "md": "text/markdown", "mov": "video/mov", "mp3": "audio/mpeg", "mp4": "video/mp4", "ogg": "audio/ogg",
    "pdf": "application/pdf", "png": "image/png", "txt": "text/plain", "wav": "audio/wav", "webm": "video/webm",
    "webp": "image/webp",
}  # fmt: skip
_MEDIA: Final = (Image, File, Audio)


def generation(name: str) -> float | None:
    """Which Gemini the model *name* is, if the name says so.

    >>> generation("gemini-2.5-flash"), generation("gemini-3-pro-preview"), generation("gemini-flash-latest")
    (2.5, 3.0, None)
    """
    match = _GENERATION.match(name)
    return float(match[1]) if match else None


@frozen
class _Reader:
    """Who will read: *fresh* is one that takes media in a tool's result, and wants calls to be signed."""

    provider: str
    fresh: bool


def instruction(messages: Iterable[Message], provider: str) -> Wire | None:
    """What the system says in *messages*, wherever it does: Gemini has one place for it."""
    reader = _Reader(provider, fresh=False)
    told = [part for each in messages if each.role == "system" for part in each.parts]
    said = [wire for part in told for wire in _told(part, reader)]
    return {"parts": said} if said else None


def contents(messages: Iterable[Message], endpoint: Endpoint) -> list[Wire]:
    """The turns of *messages*, but for what the system says; the results of a turn's tools are one turn."""
    fresh = generation(endpoint.name)
    reader = _Reader(signature(endpoint), fresh=fresh is None or fresh >= 3)
    found: list[Wire] = []
    calls: Calls = {}
    results: list[Part] = []
    for message in messages:
        if message.role == "tool":
            results += message.parts
            continue
        if results:
            found += _answers(results, calls, reader)
            results = []
        if message.role == "assistant":
            calls |= {call.id: (place, call) for place, call in enumerate(message.tool_calls)}
            found += _model(message, reader)
        elif message.role == "user" and (wires := _asked(message, calls, reader)):
            found.append({"role": "user", "parts": wires})
    return found + _answers(results, calls, reader)


def _asked(message: Message, calls: Calls, reader: _Reader) -> list[Wire]:
    """What the user says in *message*: what is no word at all is left out, a result stands in its place."""
    wires: list[Wire] = []
    for part in message.parts:
        if type(part) is ToolResult:
            answer, media = _answer(part, calls, reader)
            wires += [answer, *media]
        else:
            wires += _told(part, reader)
    return wires


def _model(message: Message, reader: _Reader) -> Iterator[Wire]:
    """The turn that *message* is, unless nothing of it can be told."""
    wires = [wire for part in message.parts for wire in _said(part, reader)]
    if reader.fresh and not any("thoughtSignature" in wire for wire in wires):
        called = [place for place, wire in enumerate(wires) if "functionCall" in wire]
        if called:  # calls that no such model has made are refused, unless they say that they cannot be signed
            wires[called[0]] = {**wires[called[0]], "thoughtSignature": _UNSIGNED}
    if wires:
        yield {"role": "model", "parts": wires}


def _told(part: Any, reader: _Reader) -> list[Wire]:
    """*part*, told to the model, which alone makes calls."""
    return misplaced(part) if type(part) is ToolCall else _said(part, reader)


def _said(part: Any, reader: _Reader) -> list[Wire]:
    """*part*, unless it is words that are none: they go only back where they came from."""
    if type(part) is Text and not part.text and not _ours(part, reader):
        return []
    return _wires(part, reader)


def _answers(parts: list[Part], calls: Calls, reader: _Reader) -> list[Wire]:
    """The turn that answers *calls*, in their order, by which calls without ids are known; the rest stands behind."""
    last = len(calls)
    results = [part for part in parts if type(part) is ToolResult]
    wires: list[Wire] = []
    behind: list[Wire] = []
    for result in sorted(results, key=lambda each: calls[each.id][0] if each.id in calls else last):
        answer, media = _answer(result, calls, reader)
        wires.append(answer)
        behind += media
    wires += behind + [wire for part in parts for wire in _told(part, reader)]  # a result is none of these
    return [{"role": "user", "parts": wires}] if wires else []


def _answer(result: ToolResult, calls: Calls, reader: _Reader) -> tuple[Wire, list[Wire]]:
    """The part that *result* is, and the media that stand behind it where they cannot be in it."""
    call = calls[result.id][1] if result.id in calls else None
    inside = (Text(result.content),) if isinstance(result.content, str) else result.content
    text = "".join([part.text for part in inside if type(part) is Text])
    wire: Wire = {"name": result.name or (call.name if call else ""), "response": {_key(result): text}}
    given = _ours(call, reader).get("id") if call is not None else None
    if given:
        wire = {"id": given, **wire}
    media = [each for part in inside if isinstance(part, _MEDIA) for each in _wires(part, reader)]
    if media and reader.fresh:
        return {"functionResponse": {**wire, "parts": media}}, []
    return {"functionResponse": wire}, media


def _key(result: ToolResult) -> str:
    return "error" if result.is_error else "output"


def _ours(part: Any, reader: _Reader) -> Mapping[str, Any]:
    """The state of *part*, if it came from this provider in this dialect."""
    state = part.state
    mine = type(state) is not str and isinstance(state, Mapping) and state.get("gemini") == reader.provider
    return state if mine else {}


def _besides(part: Any, reader: _Reader) -> Mapping[str, Any]:
    """The other keys of the part that *part* came as."""
    rest: Mapping[str, Any] = _ours(part, reader).get("part", {})
    return rest


# Parts


def _text(part: Text, reader: _Reader) -> list[Wire]:
    return [{"text": part.text, **_besides(part, reader)}]


def _thinking(part: Thinking, reader: _Reader) -> list[Wire]:
    """What another model thought is told to nobody."""
    return [{"text": part.text, "thought": True, **_besides(part, reader)}] if _ours(part, reader) else []


def _call(part: ToolCall, reader: _Reader) -> list[Wire]:
    state = _ours(part, reader)
    given = {"id": state["id"]} if "id" in state else {}
    args = part.arguments if part.broken is None else _mended(part)
    told = {**given, "name": part.name, "args": args, **state.get("call", {})}
    return [{"functionCall": told, **state.get("part", {})}]


def _mended(part: ToolCall) -> Any:
    """Arguments that were no object, as one: what they were is told, so that the model sees what was wrong."""
    try:
        value = loads(written(part))
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"arguments": written(part)}


def _image(part: Image, reader: _Reader) -> list[Wire]:
    return _medium(part, "image/png", reader)


def _file(part: File, reader: _Reader) -> list[Wire]:
    return _medium(part, "application/octet-stream", reader)


def _audio(part: Audio, reader: _Reader) -> list[Wire]:
    return _medium(part, "audio/wav", reader)


def _medium(part: Image | File | Audio, kind: str, reader: _Reader) -> list[Wire]:
    state = _ours(part, reader)
    more, rest = state.get("blob", {}), state.get("part", {})
    if not part.url:
        data = base64.b64encode(part.data).decode()
        return [{"inlineData": {"mimeType": part.media_type or kind, "data": data, **more}, **rest}]
    if not (state or part.url.startswith("gs://") or _FILES.match(part.url)):
        if not part.url.startswith(("http://", "https://")):
            raise Unsupported(f"Gemini cannot read {part.url[:80]}: give the bytes, or an http: or gs: address")
        raise MustFetch(part)
    found = part.media_type or ("" if state else _guessed(part.url))
    return [{"fileData": {**({"mimeType": found} if found else {}), "fileUri": part.url, **more}, **rest}]


def _guessed(url: str) -> str:
    """The media type that the name of a file in a bucket tells; videos elsewhere need none."""
    return _KINDS.get(url.rpartition(".")[2].lower(), "") if url.startswith("gs://") else ""


def _opaque(part: Opaque, reader: _Reader) -> list[Wire]:
    """What a user made, or came from this provider as a part of the content."""
    state = _ours(part, reader)
    mine = part.state is None or (state and "field" not in state)
    return [dict(part.value)] if mine and isinstance(part.value, dict) else []


def _nothing(_: Any, __: _Reader) -> list[Wire]:
    return []


_PARTS: Final[Mapping[type, Callable[[Any, _Reader], list[Wire]]]] = {
    Text: _text,
    Thinking: _thinking,
    ToolCall: _call,
    Image: _image,
    File: _file,
    Audio: _audio,
    Opaque: _opaque,
    ToolResult: _nothing,
}


def _wires(part: Any, reader: _Reader) -> list[Wire]:
    """What *part* is on the wire."""
    return _PARTS[type(part)](part, reader)
