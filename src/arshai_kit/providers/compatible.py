"""Whatever speaks Chat Completions, or the Responses API, as OpenAI does."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, Unpack

from arshai_kit.effects import Secret
from arshai_kit.errors import Misuse
from arshai_kit.models import Dialect, Endpoint
from arshai_kit.providers.common import Headers, Options, address, checked, chosen_key, named, pairs

__all__ = ["Api", "openai_compatible", "spoken"]

Api: TypeAlias = Literal["responses", "chat"]
"""What is spoken: OpenAI's Responses API, or Chat Completions."""


def openai_compatible(
    name: str,
    *,
    base_url: str,
    api_key: str | Secret | None = None,
    api: Api = "chat",
    headers: Headers = (),
    **options: Unpack[Options],
) -> Endpoint:
    """A model behind any server that speaks Chat Completions: Ollama, llama.cpp, vLLM, LM Studio, Groq, DeepSeek, …

    Without *api_key* the environment's `OPENAI_COMPATIBLE_API_KEY` counts, and without that no key is sent, which is
    what local servers expect; `api_key=""` sends none in any case. With `api="responses"` it is asked over the
    Responses API.

    >>> openai_compatible("llama3.2", base_url="http://localhost:11434/v1", api_key="", temperature=0).name
    'llama3.2'
    """
    return Endpoint(
        name=named(name),
        base_url=address(base_url),
        dialect=spoken(api),
        api_key=chosen_key(api_key, "OPENAI_COMPATIBLE_API_KEY"),
        headers=pairs(headers),
        **checked(options),
    )


def spoken(api: str, **style: Any) -> Dialect:
    """The wire format that *api* names, Chat Completions in *style*; imported when a model first speaks it."""
    match api:
        case "responses":
            from arshai_kit.dialects.responses import RESPONSES

            return RESPONSES
        case "chat":
            from arshai_kit.dialects.chat import Style, chat_dialect

            return chat_dialect(Style(**style))
    raise Misuse(f"api={api!r}: it is 'responses' or 'chat'")
