"""Questions as bodies of generateContent and countTokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from arshai_kit.dialects.exchange import has_tools, posted, signature, under
from arshai_kit.dialects.gemini._contents import contents, generation, instruction
from arshai_kit.dialects.gemini._schema import reduced
from arshai_kit.effects import Request
from arshai_kit.errors import Misuse, Unsupported
from arshai_kit.models import Ask, Endpoint, OutputSpec, Settings, chosen
from arshai_kit.records import ToolSpec

__all__ = ["address", "asked", "body", "counting", "effort", "path"]

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
_COUNTED: Final = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})
"""What Vertex AI counts; any other field, though the answer may take it, is refused there."""
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_LEVELS: Final = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}
_NAME: Final = re.compile(r"(?!\.\.?(?:/|$))[\w.@:-]+(?:/(?!\.\.?(?:/|$))[\w.@:-]+)*", re.ASCII)
_OWNED: Final = ("publishers/", "endpoints/")
"""What names begin with that stand beside Google's models on Vertex AI, not among them."""
_BUDGETS: Final = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
"""The tokens that efforts stand for where a model takes only these, as Google's own translation has them."""


def asked(endpoint: Endpoint, ask: Ask, *, stream: bool) -> Request:
    """The HTTP request that puts *ask* to *endpoint*."""
    url = address(endpoint, "streamGenerateContent" if stream else "generateContent")
    if stream:
        url += ("&" if "?" in url else "?") + "alt=sse"
    return posted(endpoint, url, body(endpoint, ask), stream=stream)


def counting(endpoint: Endpoint, ask: Ask) -> Request:
    """The HTTP request that counts the tokens of *ask*; Google's two services want its body in two shapes."""
    wire = body(endpoint, ask)
    if endpoint.provider == "vertex":
        wire = {name: value for name, value in wire.items() if name in _COUNTED}
    else:
        wire = {"generateContentRequest": {"model": path(endpoint.name), **wire}}
    return posted(endpoint, address(endpoint, "countTokens"), wire)


def path(name: str) -> str:
    """Where the model *name* stands in an address; refuses what would lead elsewhere.

    >>> path("gemini-2.5-flash"), path("tunedModels/mine")
    ('models/gemini-2.5-flash', 'tunedModels/mine')
    """
    if not _NAME.fullmatch(name):
        raise Misuse(f"{name!r} is no name of a model that an address can hold; it looks like 'gemini-2.5-flash'")
    return name if "/" in name else f"models/{name}"


def address(endpoint: Endpoint, method: str) -> str:
    """The address of *method* of the model."""
    place, base = path(endpoint.name), endpoint.base_url
    if place.startswith(_OWNED):
        base, mark, query = base.partition("?")
        base = base.rstrip("/").removesuffix("/publishers/google") + mark + query
    return under(base, f"/{place}:{method}")


def body(endpoint: Endpoint, ask: Ask) -> Wire:
    """The body of the request; what is not set is not sent, and what is `extra` is merged in, where it wins."""
    settings = chosen(endpoint, ask.settings)
    said = contents(ask.messages, endpoint)
    if not said and "contents" not in settings.extra:
        raise Misuse(
            "there is nothing to answer: Gemini wants a message with words of the user's, besides the system's"
        )
    _check_hosted(endpoint.name, ask, settings)
    wire: Wire = {"contents": said}
    if (system := instruction(ask.messages, signature(endpoint))) is not None:
        wire["systemInstruction"] = system
    config = _config(settings, endpoint.name)
    if ask.output is not None:
        config |= _shape(ask.output)
    if config:
        wire["generationConfig"] = config
    if ask.tools:
        wire["tools"] = [{"functionDeclarations": [_declared(spec) for spec in ask.tools]}]
    if has_tools(ask, settings):
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
    effort(reasoning)
    if reasoning == 0:
        reasoning = "none"
    if isinstance(reasoning, int):
        budget: Wire = {"thinkingBudget": reasoning}
    elif known is not None and known < 3:
        if reasoning == "none" and "gemini-2.5-pro" in name:
            raise Unsupported(f"{name} always thinks: take reasoning='minimal', or 128 tokens, the least it takes")
        budget = {"thinkingBudget": _BUDGETS[reasoning]}
    elif reasoning == "none":
        raise Unsupported(f"{name} always thinks: take reasoning='minimal', or 'low' where it does not know that")
    else:
        budget = {"thinkingLevel": _LEVELS[reasoning]}
    return budget if budget.get("thinkingBudget") == 0 else {**budget, "includeThoughts": True}


def effort(reasoning: Any) -> None:
    """Refuse *reasoning* if it is neither an effort that is known nor a number of tokens.

    >>> effort("low"), effort(512), effort(None)
    (None, None, None)
    """
    known = reasoning is None or type(reasoning) is int or (isinstance(reasoning, str) and reasoning in _BUDGETS)
    if not known:
        raise Misuse(f"reasoning={reasoning!r} is no effort: it is {', '.join(_BUDGETS)}, or a whole number of tokens")


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


def _check_hosted(name: str, ask: Ask, settings: Settings) -> None:
    """Refuse Google's tools together with what older models do not take beside them."""
    if (generation(name) or 3) < 3 and _hosted(settings):
        beside = "tools= of yours" if ask.tools else "a typed answer" if ask.output is not None else ""
        if beside:
            raise Unsupported(
                f"{name} does not take {beside} together with tools of Google's: leave those out of extra=, or take a "
                "model from Gemini 3 on"
            )


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
