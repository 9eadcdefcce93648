"""Keys, and what may be shown of the places where they stand."""

from __future__ import annotations

from typing import Any, NoReturn

from arshai_kit.errors import MissingKey

__all__ = ["Secret", "hidden", "private", "veiled"]


class Secret:
    """A key that no repr, log, error, trace, pickle or JSON shows; no attrs record, or `asdict` would look inside.

    What comes out of a pickle is a key that is lost: whoever needs it is told so.

    >>> Secret("sk-123"), str(Secret("sk-123")), Secret("sk-123").reveal()
    (Secret('***'), '***', 'sk-123')
    """

    __slots__ = ("_value",)
    _value: str | None

    def __init__(self, value: str | None) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """The key itself, for the request that needs it."""
        if self._value is None:
            raise MissingKey("no pickle holds a key, so it is lost: give it again, as by evolve(model, api_key=…)")
        return self._value

    def __eq__(self, other: object) -> bool:
        return type(other) is Secret and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret does not change; make a new one")

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (None,)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: Any) -> Secret:
        return self


_PRIVATE = "auth|key|token|secret|cookie|passw|passphrase|pwd|sig|jwt|bearer|credential|assertion|session|bypass"
_IN_QUERY = f"([?&][^=&#]*(?:{_PRIVATE})[^=&#]*=)([^&#]*)"


def private(name: str) -> bool:
    """Whether a header or a parameter called *name* holds what nobody else may see.

    >>> private("X-Api-Key"), private("x-request-id")
    (True, False)
    """
    import re

    return re.search(_PRIVATE, name, re.I) is not None


def hidden(url: str) -> list[str]:
    """What `veiled` hides in the query of *url*.

    >>> hidden("https://example.org/v1?key=sk-1&a=2")
    ['sk-1']
    """
    import re

    return [value for _, value in re.findall(_IN_QUERY, url, re.I) if value]


def veiled(url: str) -> str:
    """*url* as it may be shown: without keys in its query, or a user and password before its host.

    >>> veiled("https://me:pass@example.org/v1?key=sk-1&a=2")
    'https://***@example.org/v1?key=***&a=2'
    """
    import re

    query = re.sub(_IN_QUERY, r"\1***", url, flags=re.I)
    return re.sub(r"^(\w+://)[^/?#@]*@", r"\1***@", query)
