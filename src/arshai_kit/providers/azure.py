"""Azure OpenAI: the same wire, at an address of your own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final, Unpack

from arshai_kit.effects import Secret
from arshai_kit.errors import MissingKey, Misuse
from arshai_kit.models import Endpoint, Token
from arshai_kit.providers.common import Headers, Options, address, checked, chosen_key, named, pairs, signing, told
from arshai_kit.providers.compatible import Api, spoken
from arshai_kit.providers.openai import STYLE

__all__ = ["azure"]

_DATED: Final = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
_RENAMED: Final = "2024-09-01"
_RESPONSES: Final = "2025-03-01"
"""The first dated version that has the Responses API."""
_CALL: Final = re.compile(r"/+deployments/+([^/]*)|/+(?:chat/+completions|responses|embeddings)/*$")
_ROOT: Final = re.compile(r"/+(openai(/+v1)?/*)?$")


def azure(
    deployment: str,
    *,
    endpoint: str | None = None,
    api_key: str | Secret | None = None,
    token: Token | None = None,
    api_version: str | None = None,
    api: Api | None = None,
    headers: Headers = (),
    **options: Unpack[Options],
) -> Endpoint:
    """A model that is deployed on Azure, as *deployment*, in the resource at *endpoint*.

    *endpoint* is found in the environment as `AZURE_OPENAI_ENDPOINT`, the key as `AZURE_OPENAI_API_KEY`; *token* takes
    the place of a key: a function that returns an access token of Entra ID, asked before each call. The address is the
    one without versions, `/openai/v1/`; a dated *api_version* takes the older one. It is never read from the
    environment, where it would change the wire of a program that does not ask for it. Without *api* the Responses API
    is asked, or Chat Completions where *api_version* is older than it.

    >>> azure("my-gpt", endpoint="https://me.openai.azure.com", api_key="k").base_url
    'https://me.openai.azure.com/openai/v1'
    """
    version = told("api_version", api_version)
    speaks = _api(api, version)
    return Endpoint(
        name=named(deployment),
        base_url=_address(endpoint, speaks, version),
        dialect=spoken(speaks, **_style(version)),
        provider="azure",
        api_key=_key(api_key, token),
        key_header="api-key",
        token=signing(token),
        headers=pairs(headers),
        **checked(options),
    )


def _api(api: Api | None, version: str | None) -> Api:
    """The API to speak, if *version* has it."""
    is_older = version is not None and _DATED.fullmatch(version) is not None and version < _RESPONSES
    if api == "responses" and is_older:
        raise Misuse(f"api_version={version!r} has no Responses API: pass api='chat', or leave api_version= out")
    return api or ("chat" if is_older else "responses")


def _address(endpoint: str | None, api: str, version: str | None) -> str:
    """Where the API is; the dated addresses name the deployment for Chat Completions, and for Responses do not."""
    from urllib.parse import quote

    given = os.environ.get("AZURE_OPENAI_ENDPOINT", "") if told("endpoint", endpoint) is None else endpoint
    if not given:
        raise Misuse("there is no address: pass endpoint='https://NAME.openai.azure.com', or set AZURE_OPENAI_ENDPOINT")
    name = "AZURE_OPENAI_ENDPOINT" if endpoint is None else "endpoint"
    root = _root(address(given, name=name, like="https://NAME.openai.azure.com"))
    if version is None:
        return f"{root}/openai/v1"
    query = f"?api-version={quote(version)}"
    if not _DATED.fullmatch(version):  # as in "preview"
        return f"{root}/openai/v1{query}"
    return f"{root}/openai/deployments/{{name}}{query}" if api == "chat" else f"{root}/openai{query}"


def _root(given: str) -> str:
    """The resource at *given*; the address of one call is refused, as it may name another deployment or version."""
    from urllib.parse import parse_qs

    path, _, query = given.partition("?")
    call = _CALL.search(path)
    if call is None and not query:
        return _ROOT.sub("", path + "/")
    version = parse_qs(query).get("api-version", [""])[0]
    root = _ROOT.sub("", (path[: call.start()] if call else path) + "/")
    right = f"endpoint={root!r}" + (f", api_version={version!r}" if version else "")
    right += f"; the deployment is the first argument: {call[1]!r}" if call and call[1] else ""
    raise Misuse(f"endpoint= is the address of the resource, not that of a call to it: pass {right}")


def _style(version: str | None) -> Mapping[str, Any]:
    """How Chat Completions are written; the oldest versions know but the oldest name of the limit."""
    return {**STYLE, "limit": "max_tokens"} if version and version < _RENAMED else STYLE


def _key(given: str | Secret | None, token: Token | None) -> Secret | None:
    if token is not None:
        if given is not None:
            raise Misuse("api_key= and token= are two ways of signing: pass one of them")
        return None
    key = chosen_key(given, "AZURE_OPENAI_API_KEY")
    if key is None and given is None:
        raise MissingKey("there is no key for Azure: set AZURE_OPENAI_API_KEY, or pass api_key= or token=")
    return key
