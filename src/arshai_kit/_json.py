"""JSON that is fast to read, exact where it matters, and frozen once it is inside a record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeAlias

import orjson

from arshai_kit.errors import Misuse

__all__ = ["EMPTY", "FrozenDict", "Json", "dumps", "exact", "freeze", "loads"]

Json: TypeAlias = Any
"""Frozen JSON: `None`, `bool`, `int`, finite `float`, `str`, a tuple of these, or a `FrozenDict` of them."""

_DEEPEST = 200


class FrozenDict(dict[str, Any]):
    """A mapping that cannot change and can be hashed; equal to the `dict` with the same items.

    >>> FrozenDict(a=1) == {"a": 1}, hash(FrozenDict(a=1)) == hash(FrozenDict(a=1))
    (True, True)
    """

    __slots__ = ("_hash",)
    _hash: int

    def __hash__(self) -> int:  # type: ignore[override]  # dict has none; this one cannot change
        try:
            return self._hash
        except AttributeError:
            self._hash = hash(frozenset(self.items()))
            return self._hash

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("JSON inside a record is frozen; make a new one: {**old, ...}")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, _: Any) -> FrozenDict:
        return self


EMPTY = FrozenDict()

_ATOMS = frozenset({str, int, bool, type(None), FrozenDict})
_PLAIN = frozenset({list, tuple, dict})
_STRINGS = frozenset({str})
_DIGITS = bytes.maketrans(bytes(range(256)), bytes([48 if 48 <= each <= 57 else 32 for each in range(256)]))
_BIG_NUMBER = b"0" * 19  # an integer of so many digits may need more than 64 bits


def freeze(value: Any, *, depth: int = 0) -> Json:
    """*value*, hashable and unchangeable; what is not JSON is refused.

    >>> freeze({"cities": ["Oslo", "Bergen"]})
    {'cities': ('Oslo', 'Bergen')}
    >>> freeze(float("nan"))
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: nan is not JSON
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind in _PLAIN and depth < _DEEPEST:
        return _frozen_plain(value, depth + 1)
    return _frozen_slowly(value, depth)


def _frozen_plain(value: Any, below: int) -> Json:
    """A list, tuple or dict, frozen; what most JSON is made of."""
    if type(value) is dict:
        if not _STRINGS.issuperset(map(type, value)):
            return _frozen_slowly(value, below - 1)
        items = value.items()
        return FrozenDict({key: each if type(each) in _ATOMS else freeze(each, depth=below) for key, each in items})
    return tuple([each if type(each) in _ATOMS else freeze(each, depth=below) for each in value])


def _frozen_slowly(value: Any, depth: int) -> Json:
    match value:
        case FrozenDict():
            return value
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            if value - value != 0:
                raise Misuse(f"{value} is not JSON")
            return value if type(value) is float else float(value)
    if depth >= _DEEPEST:
        raise Misuse("the value is circular, or nested more than 200 levels deep")
    if isinstance(value, Mapping):
        return FrozenDict(_frozen_items(value, depth))
    if isinstance(value, list | tuple):
        return tuple([freeze(each, depth=depth + 1) for each in value])
    raise Misuse(f"{type(value).__name__} is not JSON")


def _frozen_items(value: Mapping[Any, Any], depth: int) -> Iterator[tuple[str, Json]]:
    for key, each in value.items():
        if not isinstance(key, str):
            raise Misuse(f"a key of a JSON object is a string, not {type(key).__name__}")
        yield key, freeze(each, depth=depth + 1)


def loads(data: bytes | str) -> Any:
    """Parse JSON fast; a `ValueError` says what is wrong. NaN is refused, a lone surrogate is not.

    >>> loads('{"a": [1, 2]}')
    {'a': [1, 2]}
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _slow_loads(data)


def exact(text: str) -> Any:
    """Parse JSON that a model wrote, keeping whole numbers of any size.

    >>> exact("123456789012345678901234567890")
    123456789012345678901234567890
    """
    big = _BIG_NUMBER in text.encode("utf-8", "surrogatepass").translate(_DIGITS)
    return _slow_loads(text) if big else loads(text)


def _slow_loads(data: bytes | str) -> Any:
    try:
        return json.loads(data, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("the JSON is nested too deep") from None


def _finite(text: str) -> float:
    value = float(text)
    return value if value - value == 0 else _no_constant(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def dumps(value: Any) -> bytes:
    """*value* as compact JSON in UTF-8.

    >>> dumps({"a": (1, 2)})
    b'{"a":[1,2]}'
    """
    try:
        return bytes(memoryview(orjson.dumps(value)))  # a copy, for the original keeps kilobytes of spare room
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
