"""Messages as items of the Responses API; each part goes back with what came on it, to the provider that sent it.

An id goes back only where it means something: on an item that the provider keeps, or that carries its own content
encrypted. Any other id makes the provider look for what it has not kept, and refuse the question.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from arshai_kit.dialects.exchange import fitting, misplaced
from arshai_kit.errors import Unsupported
from arshai_kit.fetching import MustFetch
from arshai_kit.models import written
from arshai_kit.records import Audio, File, Image, Message, Opaque, Part, Text, Thinking, ToolCall, ToolResult

__all__ = ["items"]

Wire = dict[str, Any]

_SOUNDS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "mp4": "m4a", "x-m4a": "m4a"}
_READ = ("http://", "https://", "data:")
_CONTENT = ("input_", "output_text", "refusal", "summary_text")
_OF_SERVER = frozenset({"id", "status"})
_CARRIES = ("encrypted_content", "content")
_LONGEST = 64
"""The most characters that the id of a call may have."""


def items(said: Iterable[Message], provider: str) -> list[Wire]:
    """The items that *said* is, as *provider* takes them."""
    wires: list[Wire] = []
    for message in said:
        role, parts = message.role, message.parts
        if len(parts) == 1 and type(part := parts[0]) is Text and part.state is None:
            wires.append({"role": role, "content": part.text})  # most messages, and long histories of them
        elif role == "assistant":
            _assistant(parts, provider, wires)
        else:
            _given(role, parts, provider, wires)
    return wires


# What is told to the model


def _given(role: str, parts: Iterable[Part], provider: str, wires: list[Wire]) -> None:
    """Put *parts* behind *wires*: as content of one message, and items of their own as they are."""
    content: list[Wire] = []
    for part in parts:
        if type(part) is ToolResult:
            wires.append({"type": "function_call_output", "call_id": _id(part), "output": _result(part, provider)})
        elif (item := _own(part, provider)) is not None:
            wires.append(item)
        else:
            content += _told(part, provider)
    if content:
        wires.append({"role": "user" if role == "tool" else role, "content": content})


def _own(part: Part, provider: str) -> Wire | None:
    """The item that *part* is by itself: an approval, say, or the output of a tool of the provider's."""
    match part:
        case Opaque(value=dict(value)) if part.state is None or _ours(part, provider):
            entry = str(value.get("type", "input_")).startswith(_CONTENT)
            return None if entry else dict(value)
    return None


def _id(part: ToolCall | ToolResult) -> str:
    return fitting(part.id, _LONGEST)


def _result(part: ToolResult, provider: str) -> str | list[Wire]:
    if isinstance(part.content, str):
        failed = part.is_error and not part.content.lower().startswith("error")
        return f"Error: {part.content}" if failed else part.content
    said = (Text("Error:"), *part.content) if part.is_error else part.content
    wires = [wire for each in said for wire in _told(each, provider)]
    return wires or ""


def _told(part: Part, provider: str) -> list[Wire]:
    tell = _TOLD.get(type(part))
    return [] if tell is None else [{**wire, **_ours(part, provider).get("part", {})} for wire in tell(part, provider)]


def _text(part: Text, _: str) -> Iterator[Wire]:
    yield {"type": "input_text", "text": part.text}


def _image(part: Image, _: str) -> Iterator[Wire]:
    _check(part.url)
    wire = {"type": "input_image", "image_url": part.url or _data_url(part.media_type or "image/png", part.data)}
    yield {**wire, "detail": part.detail} if part.detail else wire


def _file(part: File, _: str) -> Iterator[Wire]:
    _check(part.url)
    if part.url:
        yield {"type": "input_file", "file_url": part.url}
    else:
        data = _data_url(part.media_type or "application/octet-stream", part.data)
        name = part.name or "file." + (part.media_type.rpartition("/")[2] or "bin")
        yield {"type": "input_file", "filename": name, "file_data": data}


def _audio(part: Audio, _: str) -> Iterator[Wire]:
    if part.url:
        raise MustFetch(part)
    kind = part.media_type.rpartition("/")[2] or "wav"
    sound = {"data": base64.b64encode(part.data).decode(), "format": _SOUNDS.get(kind, kind)}
    yield {"type": "input_audio", "input_audio": sound}


def _entry(part: Opaque, provider: str) -> Iterator[Wire]:
    """An entry of content that a user made, or that came from *provider*."""
    if isinstance(part.value, dict) and (part.state is None or _ours(part, provider)):
        yield dict(part.value)


def _check(url: str) -> None:
    """Refuse an address that only another service reads."""
    if url and not url.lower().startswith(_READ):
        raise Unsupported(f"the Responses API cannot read {url[:80]}: give the bytes, or an http: or https: address")


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


_TOLD: dict[type, Callable[[Any, str], Iterator[Wire]]] = {
    Text: _text,
    Image: _image,
    File: _file,
    Audio: _audio,
    Opaque: _entry,
    ToolCall: misplaced,
}


# What the model has said


def _assistant(parts: Iterable[Part], provider: str, wires: list[Wire]) -> None:
    """Put what the model said behind *wires*: entries of content that came in one item go back in one.

    A thought goes back with what it led to: one that led to nothing, for the answer was cut, would be refused.
    """
    before = len(wires)
    said: Mapping[str, Any] | None = None
    content: list[Wire] = []
    for part in parts:
        entry = _said(part, provider)
        if entry is None:
            said = None
            wires += _item(part, provider)
            continue
        state = _ours(part, provider)
        rest = state.get("item", {})
        if said is None or rest != said:
            said, content = rest, []
            wires.append({"role": "assistant", "content": content, **_back(rest, state)})
        content.append(entry)
    while len(wires) > before and wires[-1].get("type") == "reasoning":
        del wires[-1]


def _said(part: Part, provider: str) -> Wire | None:
    """*part* as an entry of the content of a message, if it is one."""
    match part:
        case Text(text) if text or _ours(part, provider):
            return {"type": "output_text", "text": text, **_ours(part, provider).get("part", {})}
        case Opaque(kind="refusal", value=str(why)):
            return {"type": "refusal", "refusal": why}
        case Opaque(value=dict(value)) if _ours(part, provider).get("field") == "content":
            return dict(value)
    return None


def _item(part: Part, provider: str) -> list[Wire]:
    """The item of its own that *part* is, if it is any; thoughts of another model are none."""
    match part:
        case ToolCall():
            state = _ours(part, provider)
            call = {"type": "function_call", "call_id": _id(part), "name": part.name, "arguments": written(part)}
            return [{**_back(state.get("item", {}), state), **call}]
        case Thinking():
            return _thinking(_ours(part, provider))
        case Image() | File() | Audio():  # there is no place in what a model says; as the user's it is at least seen
            return [{"role": "user", "content": _told(part, provider)}]
    item = _own(part, provider)
    return [] if item is None else [item]


def _thinking(state: Mapping[str, Any]) -> list[Wire]:
    """The item of a thought, unless it is but a reference to what the provider has not kept."""
    item = state.get("item", {})
    return [dict(item)] if state.get("stored") or any(item.get(name) for name in _CARRIES) else []


def _back(rest: Mapping[str, Any], state: Mapping[str, Any]) -> Wire:
    """What of the *rest* of an item goes back; an item that is known by its id says its type."""
    if state.get("stored"):
        return {"type": "message", **rest} if rest else {}
    return {name: value for name, value in rest.items() if name not in _OF_SERVER}


def _ours(part: Any, provider: str) -> Mapping[str, Any]:
    """The state of *part*, if it came from *provider* in this dialect."""
    state = part.state
    return state if type(state) is not str and isinstance(state, Mapping) and state.get("responses") == provider else {}
