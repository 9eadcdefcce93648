"""Filters as JSON, and back: whoever wrote it, what is no filter is refused, and nothing in it is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from arshai_kit._json import Json, freeze
from arshai_kit.errors import Misuse
from arshai_kit.index.filters import (
    DEEPEST,
    EVERYTHING,
    OPERATORS,
    Among,
    Compared,
    Contains,
    Filter,
    Named,
    StartsWith,
    field,
    fold,
    named,
    where,
)

__all__ = ["from_plain", "to_plain"]


def to_plain(filter: Filter) -> Json:  # noqa: A002  # what it is
    """*filter* as JSON, for `from_plain`.

    >>> to_plain(~where(page=None))
    {'not': {'field': 'page', '==': None}}
    """

    def leaf(each: Any) -> Any:
        match each:
            case Compared():
                return {"field": each.field, each.operator: each.value}
            case Among():
                return {"field": each.field, "in": each.values}
            case Contains():
                return {"field": each.field, "contains": each.value}
            case StartsWith():
                return {"field": each.field, "startswith": each.value}
            case Named():
                return {"ids": each.ids}
        return {}

    told: Any = fold(
        filter, leaf=leaf, both=lambda parts: {"and": parts}, either=lambda parts: {"or": parts}, negated=_negated
    )
    return freeze(told)


def _negated(part: Any) -> Any:
    return {"not": part}


def from_plain(value: Any, *, depth: int = 0) -> Filter:
    """The filter that `to_plain` told; whoever wrote it, a wrong one is refused and nothing in it is run.

    >>> from_plain({"and": [{"field": "year", ">=": 2020}, {"field": "tags", "contains": "rain"}]})
    (field('year') >= 2020) & field('tags').contains('rain')
    """
    if depth > DEEPEST:
        raise Misuse(f"a filter is nested at most {DEEPEST} levels deep")
    match value:
        case {"and": [first, *rest], **none} if not none:
            found = from_plain(first, depth=depth + 1)
            for each in rest:
                found = found & from_plain(each, depth=depth + 1)
            return found
        case {"or": [first, *rest], **none} if not none:
            found = from_plain(first, depth=depth + 1)
            for each in rest:
                found = found | from_plain(each, depth=depth + 1)
            return found
        case {"not": part, **none} if not none:
            return ~from_plain(part, depth=depth + 1)
    return _leaf(value)


def _leaf(value: Any) -> Filter:
    match value:
        case {"field": str(name), **rest} if name and len(rest) == 1:
            ((word, given),) = rest.items()
            if word in OPERATORS:
                return Compared(name, word, given)  # type: ignore[arg-type]  # one of those that there are
            if word in _WORDS:
                return _WORDS[word](name, given)
        case {"ids": [*ids], **none} if not none:
            return named(*ids)
        case {**none} if not none:
            return EVERYTHING
    raise Misuse(f"{value!r} is no filter: it is like {to_plain((field('a') > 1) | ~where(b=2))!r}")


_WORDS: Final[dict[str, Callable[[str, Any], Filter]]] = {"in": Among, "contains": Contains, "startswith": StartsWith}
