"""What an assistant says in Chat Completions, read into parts; each keeps what has to go back with it.

State of ours is `{"chat": provider, …}`, so that nothing goes to a provider that did not send it:
*field* names the message field that a thought came in, *details* are its `reasoning_details`, *part* the rest of its
entry in a list of content, *extra* the unknown keys of a call, *legacy* a call in the shape before `tool_calls`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from arshai_kit._json import dumps, exact
from arshai_kit.records import Image, Message, Opaque, Part, Text, Thinking, ToolCall

__all__ = ["call", "calls", "detail_text", "fits", "message", "odd_call", "thought", "void"]

THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_SHAPES: dict[str, Any] = {
    "role": object,
    "name": object,
    "content": (str, list, dict),
    "reasoning_details": list,
    "tool_calls": list,
    "function_call": dict,
    "images": list,
    **dict.fromkeys(THOUGHTS, str),
}
"""The fields that are read, and what they hold."""
_OF_CALL = frozenset({"id", "type", "index", "function"})


def message(wire: Mapping[str, Any], provider: str, called: Iterable[Part]) -> Message:
    """The message that *wire* is, making the calls that were *called*; what is not known is kept as it came."""
    unknown = [
        Opaque(name, value, state=None if name == "refusal" else {"chat": provider})
        for name, value in wire.items()
        if not fits(name, value) and not void(value)
    ]
    images = [part for each in _list(wire.get("images")) for part in _content_part(each, provider, "images")]
    return Message(
        "assistant",
        (*_thinking(wire, provider), *_content(wire.get("content"), provider), *images, *called, *unknown),
    )


def fits(name: str, value: Any) -> bool:
    """Whether *value* is what is read under *name*; what is not is kept as it came.

    >>> fits("content", "Hi"), fits("content", 7), fits("novel", "Hi")
    (True, False, False)
    """
    return isinstance(value, _SHAPES.get(name, ()))


def void(value: Any) -> bool:
    """Whether *value* says nothing: one provider sends every field that it knows, empty.

    >>> void({"id": "", "data": {"size": 0}}), void({"id": "a"})
    (True, False)
    """
    if isinstance(value, dict):
        return all(map(void, value.values()))
    return not value


def thought(wire: Mapping[str, Any]) -> tuple[str, str]:
    """What *wire* thinks, and the name of the field that tells; a text that comes under two names counts once."""
    for name in THOUGHTS:
        text = wire.get(name)
        if text and isinstance(text, str):
            return text, name
    return "".join(map(detail_text, _list(wire.get("reasoning_details")))), ""


def detail_text(detail: Any) -> str:
    """The words of one of the `reasoning_details`, if it has any to show."""
    text = (detail.get("text") or detail.get("summary")) if isinstance(detail, dict) else ""
    return text if isinstance(text, str) else ""


def _thinking(wire: Mapping[str, Any], provider: str) -> Iterator[Thinking]:
    text, name = thought(wire)
    details = _list(wire.get("reasoning_details"))
    if text or details:
        state: dict[str, Any] = {"chat": provider}
        if name:
            state["field"] = name
        if details:
            state["details"] = details
        yield Thinking(text, state=state)


def _content(content: Any, provider: str) -> Iterator[Part]:
    match content:
        case None | "":
            pass
        case str():
            yield Text(content)
        case list():
            for each in content:
                yield from _content_part(each, provider, "content")
        case dict():  # one provider sends the object that was asked for
            yield Text(dumps(content).decode())


def _content_part(each: Any, provider: str, place: str) -> Iterator[Part]:
    match each:
        case str() if each:
            yield Text(each)
        case {"type": "text", "text": str(text), **rest}:
            if text:
                yield Text(text, state={"chat": provider, "part": rest} if rest else None)
        case {"type": "thinking", "thinking": [{"type": "text", "text": str(text), **other}], **rest} if not other:
            yield Thinking(text, state={"chat": provider, "part": rest})
        case {"type": "image_url", "image_url": {"url": str(url), **other}, **rest} if not other:
            yield _image(url, {"chat": provider, "field": place, "part": rest})
        case _ if each:
            kind = str(each.get("type", "part")) if isinstance(each, dict) else "part"
            yield Opaque(kind, each, state={"chat": provider, "field": place})


def _image(url: str, state: dict[str, Any]) -> Image:
    head, _, body = url.partition(";base64,")
    if head.startswith("data:"):
        try:
            return Image(base64.b64decode(body, validate=True), "", head[5:], state=state)
        except binascii.Error:
            pass  # then it is what it is: an address
    return Image(b"", url, state=state)


def calls(wire: Mapping[str, Any], provider: str, *, complete: bool) -> Iterator[Part]:
    """The calls that *wire* makes; one that is told in both shapes counts once."""
    told = _list(wire.get("tool_calls"))
    for each in told:
        function = each.get("function") if isinstance(each, dict) else None
        if isinstance(function, dict):
            extra = {name: value for name, value in each.items() if name not in _OF_CALL and not void(value)}
            state = {"chat": provider, "extra": extra} if extra else None
            name, text = str(function.get("name") or ""), function.get("arguments")
            yield call(str(each.get("id") or ""), name, text, complete=complete, state=state)
        elif not void(each):
            yield odd_call(each, provider)
    legacy = wire.get("function_call")
    if isinstance(legacy, dict) and legacy.get("name") and not told:
        mark = {"chat": provider, "legacy": True}
        yield call("", str(legacy["name"]), legacy.get("arguments"), complete=complete, state=mark)


def odd_call(wire: Any, provider: str) -> Opaque:
    """What stands among the calls and is none that we know."""
    return Opaque("tool_calls", wire, state={"chat": provider, "field": "tool_calls"})


def call(key: str, name: str, arguments: Any, *, complete: bool, state: Any = None) -> ToolCall:
    """The call whose *arguments* are JSON text; none at all are none only if the reply is *complete*, else cut.

    >>> call("c1", "add", '{"a":', complete=True)
    ToolCall('c1', name='add', broken='{"a":')
    """
    if isinstance(arguments, dict):
        return ToolCall(key, name, arguments, state=state)
    text = arguments if isinstance(arguments, str) else "" if arguments is None else dumps(arguments).decode()
    if complete and not text.strip():
        return ToolCall(key, name, state=state)
    try:
        value = exact(text)
        if isinstance(value, dict):
            return ToolCall(key, name, value, state=state)
    except ValueError:  # also of JSON that is nested too deep for a record
        pass
    return ToolCall(key, name, broken=text, state=state)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
