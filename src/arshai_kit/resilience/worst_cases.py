"""The most that a call may use, before it is made: what goes in is counted upwards, what comes out is bounded; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from arshai_kit._json import dumps
from arshai_kit.cost import Price, Prices, Pricing, Published, Spend, called, leaves
from arshai_kit.models import Ask, written
from arshai_kit.records import Audio, File, Image, Message, Opaque, Part, Text, Thinking, ToolCall, ToolResult, Usage

__all__ = ["estimated", "most_output", "unseen", "worst"]

_MESSAGE: Final = 16
"""Tokens around each message and each call: who speaks, where it begins and ends."""
_TOOL: Final = 64
_IMAGE: Final = 10_000
"""More than any provider takes for one picture."""
_SOUND: Final = 25
"""Bytes of sound that make at most one token: 32 of these a second, in the thinnest recording that is still speech."""
_BOUNDS: Final = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"})
_MANY: Final = frozenset({"n", "candidateCount"})
_MODALITIES: Final = ("modalities", "responseModalities", "response_modalities")
_KEPT_THERE: Final = (
    "previous_response_id",
    "conversation",
    "conversation_id",
    "prompt",
    "cachedContent",
    "cached_content",
)
"""Fields by which a request names what the provider has kept, and takes for part of the prompt."""


def estimated(ask: Ask) -> int | None:
    """At least as many tokens as *ask* has; `None` where nobody can tell, as of a document that has but an address.

    No tokenizer makes more tokens than a text has bytes. An English text has a quarter of that: a function of yours
    that counts better takes the place of this one.

    >>> from arshai_kit.records import user
    >>> estimated(Ask((user("Hello"),)))
    21
    """
    total = 0
    for message in ask.messages:
        size = _message(message)
        if size is None:
            return None
        total += size
    for tool in ask.tools:
        described = (tool.name, tool.description, tool.parameters, tool.example)
        total += _TOOL + len(dumps(described))
    return total + (0 if ask.output is None else _TOOL + len(dumps(ask.output.schema)))


def _message(message: Message) -> int | None:
    sizes = [_part(part) for part in message.parts]
    return None if None in sizes else _MESSAGE + len(message.name.encode()) + sum(size or 0 for size in sizes)


def _part(part: Part) -> int | None:
    state = 0 if part.state is None else len(dumps(part.state))
    match part:
        case Text(text) | Thinking(text):
            return state + _size(text)
        case ToolCall(name=name, id=key):
            return state + _MESSAGE + _size(name) + _size(key) + _size(written(part))
        case ToolResult(name=name, id=key, content=str() as content):
            return state + _MESSAGE + _size(name) + _size(key) + _size(content)
        case ToolResult(name=name, id=key, content=content):
            inside = _message(Message("user", content, name + key))
            return None if inside is None else state + inside
        case Image():
            return state + _IMAGE
        case Audio(data=data) | File(data=data) if data:
            return state + _MESSAGE + (len(data) // _SOUND if type(part) is Audio else len(data)) + 1000
        case Opaque(value=value):
            return state + len(dumps(value))
    return None


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def most_output(model: Any, ask: Ask) -> int | None:
    """The most tokens that *model* may answer with, all candidates together; `None` where nothing bounds them."""
    own, asked = getattr(model, "extra", None), ask.settings.extra
    limits = [*_found(own, _BOUNDS), *_found(asked, _BOUNDS)]
    limit = ask.settings.max_tokens or getattr(model, "max_tokens", None)
    if limit is not None:
        limits.append(limit)
    many = [ask.settings.candidates or getattr(model, "candidates", None) or 1, *_found(own, _MANY)]
    return max(limits) * max([*many, *_found(asked, _MANY)]) if limits else None


def _found(body: Any, names: frozenset[str]) -> Iterator[int]:
    """The numbers that *body*, fields of a request, has under one of *names*."""
    if isinstance(body, Mapping):
        for name, value in body.items():
            if name in names and type(value) is int:
                yield value
            yield from _found(value, names)


def unseen(model: Any, ask: Ask) -> str:
    """By which field in `extra` *ask*, or one of the models in *model*, brings along what only the provider has.

    >>> from arshai_kit import openai
    >>> unseen(openai("gpt-5", api_key="", extra={"previous_response_id": "resp_1"}), Ask(()))
    'previous_response_id'
    """
    bodies: list[Any] = [ask.settings.extra, *[getattr(leaf, "extra", None) for leaf in leaves(model)]]
    for body in [each for each in bodies if isinstance(each, Mapping)]:
        for name in _KEPT_THERE:
            if body.get(name) and not (name == "prompt" and isinstance(body[name], str)):  # a text, which is counted
                return name
    return ""


def _added(model: Any, ask: Ask) -> int:
    """As many tokens as `extra` may add to what goes in, as a prediction or tools of the provider do."""
    bodies = (getattr(model, "extra", None), ask.settings.extra)
    return sum(len(dumps(body)) for body in bodies if body and isinstance(body, Mapping))


def worst(model: Any, ask: Ask, went_in: int, prices: Pricing, at: float) -> Spend | None:
    """The most that a call may use of which *went_in* tokens go in, whoever of the models in *model* answers.

    To these is added what the `extra` of each holds.
    `None` where nothing bounds what comes out; its money is `None` where nobody knows a price.
    """
    spent = Spend()
    for leaf in leaves(model):
        out = most_output(leaf, ask)
        if out is None:
            return None
        all_in = went_in + _added(leaf, ask)
        money = dearest(leaf, all_in, out, prices, at, sounds(leaf, ask))
        known = None if money is None or spent.money is None else max(spent.money, money)
        spent = Spend(max(spent.tokens, all_in + out), known)
    return spent


def sounds(model: Any, ask: Ask) -> tuple[str, ...]:
    """The kinds of sound that go into *model*, or may come out: most models that take text have no price for these."""
    results = [part.content for message in ask.messages for part in message.parts if isinstance(part, ToolResult)]
    parts = [part for message in ask.messages for part in message.parts]
    parts += [part for content in results if not isinstance(content, str) for part in content]
    heard = any(isinstance(part, Audio) for part in parts)
    spoken = any(_speaks(body) for body in (getattr(model, "extra", None), ask.settings.extra))
    return (*["audio_input"] * heard, *["audio_output"] * spoken)


def _speaks(body: Any) -> bool:
    """Whether *body*, fields of a request, asks for sound."""
    if not isinstance(body, Mapping):
        return False
    wanted = [body.get(name) for name in _MODALITIES]
    asked = any("audio" in str(each).lower() for each in wanted if each)
    return asked or any(_speaks(each) for each in body.values())


def dearest(
    model: Any, went_in: int, out: int, prices: Pricing, at: float, kinds: tuple[str, ...] = ()
) -> Decimal | None:
    """What so many tokens cost at most, of whatever kind they turn out to be; `None` where the price is not known.

    *kinds* are those that have to have a price.
    """
    for name, provider in called(Usage(), model):
        money = _dearest(prices, name, provider, went_in, out, at)
        if money is not None:
            some = [prices(Usage(1, 1, kinds={kind: 1}), name, provider, requests=1, at=at) for kind in kinds]
            return None if None in some else money
    return None


def _dearest(prices: Any, name: str, provider: str, went_in: int, out: int, at: float) -> Decimal | None:
    match prices:
        case Prices(otherwise=otherwise):
            price = prices.price(name, provider)
            if price is None:
                return None if otherwise is None else _dearest(otherwise, name, provider, went_in, out, at)
            rates, request = price.rates(), price.request
        case Published():
            rates, request = prices.rates(name, provider, went_in, at), None
        case _:
            return _dearest_of_all(prices, name, provider, went_in, out, at)
    if rates is None:
        return None
    return Price(input=rates[0], output=rates[1], request=request).of(Usage(went_in, out))


def _dearest_of_all(prices: Any, name: str, provider: str, went_in: int, out: int, at: float) -> Decimal | None:
    """As a table of prices that only answers questions says."""
    befores = [Usage(went_in), Usage(went_in, cached_tokens=went_in)]
    befores += [Usage(went_in, kinds={kind: went_in}) for kind in ("cache_write", "audio_input", "image_input")]
    afters = [Usage(0, out), Usage(0, out, reasoning_tokens=out)]
    afters += [Usage(0, out, kinds={kind: out}) for kind in ("audio_output", "image_output")]
    usages = [before + after for before in befores for after in afters]
    costs = [prices(usage, name, provider, requests=1, at=at) for usage in usages]
    return None if costs[0] is None else max([each for each in costs if each is not None])
