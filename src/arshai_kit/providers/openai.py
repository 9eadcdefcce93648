"""OpenAI: the Responses API, or Chat Completions."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Unpack

from arshai_kit.effects import Plan, Request, Secret
from arshai_kit.errors import MissingKey, Misuse
from arshai_kit.faces import blocking
from arshai_kit.models import UNKNOWN, Capabilities, Endpoint
from arshai_kit.providers.common import Headers, Options, address, checked, chosen_key, named, pairs, told
from arshai_kit.providers.compatible import Api, spoken
from arshai_kit.records import Response

__all__ = ["STYLE", "known", "openai", "retrieve", "retrieving"]

STYLE: Final[Mapping[str, Any]] = MappingProxyType({"limit": "max_completion_tokens", "hint": False, "longest_id": 40})
"""How OpenAI takes Chat Completions."""

_ADDRESS: Final = "https://api.openai.com/v1"
_REASONS: Final = re.compile(r"(o1|o3|o4-mini)(-|$)|gpt-5(-mini|-nano|-pro|-codex)?(-\d{4}-\d{2}-\d{2})?$")
"""Models that always reason: known to refuse whatever bends how their words are drawn."""
_STOPS: Final = re.compile(r"(o1|o3-mini)(-|$)")
"""The first of them, which still take `stop`; the later ones refuse it."""
_DRAWN: Final = frozenset({"temperature", "top_p", "logprobs", "presence_penalty", "frequency_penalty"})


def openai(
    name: str,
    *,
    api_key: str | Secret | None = None,
    base_url: str | None = None,
    api: Api = "responses",
    organization: str | None = None,
    project: str | None = None,
    headers: Headers = (),
    **options: Unpack[Options],
) -> Endpoint:
    """A model of OpenAI's, asked over the Responses API without state, or over Chat Completions with `api="chat"`.

    What is not given is taken from the environment when the model is made: `OPENAI_API_KEY`, `OPENAI_BASE_URL`,
    `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`. `api_key=""` sends no key, as for a gateway that adds its own.

    >>> openai("gpt-5.6-luna", api_key="", reasoning="low").name
    'gpt-5.6-luna'
    """
    sender = {
        "OpenAI-Organization": _given(told("organization", organization), "OPENAI_ORG_ID"),
        "OpenAI-Project": _given(told("project", project), "OPENAI_PROJECT_ID"),
    }
    settings = checked(options)
    settings.setdefault("capabilities", known(name))
    return Endpoint(
        name=named(name),
        base_url=address(_given(told("base_url", base_url), "OPENAI_BASE_URL") or _ADDRESS),
        dialect=spoken(api, **STYLE),
        provider="openai",
        api_key=_key(api_key),
        headers=(*[each for each in sender.items() if each[1]], *pairs(headers)),
        **settings,
    )


def retrieving(model: Endpoint, response_id: str) -> Plan[Response]:
    """The response with *response_id* that the provider of *model* keeps, finished or still in the making.

    One that was asked for in the background is `queued` or `in_progress` until it is done: `raw_finish_reason` says so.
    """
    from arshai_kit.dialects.responses import RESPONSES, parse, retrieval

    if model.dialect != RESPONSES:
        raise Misuse(f"{model.name} speaks another API; only the Responses API keeps responses (api='responses')")

    def build(endpoint: Endpoint) -> Request:
        return retrieval(endpoint, response_id)

    return (yield from model.exchange(build, parse))


retrieve = blocking(retrieving)


def known(name: str) -> Capabilities:
    """What the model *name* is known not to take; of most, nothing is known, and it is tried.

    >>> sorted(known("o3-mini").refused)[:2], known("gpt-5.1") == UNKNOWN
    (['frequency_penalty', 'logprobs'], True)
    """
    if not isinstance(name, str) or not _REASONS.match(name):
        return UNKNOWN
    return Capabilities(refused=_DRAWN if _STOPS.match(name) else _DRAWN | {"stop"})


def _given(value: str | None, variable: str) -> str:
    return (os.environ.get(variable, "") if value is None else value).strip()


def _key(given: str | Secret | None) -> Secret | None:
    key = chosen_key(given, "OPENAI_API_KEY")
    if key is None and given is None:
        raise MissingKey("there is no key for OpenAI: set OPENAI_API_KEY, or pass api_key=")
    return key
