"""Questions as bodies of the Responses API: what is not set is not sent, and what it has no field for is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from attrs import evolve

from arshai_kit._json import dumps, loads
from arshai_kit.dialects.exchange import has_tools, posted, signature, under
from arshai_kit.dialects.responses._input import items
from arshai_kit.effects import Request
from arshai_kit.errors import Misuse, Unsupported
from arshai_kit.models import Ask, Endpoint, OutputSpec, Settings, chosen
from arshai_kit.records import Message, Part, Thinking, ToolSpec

__all__ = ["body", "counting", "request"]

Wire = dict[str, Any]

_SENT = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("max_tokens", "max_output_tokens"),
)
_UNKNOWN = ("top_k", "seed", "stop", "presence_penalty", "frequency_penalty")
_OF_TOOLS = frozenset({"auto", "none", "required"})
_STATEFUL = ("previous_response_id", "conversation", "background")
_COUNTED = frozenset(
    {
        "conversation", "input", "instructions", "model", "parallel_tool_calls", "previous_response_id", "reasoning",
        "text", "tool_choice", "tools", "truncation",
    }
)  # fmt: skip
_PLAIN = re.compile(r"(?:.*/)?(?:gpt-3|gpt-4|chatgpt-|gpt-5(?:\.\d+)?-chat)")
"""Models that do not reason, and refuse to be asked for reasoning."""


def request(endpoint: Endpoint, ask: Ask, *, stream: bool) -> Request:
    """The HTTP request that puts *ask* to *endpoint*; the headers of the endpoint win."""
    wire = body(endpoint, ask, stream=stream)
    return posted(endpoint, under(endpoint.base_url, "/responses"), wire, stream=stream)


def counting(endpoint: Endpoint, ask: Ask) -> Request:
    """The HTTP request that asks how many tokens *ask* has."""
    wire = {name: value for name, value in body(endpoint, ask, stream=False).items() if name in _COUNTED}
    return posted(endpoint, under(under(endpoint.base_url, "/responses"), "/input_tokens"), wire)


def body(endpoint: Endpoint, ask: Ask, *, stream: bool) -> Wire:
    """The body of the request; what is `extra` wins, and adds to tools, to what is included, to text and reasoning."""
    settings = chosen(endpoint, ask.settings)
    plain = _PLAIN.match(endpoint.name)
    said = [_unthought(message) for message in ask.messages] if plain else ask.messages
    wire: Wire = {"model": endpoint.name, "input": items(said, signature(endpoint))}
    if stream:
        wire["stream"] = True
    if not any(settings.extra.get(name) for name in _STATEFUL):
        wire["store"] = False
    include = [] if plain else ["reasoning.encrypted_content"]
    if settings.logprobs is not None:
        include.append("message.output_text.logprobs")
    if include:
        wire["include"] = include
    _set(wire, settings)
    if ask.tools:
        wire["tools"] = [_tool(spec) for spec in ask.tools]
    if has_tools(ask, settings):
        _choose(wire, settings)
    if ask.output is not None:
        wire["text"] = {"format": _shape(ask.output)}
    return _joined(wire, settings.extra)


def _unthought(message: Message) -> Message:
    """*message* without thoughts, which models that do not reason refuse; no id then tells what stood beside one."""
    if all(type(part) is not Thinking for part in message.parts):
        return message
    return evolve(message, parts=[_by_itself(part) for part in message.parts if type(part) is not Thinking])


def _by_itself(part: Part) -> Part:
    state = part.state
    if not isinstance(state, Mapping) or not state.get("stored"):
        return part
    return evolve(part, state={name: value for name, value in state.items() if name != "stored"})


def _set(wire: Wire, settings: Settings) -> None:
    for name in _UNKNOWN:
        if getattr(settings, name) not in (None, ()):
            raise _unsupported(name)
    if settings.candidates not in (None, 1):
        raise _unsupported("candidates")
    for name, key in _SENT:
        value = getattr(settings, name)
        if value is not None:
            wire[key] = value
    if settings.logprobs:
        wire["top_logprobs"] = settings.logprobs
    if isinstance(settings.reasoning, str):
        wire["reasoning"] = {"effort": settings.reasoning}
    elif settings.reasoning is not None:
        raise Unsupported(
            f"reasoning={settings.reasoning}: the Responses API takes no number of tokens; give an effort such as "
            "reasoning='low'"
        )


def _unsupported(name: str) -> Unsupported:
    return Unsupported(
        f"the Responses API takes no {name}=: leave it out, or make the model with api='chat' (Chat Completions)"
    )


def _choose(wire: Wire, settings: Settings) -> None:
    if settings.parallel_tool_calls is not None:
        wire["parallel_tool_calls"] = settings.parallel_tool_calls
    choice = settings.tool_choice
    if choice is not None:
        wire["tool_choice"] = choice if choice in _OF_TOOLS else {"type": "function", "name": choice}


def _tool(spec: ToolSpec) -> Wire:
    """The tool of *spec*; it says whether it is strict in any case, for the API takes every tool as strict else."""
    tool: Wire = {"type": "function", "name": spec.name, "description": spec.description}
    if not spec.description:
        del tool["description"]
    schema = spec.parameters or {"type": "object", "properties": {}}
    tool["parameters"] = (_tight(dumps(schema)) if spec.strict else {}) or schema
    return {**tool, "strict": bool(spec.strict)}


def _shape(output: OutputSpec) -> Wire:
    """The shape of the answer; a schema that has a strict form goes in it, where `null` stands for what is left out."""
    if output.mode == "json_object":
        return {"type": "json_object"}
    tight = {} if output.strict is False else _tight(dumps(output.schema))
    shape: Wire = {"type": "json_schema", "name": output.name, "schema": tight or output.schema}
    if tight or output.strict is not None:
        shape["strict"] = output.strict is not False
    return shape


@lru_cache(maxsize=256)
def _tight(schema: bytes) -> Wire:
    """The strict form of *schema*, empty if it has none; the same for every request, so it is made once."""
    from arshai_kit.schema import strict

    return strict(loads(schema))


def _joined(wire: Wire, extra: Mapping[str, Any]) -> Wire:
    """*wire* with *extra*; `None` leaves a field out."""
    for name, value in extra.items():
        if value is None:
            wire.pop(name, None)
        elif name in wire and name in _JOINED:
            wire[name] = _JOINED[name](wire[name], value)
        else:
            wire[name] = value
    return wire


def _both(ours: list[Any], theirs: Any) -> list[Any]:
    if not isinstance(theirs, tuple):
        raise Misuse(f"'tools' and 'include' in extra= are lists, not {theirs!r}")
    return [*ours, *[each for each in theirs if each not in ours]]


def _over(ours: Wire, theirs: Any) -> Wire:
    if not isinstance(theirs, Mapping):
        raise Misuse(f"'text' and 'reasoning' in extra= are objects such as {{'effort': 'low'}}, not {theirs!r}")
    return {**ours, **theirs}


_JOINED: dict[str, Callable[[Any, Any], Any]] = {"tools": _both, "include": _both, "text": _over, "reasoning": _over}
