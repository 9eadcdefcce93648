"""Whatever speaks Chat Completions."""

from __future__ import annotations

from typing import Unpack

from arshai_kit.effects import Secret
from arshai_kit.models import Dialect, Endpoint
from arshai_kit.providers.common import Headers, Options, address, checked, chosen_key, named, pairs

__all__ = ["openai_compatible"]


def openai_compatible(
    name: str,
    *,
    base_url: str,
    api_key: str | Secret | None = None,
    headers: Headers = (),
    **options: Unpack[Options],
) -> Endpoint:
    """A model behind any server that speaks Chat Completions: Ollama, llama.cpp, vLLM, LM Studio, Groq, DeepSeek, …

    Without *api_key* the environment's `OPENAI_COMPATIBLE_API_KEY` counts, and without that no key is sent, which is
    what local servers expect; `api_key=""` sends none in any case.

    >>> openai_compatible("llama3.2", base_url="http://localhost:11434/v1", api_key="", temperature=0).name
    'llama3.2'
    """
    return Endpoint(
        name=named(name),
        base_url=address(base_url),
        dialect=_chat(),
        api_key=chosen_key(api_key, "OPENAI_COMPATIBLE_API_KEY"),
        headers=pairs(headers),
        **checked(options),
    )


def _chat() -> Dialect:
    """The wire format, imported when a model first speaks it."""
    from arshai_kit.dialects.chat import CHAT

    return CHAT
