"""A gateway is no provider: it stands before one, and wants headers of its own."""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import evolve

from arshai_kit.effects import Secret
from arshai_kit.errors import Misuse
from arshai_kit.models import Endpoint, Headers, pairs
from arshai_kit.providers.common import chosen_key

__all__ = ["gateway"]

M = TypeVar("M")


def gateway(
    model: M,
    *,
    base_url: str | None = None,
    headers: Headers = (),
    api_key: str | Secret | None = None,
) -> M:
    """*model*, reached through an AI gateway: at *base_url*, with *headers* added to those it has.

    What is not given stays as it is; a header of the same name is replaced. What is secret by its name
    (`cf-aig-authorization`, `x-portkey-api-key`) is kept so. An *api_key* takes the place of the model's key or token,
    `""` sends none. It costs next to nothing, so it may be done for each call:
    `complete(gateway(model, headers={"x-user": "7"}), …)`. A wrapper hands it on to the model it wraps.

    >>> from arshai_kit.providers import openai_compatible
    >>> model = openai_compatible("gpt-4o", base_url="https://api.openai.com/v1", api_key="sk-1")
    >>> found = gateway(model, base_url="http://localhost:4000/v1", headers={"x-user": "7"})
    >>> found.base_url, found.headers
    ('http://localhost:4000/v1', (('x-user', '7'),))
    """
    inner: Any = model
    if not isinstance(inner, Endpoint):
        wrapped = getattr(inner, "model", None)
        if wrapped is None:
            raise Misuse(f"gateway takes a model that speaks HTTP, not {type(inner).__name__}")
        passed: M = evolve(inner, model=gateway(wrapped, base_url=base_url, headers=headers, api_key=api_key))
        return passed
    told = {name.lower(): (name, value) for name, value in (*inner.headers, *pairs(headers))}
    changes: dict[str, Any] = {"headers": tuple(told.values())}
    if base_url is not None:
        changes["base_url"] = base_url
    if api_key is not None:
        changes |= {"api_key": chosen_key(api_key), "token": None}
    reached: Any = evolve(inner, **changes)
    found: M = reached
    return found
