"""Records to JSON and back, exactly: a closed set of types, told by their names, and nothing that data could run."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from types import MappingProxyType, NoneType
from typing import Any, Final, get_args

from arshai_kit import records
from arshai_kit._json import FrozenDict, dumps, exact
from arshai_kit.errors import Misuse
from arshai_kit.models import Ask, OutputSpec, Settings
from arshai_kit.records import (
    Candidate,
    Event,
    Logprob,
    Message,
    Part,
    Paused,
    RateLimit,
    Response,
    ToolCall,
    ToolProgress,
    ToolRun,
    ToolSpec,
    Usage,
)
from arshai_kit.records.vectors import Embeddings, Vector

__all__ = ["RECORDS", "VERSION", "from_json", "from_plain", "to_json", "to_plain"]

VERSION: Final = 1
"""The version of the format: only a change that an older reader would misread makes a new one."""

RECORDS: Final[Mapping[str, type]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            *(Message, *get_args(Part), ToolSpec, Usage, ToolRun, Logprob, Candidate, RateLimit, Response, Paused),
            *get_args(Event),
            *(Ask, OutputSpec, Settings, Vector, Embeddings),
        )
    }
)
"""Every type that JSON can name."""

_ARRAYS: Final = (
    *(tuple[Part, ...], tuple[Message, ...], tuple[ToolRun, ...], tuple[ToolSpec, ...]),
    *(tuple[Candidate, ...], tuple[Logprob, ...], tuple[RateLimit, ...]),
    *(tuple[ToolCall, ...], tuple[Vector, ...], tuple[int, ...], tuple[str, ...] | None),
)
_SCALARS: Final = (str, int, float, bool, NoneType)


def to_json(record: Any) -> str:
    """*record* (a message, a response, an event, …) as one line of JSON, for `from_json`.

    What has its default is left out, and so is `Response.raw`.

    >>> to_json(records.user("Hello"))
    '{"v":1,"type":"Message","role":"user","parts":[{"type":"Text","text":"Hello"}]}'
    """
    return dumps(to_plain(record)).decode()


def from_json(text: str | bytes, *, output: Any = None) -> Any:
    """The record that `to_json` wrote as *text*; with an *output* type, `Response.output` has that type again.

    Fields that are not known are passed over; a format that is newer than this package is refused.

    >>> from_json('{"v": 1, "type": "TextDelta", "text": "Hel", "since": 2}')
    TextDelta('Hel')
    """
    if not isinstance(text, str | bytes | bytearray | memoryview):
        raise Misuse(f"from_json takes the text that to_json wrote, not {type(text).__name__}")
    try:
        data = exact(text if isinstance(text, str) else bytes(text).decode())
    except ValueError as error:
        raise Misuse(f"this is no JSON: {error}") from error
    return from_plain(data, output=output)


def to_plain(record: Any) -> dict[str, Any]:
    """*record* as what `to_json` writes: plain dictionaries and lists."""
    name = type(record).__name__
    if RECORDS.get(name) is not type(record):
        raise Misuse(f"{name} has no JSON of its own; these have: {', '.join(sorted(RECORDS))}")
    return {"v": VERSION, "type": name, **_converter().unstructure(record, type(record))}


def from_plain(data: Any, *, output: Any = None) -> Any:
    """The record that `to_plain` made *data* of."""
    if not isinstance(data, dict):
        raise Misuse(f"a record is a JSON object, not {type(data).__name__}")
    version, name = data.get("v"), data.get("type")
    if type(version) is not int or version < 1:
        raise Misuse('this was not written by to_json: it has no version, as in {"v": 1, "type": "Message", …}')
    if version > VERSION:
        raise Misuse(f"this is of format {version}, and format {VERSION} is known here: upgrade arshai_kit to read it")
    if not isinstance(name, str) or name not in RECORDS:
        raise Misuse(f"there is no record {name!r}; there are: {', '.join(sorted(RECORDS))}")
    try:
        record = _converter().structure(data, RECORDS[name])
    except Exception as error:
        raise Misuse(f"this {name} cannot be read: {_where(error)}") from error
    return record if output is None else _typed(record, output)


def _where(error: Exception) -> str:
    """What is wrong, and the path that leads there (`$` is the record)."""
    from cattrs import transform_error

    return "; ".join(transform_error(error, format_exception=_told)[:3])


def _told(error: BaseException, _type: type | None) -> str:
    match error:
        case KeyError():
            return f"{error} is missing"
        case RecursionError():
            return "nested too deep"
    return str(error)


def _typed(record: Any, output: Any) -> Any:
    """*record*, its response's output of the type *output*."""
    from attrs import evolve

    from arshai_kit.schema import Misfit, structured

    match record:
        case Response(output=plain):
            try:
                return evolve(record, output=structured(_thawed(plain), output))
            except Misfit as misfit:
                raise Misuse(f"the output does not fit: {misfit}") from misfit
        case records.Finished(response=response):
            return evolve(record, response=_typed(response, output))
    raise Misuse(f"output= is for a Response, not for {type(record).__name__}")


def _thawed(value: Any) -> Any:
    """Frozen JSON as plain dictionaries and lists."""
    match value:
        case dict():
            return {key: _thawed(each) for key, each in value.items()}
        case tuple() | list():
            return [_thawed(each) for each in value]
    return value


@cache
def _converter() -> Any:
    """A cattrs converter for our records alone, which coerces nothing."""
    import attrs
    from cattrs import Converter

    for kind in RECORDS.values():  # what only type checkers import has to be named
        attrs.resolve_types(kind, localns={"Decimal": Decimal})
    converter = Converter(omit_if_default=True)
    for kind in _SCALARS:
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(Decimal, _decimal)
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(bytes, _bytes)
    converter.register_unstructure_hook(bytes, lambda data: base64.b64encode(data).decode())
    _add_parts(converter)
    converter.register_structure_hook_factory(attrs.has, lambda kind: _reading(kind, converter))
    converter.register_unstructure_hook_factory(attrs.has, lambda kind: _writing(kind, converter))
    return converter


def _add_parts(converter: Any) -> None:
    """Parts are told by the name of their type; a content is text, or a list of parts."""
    known = {kind.__name__: kind for kind in get_args(Part)}
    parts = tuple[Part, ...]

    def read(value: Any, _: Any) -> Any:
        name = _object(value).get("type")
        if name not in known:
            raise ValueError(f"there is no part {name!r}; there are: {', '.join(known)}")
        return converter.structure(value, known[name])

    def write(part: Any) -> dict[str, Any]:
        name = type(part).__name__
        if known.get(name) is not type(part):
            raise Misuse(f"{name} is no part of a message; there are: {', '.join(known)}")
        return {"type": name, **converter.unstructure(part, type(part))}

    converter.register_structure_hook(Part, read)
    converter.register_unstructure_hook(Part, write)
    content = str | parts
    converter.register_structure_hook(
        content, lambda value, _: value if isinstance(value, str) else converter.structure(_list(value), parts)
    )
    converter.register_unstructure_hook(
        content, lambda value: value if isinstance(value, str) else converter.unstructure(value, parts)
    )


def _reading(kind: Any, converter: Any) -> Callable[[Any, Any], Any]:
    import attrs
    from cattrs.gen import make_dict_structure_fn, override

    def array(value: Any, wanted: Any) -> Any:
        return converter.structure(None if value is None else _list(value), wanted)

    arrays = [spot.name for spot in attrs.fields(kind) if spot.type in _ARRAYS]
    special: dict[str, Any] = dict.fromkeys(arrays, override(struct_hook=array))
    if kind is Settings:
        special |= dict.fromkeys(("reasoning", "tool_choice"), override(struct_hook=_word))
        special["extra"] = override(struct_hook=_object)
    if kind is Usage:
        special |= {"missing": override(struct_hook=_list), "kinds": override(struct_hook=_object)}
    if kind is Response:
        special["output"] = override(struct_hook=_read_output)
    read: Any = make_dict_structure_fn(kind, converter, **special)
    return lambda value, _: read(_object(value), kind)


def _writing(kind: Any, converter: Any) -> Callable[[Any], Any]:
    """How a record is written: what has the type `Any` is JSON already, but for what tools and agents return."""
    import attrs
    from cattrs.gen import make_dict_unstructure_fn, override

    untyped = [spot.name for spot in attrs.fields(kind) if spot.type in (Any, FrozenDict)]
    special: dict[str, Any] = dict.fromkeys(untyped, override(unstruct_hook=_thawed))
    if kind is Usage:
        special["missing"] = override(unstruct_hook=sorted)
    if kind is ToolSpec:
        special["example"] = override(unstruct_hook=_thawed)
    if kind is Response:
        special |= {"raw": override(omit=True), "output": override(unstruct_hook=_written_output)}
    if kind is Embeddings:
        special["raw"] = override(omit=True)
    if kind is ToolProgress:
        special["value"] = override(unstruct_hook=_unstructured)
    written: Callable[[Any], Any] = make_dict_unstructure_fn(kind, converter, _cattrs_omit_if_default=True, **special)
    return written


def _written_output(value: Any) -> Any:
    """An output as JSON; responses in it, as of agents side by side, say what they are."""
    match value:
        case Response():
            return to_plain(value)
        case tuple() if any(isinstance(each, Response) for each in value):
            return [_written_output(each) for each in value]
        case FrozenDict() if any(isinstance(each, Response) for each in value.values()):
            return {name: _written_output(each) for name, each in value.items()}
    return _unstructured(value)


def _read_output(value: Any, _: Any) -> Any:
    """What `_written_output` wrote; the responses in it are responses again."""
    match value:
        case {"v": int(), "type": "Response"}:
            return from_plain(value)
        case list():
            inside = tuple([_read_output(each, _) for each in value])
            return inside if any(isinstance(each, Response) for each in inside) else value
        case dict():
            held = {name: _read_output(each, _) for name, each in value.items()}
            return FrozenDict(held) if any(isinstance(each, Response) for each in held.values()) else value
    return value


def _unstructured(value: Any) -> Any:
    from arshai_kit.schema import Misfit, unstructured

    try:
        return unstructured(value)
    except Misfit as misfit:
        raise Misuse(f"the output has no JSON: {misfit}") from misfit


# What fits, and nothing else: cattrs alone would make "3" of 3


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    kinds = (int, float) if kind is float else (kind,)
    name = "null" if kind is NoneType else kind.__name__

    def check(value: Any, _: Any) -> Any:
        if isinstance(value, kinds) and (kind is bool or not isinstance(value, bool)):
            return value
        raise TypeError(f"expected {name}, got {type(value).__name__}")

    return check


def _word(value: Any, _: Any) -> Any:
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    raise TypeError(f"expected a word or a number, got {type(value).__name__}")


def _object(value: Any, _: Any = None) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise TypeError(f"expected an object, got {type(value).__name__}")


def _list(value: Any, _: Any = None) -> list[Any]:
    if isinstance(value, list):
        return value
    raise TypeError(f"expected an array, got {type(value).__name__}")


def _decimal(value: Any, _: Any) -> Decimal:
    try:
        return Decimal(value if isinstance(value, str) else "")
    except InvalidOperation:
        raise ValueError(f"expected a decimal number as text, got {value!r}") from None


def _bytes(value: Any, _: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"expected base64, got {type(value).__name__}")
    return base64.b64decode(value, validate=True)
