"""Questions as bodies of Chat Completions; each part goes back with what came on it, to the provider that sent it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from attrs import field, frozen

from arshai_kit._json import dumps, loads
from arshai_kit._record import Record
from arshai_kit.dialects.chat._message import detail_text, void
from arshai_kit.dialects.exchange import fitting, has_tools, located, misplaced, posted, signature, under
from arshai_kit.effects import Request
from arshai_kit.errors import Misuse
from arshai_kit.fetching import MustFetch
from arshai_kit.models import Ask, Endpoint, OutputSpec, Settings, chosen, written
from arshai_kit.records import Audio, File, Image, Message, Opaque, Text, Thinking, ToolCall, ToolResult, ToolSpec

__all__ = ["STANDARD", "Style", "body", "messages", "request"]

Wire = dict[str, Any]

_SENT = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("candidates", "n"),
    ("stop", "stop"),
)
_OF_TOOLS = frozenset({"auto", "none", "required"})
_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "mp4": "m4a", "x-m4a": "m4a"}
_CALLING = frozenset({"tool_calls", "function_call"})
_OF_WORDS = frozenset({"type", "text", "format", "index", "id"})
"""What a detail of a thought holds that is no more than words."""
_STAYS = frozenset({"provider_metadata", "executed_tools", "channel", "token_ids", "prefix"})
"""Fields that are only ever told: sent back, they are refused or of no use."""


def _kinds(kinds: Iterable[str]) -> frozenset[str]:
    return frozenset(kinds)


@frozen(eq=False, repr=False)
class Style(Record):
    """Where providers differ in what they take.

    *limit* names the field for the most tokens, *effort* says whether the effort of reasoning is a field of its own,
    or belongs into the object `reasoning`, which also takes a number of tokens. *addresses* are the kinds of parts
    that may go as an address; others are fetched first. *hint* says whether the schema may go along where only JSON
    is asked for. A message that only calls has an *empty* text as its content, or none: no form is taken everywhere
    (llama-cpp-python wants the text, what stands before Bedrock wants none, and `null` is refused by the former too).
    An id of a call that another provider gave is replaced where it is longer than *longest_id*, and with *plain_ids*
    where it is not just so many letters and digits.
    """

    limit: str = "max_tokens"
    effort: bool = True
    addresses: frozenset[str] = field(default=frozenset({"image"}), converter=_kinds)
    hint: bool = True
    empty: bool = True
    longest_id: int | None = None
    plain_ids: bool = False


STANDARD = Style()


def request(endpoint: Endpoint, ask: Ask, style: Style, *, stream: bool) -> Request:
    """The HTTP request that puts *ask* to *endpoint*; the headers of the endpoint win."""
    wire = body(endpoint, ask, style, stream=stream)
    return posted(endpoint, under(located(endpoint), "/chat/completions"), wire, stream=stream)


def body(endpoint: Endpoint, ask: Ask, style: Style, *, stream: bool) -> Wire:
    """The body of the request; what is not set is not sent, and what is `extra` wins, and adds to tools."""
    settings = chosen(endpoint, ask.settings)
    wire: Wire = {"model": endpoint.name, "messages": messages(ask.messages, signature(endpoint), style)}
    if stream:
        wire["stream"] = True
        wire["stream_options"] = {"include_usage": True}
    _set(wire, settings, style)
    if ask.tools:
        wire["tools"] = [_tool(spec) for spec in ask.tools]
    if has_tools(ask, settings):
        _choose(wire, settings)
    if ask.output is not None:
        wire["response_format"] = _shape(ask.output, style)
    return _joined(wire, settings.extra)


def _joined(wire: Wire, extra: Mapping[str, Any]) -> Wire:
    """*wire* with *extra*, whose tools are added to ours; `None` leaves a field out."""
    for name, value in extra.items():
        if value is None:
            wire.pop(name, None)
        elif name == "tools" and isinstance(value, list | tuple):
            ours = wire.get("tools", [])
            wire["tools"] = [*ours, *[each for each in value if each not in ours]]
        else:
            wire[name] = value
    return wire


def _set(wire: Wire, settings: Settings, style: Style) -> None:
    for name, key in _SENT:
        value = getattr(settings, name)
        if value is not None:
            wire[key] = value
    if settings.max_tokens is not None:
        wire[style.limit] = settings.max_tokens
    if settings.logprobs is not None:
        wire["logprobs"] = True
        if settings.logprobs:
            wire["top_logprobs"] = settings.logprobs
    if settings.reasoning is not None:
        wire |= _reasoning(settings.reasoning, style)


def _reasoning(reasoning: str | int, style: Style) -> Wire:
    effort = isinstance(reasoning, str)
    if not style.effort:
        return {"reasoning": {"effort" if effort else "max_tokens": reasoning}}
    if effort:
        return {"reasoning_effort": reasoning}
    raise Misuse(
        f"reasoning={reasoning}: Chat Completions has no field for a number of tokens; give an effort such as "
        "reasoning='low', or the provider's own field in extra={…}"
    )


def _choose(wire: Wire, settings: Settings) -> None:
    if settings.parallel_tool_calls is not None:
        wire["parallel_tool_calls"] = settings.parallel_tool_calls
    choice = settings.tool_choice
    if choice is not None:
        wire["tool_choice"] = choice if choice in _OF_TOOLS else {"type": "function", "function": {"name": choice}}


def _tool(spec: ToolSpec) -> Wire:
    function: Wire = {"name": spec.name, "description": spec.description}
    if not spec.description:
        del function["description"]
    schema = spec.parameters or {"type": "object", "properties": {}}
    function["parameters"] = (_tight(dumps(schema)) if spec.strict else {}) or schema
    if spec.strict is not None:
        function["strict"] = spec.strict
    return {"type": "function", "function": function}


def _shape(output: OutputSpec, style: Style) -> Wire:
    """The shape of the answer; with `json_object` the schema goes along, for servers that heed it there.

    A schema that has a strict form is sent in it: without, many servers only do their best. In that form `null` stands
    for what is left out, and is read so.
    """
    if output.mode == "json_object":
        return {"type": "json_object", "schema": output.schema} if style.hint else {"type": "json_object"}
    tight = {} if output.strict is False else _tight(dumps(output.schema))
    schema: Wire = {"name": output.name, "schema": tight or output.schema}
    if tight or output.strict is not None:
        schema["strict"] = output.strict is not False
    return {"type": "json_schema", "json_schema": schema}


@lru_cache(maxsize=256)
def _tight(schema: bytes) -> Wire:
    """The strict form of *schema*, empty if it has none; the same for every request, so it is made once."""
    from arshai_kit.schema import strict

    return strict(loads(schema))


# Messages


def messages(said: Iterable[Message], provider: str, style: Style = STANDARD) -> list[Wire]:
    """The messages *said*, as *provider* takes them.

    A result is a message by itself, wherever it stands. What else was said beside results goes along as the user's,
    behind the last of them: nothing may come between the results of several calls.
    """
    wires: list[Wire] = []
    beside: list[Wire] = []
    for message in said:
        role, parts = message.role, message.parts
        results = [part for part in parts if type(part) is ToolResult]
        if role == "tool" or (results and role != "assistant"):
            wires += _results(results, provider, style, wires)
            beside += _beside(message, provider, style)
            continue
        if beside:
            wires += beside
            beside = []
        wires.append(_wire(message, provider, style))
        if results:
            wires += _results(results, provider, style, wires)
    return [*wires, *beside]


def _wire(message: Message, provider: str, style: Style) -> Wire:
    """*message*, but for results."""
    role, parts = message.role, message.parts
    if len(parts) == 1 and type(part := parts[0]) is Text and part.state is None and not message.name:
        return {"role": role, "content": part.text}  # most messages, and long histories of them
    if role == "assistant":
        wire = _assistant(message, provider, style)
    else:
        wire = {"role": role, "content": _contents(parts, provider, style, flat=role == "system")}
    return {**wire, "name": message.name} if message.name else wire


def _beside(message: Message, provider: str, style: Style) -> list[Wire]:
    """What *message* says besides results, as the user's."""
    role = "user" if message.role == "tool" else message.role
    wire = _wire(Message(role, message.parts, message.name if role == message.role else ""), provider, style)
    return [wire] if wire["content"] else []


def _contents(parts: Iterable[Any], provider: str, style: Style, *, flat: bool) -> str | list[Any]:
    """The content of *parts*: one text, or a list; *flat* joins texts, which is what most servers take there."""
    wires: list[Any] = []
    for part in parts:
        kind = _MEDIA.get(type(part))
        if kind is not None and part.url and not part.data and kind not in style.addresses:
            raise MustFetch(part)
        wires += _CONTENT[type(part)](part, provider)
    if (flat or len(wires) < 2) and all(type(wire) is dict and wire.keys() == {"type", "text"} for wire in wires):
        return "".join([wire["text"] for wire in wires])
    return wires


def _results(results: Iterable[ToolResult], provider: str, style: Style, before: list[Wire]) -> list[Wire]:
    """One message for each of *results*; those of calls in the legacy shape go back in theirs."""
    legacy = bool(before) and "function_call" in before[-1]
    wires: list[Wire] = []
    for part in results:
        who = {"role": "function", "name": part.name} if legacy else {"role": "tool", "tool_call_id": _id(part, style)}
        wires.append({**who, "content": _result(part, provider, style)})
    return wires


def _result(part: ToolResult, provider: str, style: Style) -> str | list[Any]:
    if isinstance(part.content, str):
        failed = part.is_error and not part.content.lower().startswith("error")
        return f"Error: {part.content}" if failed else part.content
    said = (Text("Error:"), *part.content) if part.is_error else part.content
    return _contents(said, provider, style, flat=False)


def _assistant(message: Message, provider: str, style: Style) -> Wire:
    wire: Wire = {"role": "assistant", "content": ""}
    said: list[Any] = []
    for part in message.parts:
        if type(part) is ToolCall:
            _called(wire, part, provider, style)
            continue
        keep = _SAID.get(type(part))
        if keep is None or not keep(wire, part, provider):
            said.append(part)
    if content := _contents(said, provider, style, flat=True):
        wire["content"] = content
    elif not wire["content"] and ("audio" in wire or not (style.empty or _CALLING.isdisjoint(wire))):
        del wire["content"]
    return wire


def _thinking(wire: Wire, part: Thinking, provider: str) -> bool:
    state = _ours(part, provider)
    if "part" in state:
        return False
    if "details" in state and not _says_again(state, part.text):
        wire["reasoning_details"] = [*wire.get("reasoning_details", ()), *state["details"]]
    if "field" in state:
        wire[state["field"]] = wire.get(state["field"], "") + part.text
    return True


def _says_again(state: Mapping[str, Any], text: str) -> bool:
    """Whether the details of a thought are but the *text* that goes back under a name of its own.

    Who tells it in `reasoning_content` takes it there; who tells it in `reasoning` takes the details, as OpenRouter.
    """
    details = [each for each in state["details"] if isinstance(each, dict)]
    if state.get("field") != "reasoning_content" or "".join(map(detail_text, details)) != text:
        return False
    return all(void(value) for each in details for name, value in each.items() if name not in _OF_WORDS)


def _called(wire: Wire, part: ToolCall, provider: str, style: Style) -> None:
    state = _ours(part, provider)
    function = {"name": part.name, "arguments": written(part)}
    if state.get("legacy"):
        wire["function_call"] = function
        return
    call = {"id": _id(part, style), "type": "function", "function": function, **state.get("extra", {})}
    wire.setdefault("tool_calls", []).append(call)


def _id(part: ToolCall | ToolResult, style: Style) -> str:
    return fitting(part.id, style.longest_id, plain=style.plain_ids)


def _opaque(wire: Wire, part: Opaque, provider: str) -> bool:
    """Send *part* back as the field of the message that it came as, if it came from *provider*."""
    state = _ours(part, provider)
    match state.get("field"):
        case "content":
            return False
        case "tool_calls":
            wire.setdefault("tool_calls", []).append(part.value)
        case _ if part.kind == "refusal":
            wire["refusal"] = part.value
        case _ if part.kind == "audio" and isinstance(part.value, dict):
            wire["audio"] = {"id": part.value.get("id", "")}
        case _ if state and part.kind not in _STAYS:
            wire[part.kind] = part.value
    return True


def _picture(wire: Wire, part: Image, provider: str) -> bool:
    if _ours(part, provider).get("field") != "images":
        return False
    wire.setdefault("images", []).extend(_image(part, provider))
    return True


def _ours(part: Any, provider: str) -> Mapping[str, Any]:
    """The state of *part*, if it came from *provider* in this dialect."""
    state = part.state
    return state if type(state) is not str and isinstance(state, Mapping) and state.get("chat") == provider else {}


_SAID: dict[type, Callable[[Wire, Any, str], bool]] = {
    Thinking: _thinking,
    Opaque: _opaque,
    Image: _picture,
}
"""What a part of an assistant's message adds to it; a false answer says that it is content."""


# Content


def _text(part: Text, provider: str) -> list[Wire]:
    return [{"type": "text", "text": part.text, **_ours(part, provider).get("part", {})}]


def _image(part: Image, provider: str) -> list[Wire]:
    image = {"url": _source(part, "image/png")}
    if part.detail:
        image["detail"] = part.detail
    return [{"type": "image_url", "image_url": image, **_ours(part, provider).get("part", {})}]


def _file(part: File, provider: str) -> list[Wire]:
    name = part.name or part.url.rpartition("/")[2] or "file." + (part.media_type.rpartition("/")[2] or "bin")
    file = {"filename": name, "file_data": _source(part, "application/octet-stream")}
    return [{"type": "file", "file": file, **_ours(part, provider).get("part", {})}]


def _audio(part: Audio, provider: str) -> list[Wire]:
    if part.url and not part.data:
        return [{"type": "audio_url", "audio_url": {"url": part.url}}]
    kind = part.media_type.rpartition("/")[2] or "wav"
    sound = {"data": base64.b64encode(part.data).decode(), "format": _FORMATS.get(kind, kind)}
    return [{"type": "input_audio", "input_audio": sound, **_ours(part, provider).get("part", {})}]


def _thought(part: Thinking, provider: str) -> list[Wire]:
    state = _ours(part, provider)
    told = {"type": "thinking", "thinking": [{"type": "text", "text": part.text}]}
    return [{**told, **state["part"]}] if "part" in state else []


def _unknown(part: Opaque, provider: str) -> list[Any]:
    """What a user made, or came from *provider*, which alone may send what is no object."""
    mine = part.state is None or _ours(part, provider)
    if isinstance(part.value, dict):
        return [dict(part.value)] if mine else []
    return [part.value] if mine and part.state is not None else []


def _nothing(_: Any, __: str) -> list[Wire]:
    return []


def _source(part: Image | File, otherwise: str) -> str:
    """The address of *part*, or one that holds its bytes, which are *otherwise* what it does not say."""
    if part.url and not part.data:
        return part.url
    return f"data:{part.media_type or otherwise};base64,{base64.b64encode(part.data).decode()}"


_MEDIA: dict[type, str] = {Image: "image", File: "file", Audio: "audio"}
_CONTENT: dict[type, Callable[[Any, str], list[Any]]] = {
    Text: _text,
    Image: _image,
    File: _file,
    Audio: _audio,
    Thinking: _thought,
    Opaque: _unknown,
    ToolCall: misplaced,  # the model's own are told before
    ToolResult: _nothing,
}
