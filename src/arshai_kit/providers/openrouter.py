"""OpenRouter: the models of many providers behind one address, over Chat Completions with extras of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Unpack

from arshai_kit.effects import Secret
from arshai_kit.errors import MissingKey, Misuse
from arshai_kit.models import Endpoint
from arshai_kit.providers.common import Headers, Options, address, checked, chosen_key, named, pairs
from arshai_kit.providers.compatible import spoken

__all__ = ["openrouter"]

_ADDRESS: Final = "https://openrouter.ai/api/v1"


def openrouter(
    name: str,
    *,
    api_key: str | Secret | None = None,
    base_url: str = _ADDRESS,
    models: Iterable[str] = (),
    provider: Mapping[str, Any] | None = None,
    plugins: Iterable[Mapping[str, Any] | str] = (),
    transforms: Iterable[str] | None = None,
    app_name: str = "",
    app_url: str = "",
    headers: Headers = (),
    **options: Unpack[Options],
) -> Endpoint:
    """A model that OpenRouter reaches: Claude, Llama, Mistral, Qwen, …; its name begins with its maker's.

    *models* are asked in turn, by OpenRouter, where *name* fails. *provider* says who may serve it, in OpenRouter's
    own fields (`order`, `only`, `ignore`, `allow_fallbacks`, `require_parameters`, `data_collection`, `sort`,
    `max_price`, …); *plugins* are names or objects such as `{"id": "file-parser", "pdf": {"engine": "native"}}`.
    *transforms* may be none, `()`, lest OpenRouter shortens what is too long. *app_name* and *app_url* tell who asks.
    Without *api_key* the environment's `OPENROUTER_API_KEY` counts; `api_key=""` sends none.

    >>> openrouter("anthropic/claude-sonnet-4.5", api_key="", provider={"sort": "price"}).extra
    {'provider': {'sort': 'price'}}
    """
    settings = checked(options)
    settings["extra"] = {**_routing(models, provider, plugins, transforms), **_extra(settings)}
    told = {"HTTP-Referer": app_url, "X-Title": app_name}
    return Endpoint(
        name=named(name),
        base_url=address(base_url),
        dialect=spoken("chat", effort=False, addresses=("image", "file"), hint=False, empty=False, **_ids(name)),
        provider="openrouter",
        api_key=_key(api_key),
        headers=(*[(header, value) for header, value in told.items() if value], *pairs(headers)),
        **settings,
    )


def _ids(name: str) -> dict[str, Any]:
    """What the maker of the model refuses in the ids of calls, which OpenRouter passes on as they are."""
    if name.startswith("mistralai/"):
        return {"longest_id": 9, "plain_ids": True}
    return {"longest_id": 40} if name.startswith("openai/") else {}


def _routing(models: Any, provider: Mapping[str, Any] | None, plugins: Any, transforms: Any) -> dict[str, Any]:
    """What is given of OpenRouter's own fields."""
    found: dict[str, Any] = {
        "models": list(_texts("models", models)) or None,
        "provider": None if provider is None else dict(_fields("provider", provider, {"sort": "price"})),
        "plugins": [{"id": each} if isinstance(each, str) else each for each in _several("plugins", plugins)] or None,
        "transforms": None if transforms is None else list(_texts("transforms", transforms)),
    }
    return {name: value for name, value in found.items() if value is not None}


def _extra(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    extra = settings.get("extra")
    return _fields("extra", {} if extra is None else extra, {"user": "ann"})


def _fields(name: str, given: Any, like: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise Misuse(f"{name}= takes fields for the body of the request, as in {like}, not {given!r}")
    return given


def _several(name: str, given: Any) -> tuple[Any, ...]:
    if isinstance(given, str | Mapping):
        raise Misuse(f"{name}= takes several: [{given!r}]")
    if not isinstance(given, Iterable):
        raise Misuse(f"{name}= takes several, not {given!r}")
    return tuple(given)


def _texts(name: str, given: Any) -> tuple[str, ...]:
    found = _several(name, given)
    if not all(isinstance(each, str) for each in found):
        raise Misuse(f"{name}= takes names, not {found!r}")
    return found


def _key(given: str | Secret | None) -> Secret | None:
    key = chosen_key(given, "OPENROUTER_API_KEY")
    if key is None and given is None:
        raise MissingKey("there is no key for OpenRouter: set OPENROUTER_API_KEY, or pass api_key=")
    return key
