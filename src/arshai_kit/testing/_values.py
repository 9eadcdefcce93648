"""What foreign functions take and return, as JSON that a person can read, and back; nothing in it is ever run.

What JSON has no word for is an object with one member whose name begins with `$`. What cannot be kept at all is kept
as the name of its type, and fails when it is used.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import AsyncGeneratorType, GeneratorType, MappingProxyType
from typing import Any, Final, NoReturn
from uuid import UUID

import attrs

from arshai_kit._json import FrozenDict, freeze
from arshai_kit.codec import RECORDS, from_plain, to_plain
from arshai_kit.effects import Secret
from arshai_kit.errors import Diverged
from arshai_kit.memory.encoding import decoded, encoded
from arshai_kit.memory.records import Conversation, Note
from arshai_kit.records import Response
from arshai_kit.testing.errors import error_data, error_of

__all__ = ["Lost", "StandIn", "data_of", "value_of"]

Data = Any
"""What `json.loads` gives."""


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_TEXTS: Final[Mapping[type, tuple[str, Callable[[Any], str], Callable[[str], Any]]]] = MappingProxyType(
    {
        bytes: ("$bytes", _base64, base64.b64decode),
        bytearray: ("$bytearray", _base64, lambda text: bytearray(base64.b64decode(text))),
        Decimal: ("$decimal", str, Decimal),
        datetime: ("$datetime", datetime.isoformat, datetime.fromisoformat),
        date: ("$date", date.isoformat, date.fromisoformat),
        time: ("$time", time.isoformat, time.fromisoformat),
        UUID: ("$uuid", str, UUID),
        float: ("$float", repr, float),  # NaN and the infinities
    }
)
"""Types that one text says all about: their mark, how they are written, and how they are read."""

_DESCRIBED: Final = ("model_dump", "_asdict")
"""What models of pydantic and named tuples have."""

_READ: Final = MappingProxyType({mark: read for mark, _, read in _TEXTS.values()})


def data_of(value: Any, *, wholly: bool = True) -> Data:
    """*value* as JSON data; without *wholly*, only what is the same each time that a program runs.

    >>> data_of((1, b"x")), data_of({"a": [True]})
    ({'$tuple': [1, {'$bytes': 'eA=='}]}, {'a': [True]})
    """
    try:
        return _data(value, wholly)
    except Exception:  # noqa: BLE001  # whatever is strange about a foreign value, the run that is recorded goes on
        return {"$lost": type(value).__qualname__}


def _data(value: Any, wholly: bool) -> Data:  # noqa: FBT001  # passed on down the value
    kind = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and value - value == 0):
        return value
    if kind in _TEXTS:
        mark, write, _ = _TEXTS[kind]
        return {mark: write(value)}
    match value:
        case list() if kind is list:
            return [_data(each, wholly) for each in value]
        case tuple() if kind is tuple:
            return {"$tuple": [_data(each, wholly) for each in value]}
        case dict() if kind in (dict, FrozenDict):
            return _mapping(value, wholly)
        case set() | frozenset():
            inside = sorted([_data(each, wholly) for each in value], key=repr)
            return {"$set" if isinstance(value, set) else "$frozenset": inside}
        case timedelta():
            return {"$timedelta": [value.days, value.seconds, value.microseconds]}
        case Exception():
            return {"$error": error_data(value, lambda each: _data(each, wholly))}
    return _named(value, wholly)


def _mapping(value: dict[Any, Any], wholly: bool) -> Data:  # noqa: FBT001  # passed on down the value
    if type(value) is FrozenDict:
        return {"$frozen": {key: _data(each, wholly) for key, each in value.items()}}
    if all(type(key) is str and not key.startswith("$") for key in value):
        return {key: _data(each, wholly) for key, each in value.items()}
    return {"$dict": [[_data(key, wholly), _data(each, wholly)] for key, each in value.items()]}


def _named(value: Any, wholly: bool) -> Data:  # noqa: FBT001  # passed on down the value
    """What is known by the name of its type."""
    name = type(value).__qualname__
    match value:
        case _ if RECORDS.get(type(value).__name__) is type(value):
            return _record(value, wholly)
        case Enum() if not isinstance(value, int | str):
            return {"$enum": f"{type(value).__name__}.{value.name}", "value": _data(value.value, wholly)}
        case str():  # a word from an enumeration
            return str.__str__(value)
        case int() | float():  # a number of a library's own
            return _data(int(value) if isinstance(value, int) else float(value), wholly)
        case PurePath():
            return {"$path": str(value)}
        case GeneratorType() | AsyncGeneratorType():
            return {"$generator": value.__name__, "async": isinstance(value, AsyncGeneratorType)}
        case Secret():
            return {"$secret": ""}
        case StandIn() | Lost():
            return value.again(wholly=wholly)
    if callable(value) and hasattr(value, "__name__"):
        return {"$lost": f"{name} {value.__name__}"}
    return _object(value, name, wholly)


def _record(value: Any, wholly: bool) -> Data:  # noqa: FBT001  # passed on down the value
    if isinstance(value, Response) and value.output is not None:
        plain = to_plain(attrs.evolve(value, output=None))
        return {"$record": plain, "output": _data(value.output, wholly)}
    return {"$record": to_plain(value)}


def _object(value: Any, name: str, wholly: bool) -> Data:  # noqa: FBT001  # passed on down the value
    """What a memory gave; or a user's record, by what a model would be told of it."""
    match value:
        case Conversation(messages=messages, version=version, room=room):
            return {"$conversation": [encoded(messages).decode(), version, room]}
        case Note(value=noted, version=version):
            return {"$note": [_data(noted, wholly), version]}
    kind = type(value)
    if not (attrs.has(kind) or dataclasses.is_dataclass(kind) or any(hasattr(kind, each) for each in _DESCRIBED)):
        return {"$lost": name}
    from arshai_kit.schema import Misfit, unstructured

    try:
        data: dict[str, Data] = {"$object": name, "json": unstructured(value)}
    except Misfit:
        return {"$lost": name}
    if wholly and " at 0x" not in (text := str(value)):
        data["text"] = text
    return data


# Back


def value_of(data: Data) -> Any:
    """The value that `data_of` made *data* of, or what stands in for it.

    >>> value_of(data_of({"when": (1, 2.5), 3: {b"x"}}))
    {'when': (1, 2.5), 3: {b'x'}}
    """
    match data:
        case list():
            return [value_of(each) for each in data]
        case dict():
            mark = next(iter(data), "")
            return _marked(mark, data) if mark.startswith("$") else {key: value_of(each) for key, each in data.items()}
    return data


def _marked(mark: str, data: dict[str, Data]) -> Any:
    inside = data[mark]
    if mark in _READ:
        return _READ[mark](inside)
    match mark:
        case "$tuple":
            return tuple([value_of(each) for each in inside])
        case "$set" | "$frozenset":
            values = [value_of(each) for each in inside]
            return set(values) if mark == "$set" else frozenset(values)
        case "$dict":
            return {value_of(key): value_of(each) for key, each in inside}
        case "$frozen":
            return freeze({key: value_of(each) for key, each in inside.items()})
        case "$timedelta":
            return timedelta(*inside)
        case "$error":
            return error_of(inside, value_of)
    return _known(mark, inside, data)


def _known(mark: str, inside: Data, data: dict[str, Data]) -> Any:
    match mark:
        case "$record":
            record = from_plain(inside)
            return attrs.evolve(record, output=value_of(data["output"])) if "output" in data else record
        case "$enum":
            name, _, member = inside.rpartition(".")
            return getattr(Enum(name, {member: value_of(data["value"])}), member)
        case "$secret":
            return Secret("***")
        case "$conversation":
            text, version, *room = inside
            return Conversation(decoded(text.encode()), version, room=room[0] if room else None)
        case "$note":
            return Note(value_of(inside[0]), inside[1])
        case "$path":
            from pathlib import Path

            return Path(inside)
        case "$generator":
            stopped: Any = _async_stopped(inside) if data["async"] else _stopped(inside)
            stopped.__name__ = inside
            return stopped
        case "$object" if isinstance(data["json"], dict):
            return StandIn(inside, data["json"], data.get("text"))
    return Lost(str(inside))


class StandIn(dict[str, Any]):
    """A user's record out of a recording: its members, by name or as attributes; for a model it reads the same."""

    def __init__(self, name: str, members: Mapping[str, Any], text: str | None) -> None:
        super().__init__(members)
        self.__name, self.__text = name, text

    def again(self, *, wholly: bool) -> Data:
        """What it came from."""
        data = {"$object": self.__name, "json": dict(self)}
        return data | {"text": self.__text} if wholly and self.__text is not None else data

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in self:
            raise Diverged(f"of this {self.__name} the recording holds {', '.join(self) or 'nothing'}, not {name!r}")
        value = self[name]
        return StandIn(f"{self.__name}.{name}", value, None) if isinstance(value, dict) else value

    def __str__(self) -> str:
        return self.__text if self.__text is not None else repr(self)

    def __repr__(self) -> str:
        return f"<recorded {self.__name} {dict(self)!r}>"


class Lost:
    """A value that a recording could not keep: it has a name, and using it fails."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name}, not kept in the recording>"

    def again(self, *, wholly: bool) -> Data:  # noqa: ARG002  # there is no more to it
        """What it came from."""
        return {"$lost": self._name}

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise Diverged(f"a recording cannot keep a value like this {self._name}, and the run uses it")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    __str__ = __bool__ = __call__ = __iter__ = __len__ = __contains__ = __getitem__ = _refuse
    __eq__ = __hash__ = __int__ = __float__ = __index__ = __enter__ = __exit__ = __await__ = _refuse


def _stopped(name: str) -> Generator[Any, None, None]:
    raise Diverged(f"the recording holds the steps of {name}, not {name} itself")
    yield


async def _async_stopped(name: str) -> AsyncGenerator[Any, None]:
    raise Diverged(f"the recording holds the steps of {name}, not {name} itself")
    yield
