"""What every constructor of a model does with what it is given: options, addresses, keys and headers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from arshai_kit.effects import Secret
from arshai_kit.errors import Misuse
from arshai_kit.models import Capabilities, Headers, Reasoning, ToolChoice, address, pairs
from arshai_kit.models.asks import SETTINGS, fitting
from arshai_kit.retry import Retry

__all__ = ["Headers", "Options", "address", "checked", "chosen_key", "named", "pairs", "signing", "told"]


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
    if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
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
    for name in options.keys() & set(SETTINGS) - {"stop"}:  # which is looked at where it is read, and only once
        fitting(name, options[name])  # type: ignore[literal-required]
    if not isinstance(options.get("capabilities"), Capabilities | None):
        raise Misuse(f"capabilities= takes a Capabilities(…), not {options['capabilities']!r}")
    return {name: value for name, value in options.items() if name != "capabilities" or value is not None}


def told(name: str, value: Any) -> Any:
    """*value*, if it is text or nothing, as the argument *name* takes it."""
    if value is not None and not (isinstance(value, str) and value.strip().isprintable()):
        raise Misuse(f"{name}= takes text, not {value!r}")
    return value


def signing(token: Any) -> Any:
    """*token*, if it is a function or nothing."""
    if token is not None and not callable(token):
        raise Misuse(f"token= takes a function that returns an access token, not {type(token).__name__}")
    return token


def chosen_key(given: str | Secret | None, variable: str = "") -> Secret | None:
    """The key *given*, else the one in the environment; read once, when the model is made."""
    if not isinstance(given, str | Secret | None):
        raise Misuse(f"api_key= takes a string, not {type(given).__name__}")
    key = _read(given, variable)
    if not _sound(key):  # no key is a local here: a traceback may show them
        where = f"api_key= (or {variable})" if variable else "api_key="
        raise Misuse(f"{where} holds characters that no key has; was it copied whole?")
    return key if key.reveal() else None


def _read(given: str | Secret | None, variable: str) -> Secret:
    value = given.reveal() if isinstance(given, Secret) else given
    return Secret((os.environ.get(variable, "") if value is None else value).strip())


def _sound(key: Secret) -> bool:
    text = key.reveal()
    return text.isascii() and text.isprintable() and " " not in text
