"""Questions as bodies of generateContent and countTokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from arshai_kit.dialects.exchange import posted, under
from arshai_kit.dialects.gemini._contents import contents, generation, instruction
from arshai_kit.dialects.gemini._schema import reduced
from arshai_kit.effects import Request
from arshai_kit.errors import Unsupported
from arshai_kit.models import Ask, Endpoint, OutputSpec, Settings, chosen
from arshai_kit.records import ToolSpec

__all__ = ["asked", "body", "counting"]

Wire = dict[str, Any]

_SENT: Final = (
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("max_tokens", "maxOutputTokens"),
    ("stop", "stopSequences"),
    ("seed", "seed"),
    ("candidates", "candidateCount"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
)
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_LEVELS: Final = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "HIGH",
}
_BUDGETS: Final = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
"""The tokens that efforts stand for where a model takes only these, as Google's own translation has them."""


def asked(endpoint: Endpoint, ask: Ask, *, stream: bool) -> Request:
    """The HTTP request that puts *ask* to *endpoint*."""
    url = _address(endpoint, "streamGenerateContent" if stream else "generateContent")
    if stream:
        url += ("&" if "?" in url else "?") + "alt=sse"
    return posted(endpoint, url, body(endpoint, ask), stream=stream)


def counting(endpoint: Endpoint, ask: Ask) -> Request:
    """The HTTP request that counts the tokens of *ask*; Google's two services want its body in two shapes."""
    wire = body(endpoint, ask)
    if endpoint.provider != "vertex":
        wire = {"generateContentRequest": {"model": _path(endpoint.name), **wire}}
    return posted(endpoint, _address(endpoint, "countTokens"), wire)


def _path(name: str) -> str:
    return name if "/" in name else f"models/{name}"


def _address(endpoint: Endpoint, method: str) -> str:
    return under(endpoint.base_url, f"/{_path(endpoint.name)}:{method}")


def body(endpoint: Endpoint, ask: Ask) -> Wire:
    """The body of the request; what is not set is not sent, and what is `extra` is merged in, where it wins."""
    settings = chosen(endpoint, ask.settings)
    wire: Wire = {"contents": contents(ask.messages, endpoint)}
    system = instruction(ask.messages, endpoint.provider)
    if system is not None:
        wire["systemInstruction"] = system
    config = _config(settings, endpoint.name)
    if ask.output is not None:
        config |= _shape(ask.output)
    if config:
        wire["generationConfig"] = config
    if ask.tools:
        wire["tools"] = [{"functionDeclarations": [_declared(spec) for spec in ask.tools]}]
    if ask.tools or "tools" in settings.extra:
        wire |= _choice(endpoint, ask, settings)
    return _merged(wire, settings.extra)


def _config(settings: Settings, name: str) -> Wire:
    config = {key: value for field, key in _SENT if (value := getattr(settings, field)) is not None}
    if settings.logprobs is not None:
        config["responseLogprobs"] = True
        if settings.logprobs:
            config["logprobs"] = settings.logprobs
    if settings.reasoning is not None:
        config["thinkingConfig"] = _thinking(settings.reasoning, name)
    return config


def _thinking(reasoning: str | int, name: str) -> Wire:
    """How much to think: a level from Gemini 3 on, and a number of tokens before."""
    known = generation(name)
    if isinstance(reasoning, int):
        budget: Wire = {"thinkingBudget": reasoning}
    elif known is not None and known < 3:
        if reasoning == "none" and re.search(r"gemini-2\.5-pro", name):
            raise Unsupported(f"{name} always thinks: take reasoning='minimal', or 128 tokens, the least it takes")
        budget = {"thinkingBudget": _BUDGETS.get(reasoning, -1)}
    elif reasoning == "none":
        raise Unsupported(f"{name} always thinks: take reasoning='minimal', or 'low' where it does not know that")
    else:
        budget = {"thinkingLevel": _LEVELS.get(reasoning, reasoning.upper())}
    return budget if budget.get("thinkingBudget") == 0 else {**budget, "includeThoughts": True}


def _shape(output: OutputSpec) -> Wire:
    wire: Wire = {"responseMimeType": "application/json"}
    if output.mode == "json_schema":
        wire["responseJsonSchema"] = reduced(output.schema)
    return wire


def _declared(spec: ToolSpec) -> Wire:
    wire: Wire = {"name": spec.name}
    if spec.description:
        wire["description"] = spec.description
    if spec.parameters:
        wire["parametersJsonSchema"] = reduced(spec.parameters)
    return wire


def _choice(endpoint: Endpoint, ask: Ask, settings: Settings) -> Wire:
    """How tools are to be chosen; tools of ours and of Google's together must be said to be meant."""
    if settings.parallel_tool_calls is False:
        raise Unsupported(
            f"{endpoint.name} cannot be kept from calling several tools at once: leave parallel_tool_calls= out"
        )
    config: Wire = {}
    choice = settings.tool_choice
    if choice is not None:
        named = {} if choice in _MODES else {"allowedFunctionNames": [choice]}
        config["functionCallingConfig"] = {"mode": _MODES.get(choice, "ANY"), **named}
    if ask.tools and endpoint.provider == "gemini" and (generation(endpoint.name) or 0) >= 3 and _hosted(settings):
        config["includeServerSideToolInvocations"] = True
    return {"toolConfig": config} if config else {}


def _hosted(settings: Settings) -> bool:
    """Whether tools are asked for that the provider runs."""
    tools = settings.extra.get("tools")
    return isinstance(tools, tuple) and any(
        isinstance(each, Mapping) and any(name != "functionDeclarations" for name in each) for each in tools
    )


def _merged(wire: Wire, extra: Mapping[str, Any]) -> Wire:
    """*wire* with *extra*, which wins: objects are merged, its tools are added to ours, `None` leaves a field out."""
    found = dict(wire)
    for name, value in extra.items():
        old = found.get(name)
        if value is None:
            found.pop(name, None)
        elif isinstance(old, dict) and isinstance(value, Mapping):
            found[name] = _merged(old, value)
        elif name == "tools" and isinstance(old, list) and isinstance(value, tuple):
            found[name] = [*old, *value]
        else:
            found[name] = value
    return found
