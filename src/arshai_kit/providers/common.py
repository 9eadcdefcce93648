"""What every constructor of a model does with what it is given: options, addresses, keys and headers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from arshai_kit.effects import Secret
from arshai_kit.errors import Misuse
from arshai_kit.models import Capabilities, Headers, Reasoning, ToolChoice, address, pairs
from arshai_kit.retry import Retry

__all__ = ["Headers", "Options", "address", "checked", "chosen_key", "named", "pairs"]


class Options(TypedDict, total=False):
    """What every provider's constructor takes: how the model answers, and how it is asked.

    What is not given is not sent. *reasoning* is an effort or a number of tokens, *tool_choice* may be a tool's
    name, *extra* is merged into the body of each request, where it wins: its tools are added to those of the call, and
    `None` leaves a field out. *timeout* is the longest silence and *deadline* the longest time of a call, in seconds;
    *max_body* the most bytes of a reply.
    """

    temperature: float | None
    top_p: float | None
    top_k: int | None
    max_tokens: int | None
    stop: str | Iterable[str] | None
    seed: int | None
    reasoning: Reasoning | None
    tool_choice: ToolChoice | None
    parallel_tool_calls: bool | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logprobs: int | None
    candidates: int | None
    extra: Mapping[str, Any]
    timeout: float
    connect_timeout: float
    deadline: float
    max_body: int
    retry: Retry | int | None
    capabilities: Capabilities


def named(name: str) -> str:
    """*name*, if a model can have it.

    >>> named("llama3.2")
    'llama3.2'
    """
    if not name or not isinstance(name, str) or name != name.strip():
        raise Misuse("the first argument is the name of the model, as the provider calls it: 'llama3.2'")
    return name


def checked(options: Options) -> dict[str, Any]:
    """The *options*, none of which is unknown."""
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        known = ", ".join(Options.__annotations__)
        raise Misuse(
            f"there is no option {', '.join(sorted(unknown))}; what only this provider knows goes into extra={{…}}, "
            f"known are {known}"
        )
    return dict(options)


def chosen_key(given: str | Secret | None, variable: str) -> Secret | None:
    """The key *given*, else the one in the environment; read once, when the model is made."""
    value = given.reveal() if isinstance(given, Secret) else given
    key = (os.environ.get(variable, "") if value is None else value).strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Misuse(f"api_key= (or {variable}) holds characters that no key has; was it copied whole?")
    return Secret(key) if key else None
