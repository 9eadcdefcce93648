"""Models by name, as command lines and files of settings hold them; functions take the models themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from attrs import frozen

from arshai_kit._record import Record
from arshai_kit.errors import Misuse
from arshai_kit.models import Model

__all__ = ["PROVIDERS", "Provider", "model"]

_SERVED: Final = re.compile(r"(?P<name>.+?)@(?P<base_url>https?://.+)", re.DOTALL)


@frozen(eq=False, repr=False)
class Provider(Record):
    """How a provider is named: *form* shows it, *about* says in a few words what it is, *keys* where its key is.

    Each of *keys* is a choice of environment variables, one of which has to be set.
    """

    form: str
    about: str
    make: Callable[..., Model]
    keys: tuple[tuple[str, ...], ...] = ()


def _of(module: str, name: str, **fixed: Any) -> Callable[..., Model]:
    """The constructor *name* of *module*, imported when a model is made."""

    def make(rest: str, **options: Any) -> Model:
        return _made(getattr(import_module(f"arshai_kit.{module}"), name), rest, fixed, options)

    return make


def _served(rest: str, **options: Any) -> Model:
    from arshai_kit.providers.compatible import openai_compatible

    found = _SERVED.fullmatch(rest)
    if found is None:
        raise Misuse("a server is named as openai-compatible:NAME@URL, as in llama3.2@http://localhost:11434/v1")
    return _made(openai_compatible, found["name"], {"base_url": found["base_url"]}, options)


def _local(rest: str, **options: Any) -> Model:
    from arshai_kit.local import local

    return _made(local, rest or None, {}, options)


def _made(make: Callable[..., Any], rest: str | None, fixed: Mapping[str, Any], options: Mapping[str, Any]) -> Model:
    """What *make* makes of *rest*; refuses those of *options* that it does not take, or that the name says already."""
    from inspect import signature

    spots = signature(make).parameters
    if said := {*fixed, next(iter(spots))} & options.keys():
        raise Misuse(f"{', '.join(sorted(said))}= is said by the name already: leave it out, or take another name")
    unknown = options.keys() - spots.keys()
    if unknown and all(spot.kind is not spot.VAR_KEYWORD for spot in spots.values()):
        raise Misuse(f"{make.__name__} has no option {', '.join(sorted(unknown))}; known are {', '.join([*spots][1:])}")
    found: Model = make(rest, **fixed, **options)
    return found


_OPENAI: Final = (("OPENAI_API_KEY",),)
PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        "local": Provider("local", "SmolLM2-135M-Instruct, in this process; local:PATH.gguf for a file", _local),
        "openai": Provider("openai:NAME", "OpenAI, over the Responses API", _of("providers.openai", "openai"), _OPENAI),
        "openai-chat": Provider(
            "openai-chat:NAME",
            "OpenAI, over Chat Completions",
            _of("providers.openai", "openai", api="chat"),
            _OPENAI,
        ),
        "azure": Provider(
            "azure:DEPLOYMENT",
            "Azure OpenAI",
            _of("providers.azure", "azure"),
            (("AZURE_OPENAI_API_KEY",), ("AZURE_OPENAI_ENDPOINT",)),
        ),
        "gemini": Provider(
            "gemini:NAME",
            "Google Gemini",
            _of("providers.gemini", "gemini"),
            (("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"),),
        ),
        "openrouter": Provider(
            "openrouter:MAKER/NAME",
            "whatever OpenRouter reaches: Claude, Llama, …",
            _of("providers.openrouter", "openrouter"),
            (("OPENROUTER_API_KEY",),),
        ),
        "openai-compatible": Provider("openai-compatible:NAME@URL", "any server that speaks Chat Completions", _served),
    }
)
"""What `model` knows, by the word before the colon."""


def model(text: str, **options: Any) -> Model:
    """The model called *text*, which is `provider:name`; *options* are those of the provider's constructor.

    >>> model("openai-compatible:llama3.2@http://localhost:11434/v1", temperature=0).name
    'llama3.2'
    >>> model("gmini:pro")
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: 'gmini:pro' names no model; there are local, openai:NAME, openai-chat:NAME, \
azure:DEPLOYMENT, gemini:NAME, openrouter:MAKER/NAME, openai-compatible:NAME@URL
    """
    if not isinstance(text, str):
        raise Misuse(f"a model is named by text such as 'openai:gpt-5.6-luna', not {type(text).__name__}")
    word, colon, rest = text.partition(":")
    provider = PROVIDERS.get(word)
    if provider is None or (not rest and (colon or word != "local")):
        forms = ", ".join(each.form for each in PROVIDERS.values())
        raise Misuse(f"{_shown(text)!r} names no model; there are {forms}")
    return provider.make(rest, **options)


def _shown(text: str) -> str:
    """*text* without what may be a secret in it, if it has an address.

    >>> _shown("gmini:pro"), _shown("server:llama@http://me:pass@example.org/v1?key=sk-1")
    ('gmini:pro', 'server:…@example.org/v1')
    """
    before, at, after = text.partition("?")[0].partition("#")[0].rpartition("@")
    word, colon, _ = before.partition(":")
    return f"{word if colon else ''}{colon}…@{after}" if at else before + after
