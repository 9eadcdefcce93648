"""What a provider puts out in the Responses API, read into parts; each keeps what has to go back with it.

State of ours is `{"responses": provider, …}`, so that nothing goes to a provider that did not send it: *item* is the
item that the part came in, without what the part says itself, *part* the rest of its entry of content, and *stored*
says that the provider keeps the item, so that its id means something there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from arshai_kit.dialects.chat._message import call, void
from arshai_kit.records import Opaque, Part, Text, Thinking, ToolCall

__all__ = ["BREAK", "called", "mark", "parts", "thoughts"]

Wire = Mapping[str, Any]

_OF_MESSAGE = frozenset({"type", "role", "content"})
_OF_TEXT = frozenset({"type", "text", "logprobs"})
_OF_CALL = frozenset({"type", "call_id", "name", "arguments", "status"})
_GOING_ON = frozenset({"incomplete", "in_progress"})
BREAK = "\n\n"
"""What stands between two thoughts."""


def mark(provider: str, *, stored: bool) -> dict[str, Any]:
    """What the state of every part begins with.

    >>> mark("openai", stored=False)
    {'responses': 'openai'}
    """
    return {"responses": provider, "stored": True} if stored else {"responses": provider}


def parts(output: Iterable[Any], provider: str, *, stored: bool, complete: bool = True) -> Iterator[Part]:
    """The parts that the items of *output* are, in their order; one that is not *complete* may yet go on."""
    sign, thought = mark(provider, stored=stored), False
    for item in output:
        match item:
            case {"type": "message", "content": list() | str() as content} if item.get("role") in ("assistant", None):
                yield from _message(item, content, sign)
            case {"type": "reasoning"}:
                text = BREAK.join(thoughts(item))
                yield Thinking(BREAK + text if text and thought else text, state={**sign, "item": item})
                thought = thought or bool(text)
            case {"type": "function_call"}:
                yield called(item, sign, complete=complete)
            case dict() if item:
                yield Opaque(str(item.get("type", "item")), item, state=sign)


def thoughts(item: Wire) -> list[str]:
    """The summaries of the reasoning *item*, and what it shows of the reasoning itself.

    >>> thoughts({"summary": [{"type": "summary_text", "text": "I add."}], "encrypted_content": "gAAA"})
    ['I add.']
    """
    summaries, shown = _texts(item.get("summary")), _texts(item.get("content"))
    return summaries + [each for each in shown if each not in summaries]  # some tell the same in both places


def _texts(told: Any) -> list[str]:
    entries = told if isinstance(told, list) else []
    texts = [each.get("text") for each in entries if isinstance(each, dict)]
    return [text for text in texts if text and isinstance(text, str)]


def called(item: Wire, sign: Wire, *, complete: bool = True) -> ToolCall:
    """The call that *item* is; arguments that were not written are none, unless it was cut or is not *complete*."""
    rest = {name: value for name, value in item.items() if name not in _OF_CALL and not void(value)}
    state = {**sign, "item": rest}
    key = str(item.get("call_id") or item.get("id") or "")
    status = item.get("status")
    going_on = isinstance(status, str) and status in _GOING_ON
    complete = status == "completed" or (complete and not going_on)
    return call(key, str(item.get("name") or ""), item.get("arguments"), complete=complete, state=state)


def _message(item: Wire, content: Any, sign: Wire) -> Iterator[Part]:
    rest = {name: value for name, value in item.items() if name not in _OF_MESSAGE and value is not None}
    state = {**sign, "item": rest}
    for each in [{"type": "output_text", "text": content}] if isinstance(content, str) else content:
        match each:
            case {"type": "output_text", "text": str(text)}:
                more = {name: value for name, value in each.items() if name not in _OF_TEXT and not void(value)}
                yield Text(text, state={**state, "part": more} if more else state)
            case {"type": "refusal", "refusal": str(why)}:
                yield Opaque("refusal", why, state=state)
            case dict() if each:
                yield Opaque(str(each.get("type", "part")), each, state={**state, "field": "content"})
