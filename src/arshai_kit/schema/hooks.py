"""JSON to types: each type becomes one function, made once.

Strict where a model must not be second-guessed (text stays text, `"3"` is no number), lenient where JSON itself is
(`3.0` is an integer, `3` a number). `null` where a field may be left out counts as left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final, get_origin

from attrs import frozen

from arshai_kit.errors import BadSchema
from arshai_kit.schema.fields import Field, fields
from arshai_kit.schema.limits import checks
from arshai_kit.schema.misfit import Misfit, at, seen, unfit
from arshai_kit.schema.shapes import (
    Shape,
    bare,
    is_array,
    is_named_tuple,
    is_typed_dict,
    kind_of,
    members,
    named,
    shape,
    takes,
)
from arshai_kit.schema.texts import READERS, wanted

__all__ = ["Branch", "Hook", "fitting", "hook", "object_hook", "pairs"]

Hook = Callable[[Any, Any], Any]
"""A JSON value, and (for cattrs, which passes it) the type, to the value of the type."""


def hook(tp: Any) -> Hook:
    """The function that structures *tp*."""
    if type(tp) is type:
        return _kept(tp, "")
    try:
        return _kept(tp, repr(tp))  # `A | B == B | A`, yet the first that fits wins
    except TypeError:  # metadata that cannot be hashed
        return _made(tp, {})
    except RecursionError:
        raise BadSchema(f"{named(tp)}: the type never ends") from None


@lru_cache(maxsize=1024)
def _kept(tp: Any, _: str) -> Hook:
    return _made(tp, {})


def _made(tp: Any, made: dict[str, list[Hook]]) -> Hook:
    """The function for *tp*; *made* holds those under way, for types that contain themselves."""
    found = shape(tp)
    if found.kind in READERS:
        read, cls = READERS[found.kind], found.type
        return lambda value, _: read(value, cls)
    if simple := _SIMPLE.get(found.kind):
        return simple
    if found.kind not in ("record", "alias"):
        return _MAKERS[found.kind](found, made)
    key = repr(found.type) + str(id(found.type))
    if key in made:
        cell = made[key]
        return lambda value, of: cell[0](value, of)  # noqa: PLW0108  # the cell is filled later
    made[key] = []
    made[key].append(_MAKERS[found.kind](found, made))
    return made[key][0]


# -- leaves --


def _null(value: Any, _: Any) -> None:
    if value is not None:
        raise unfit("null", value)


def _boolean(value: Any, _: Any) -> bool:
    if value is True or value is False:
        return value
    raise unfit("true or false", value)


def _integer(value: Any, _: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise unfit("an integer", value)


def _number(value: Any, _: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise unfit("a number", value)


def _string(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return value
    raise unfit("a string", value)


def _anything(value: Any, _: Any) -> Any:
    """JSON as it is, in containers of its own: what is frozen thaws, so that a function may change what it got."""
    if isinstance(value, Mapping):
        return {key: _anything(each, _) for key, each in value.items()}
    return [_anything(each, _) for each in value] if is_array(value) else value


# -- what is made of others --


def _choice(found: Shape, _: dict[str, list[Hook]]) -> Hook:
    table = {(type(value) is bool, value): each for value, each in found.parts}
    words = wanted(found)

    def choice(value: Any, _: Any) -> Any:
        try:
            return table[type(value) is bool, value]
        except (KeyError, TypeError):
            raise unfit(words, value) from None

    return choice


def _array(found: Shape, made: dict[str, list[Hook]]) -> Hook:
    item, make = _made(found.parts[0], made), found.type
    unique = make in (set, frozenset)

    def array(value: Any, of: Any) -> Any:
        if type(value) is not list and not is_array(value):
            raise unfit("an array", value)
        items = [item(each, of) for each in value]
        if make is list:
            return items
        built = make(items)
        if unique and len(built) != len(items):
            raise Misfit("", "expected items that differ, got some twice")
        return built

    return array


def _tuple(found: Shape, made: dict[str, list[Hook]]) -> Hook:
    hooks = tuple(_made(each, made) for each in found.parts)

    def fixed(value: Any, of: Any) -> tuple[Any, ...]:
        if not is_array(value):
            raise unfit("an array", value)
        if len(value) != len(hooks):
            raise Misfit("", f"expected {len(hooks)} items, got {len(value)}")
        return tuple(each(item, of) for each, item in zip(hooks, value, strict=True))

    return fixed


def _map(found: Shape, made: dict[str, list[Hook]]) -> Hook:
    under = bare(found.parts[0])
    key, item = _made(found.parts[0], made), _made(found.parts[1], made)
    if under.kind == "integer":
        key = _digits(key)
    elif under.kind == "any":
        key = _string

    def mapping(value: Any, of: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise unfit("an object", value)
        return {key(name, of): item(each, of) for name, each in value.items()}

    return mapping


def _digits(number: Hook) -> Hook:
    """Keys are text in JSON; where they are integers in Python, the text must be one."""

    def key(value: Any, of: Any) -> Any:
        if isinstance(value, str) and value.isascii() and str(_int(value)) == value:
            return number(_int(value), of)
        raise unfit("an integer as key", value)

    return key


def _int(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _alias(found: Shape, made: dict[str, list[Hook]]) -> Hook:
    return _made(found.parts[0], made)


def _narrowed(found: Shape, made: dict[str, list[Hook]]) -> Hook:
    inner, limits = _made(found.parts[0], made), checks(found.notes)
    if not limits:
        return inner

    def narrowed(value: Any, of: Any) -> Any:
        built = inner(value, of)
        for check in limits:
            check(built)
        return built

    return narrowed


def _model(found: Shape, _: dict[str, list[Hook]]) -> Hook:
    cls = found.type
    from pydantic import ValidationError

    def model(value: Any, _: Any) -> Any:
        try:
            return cls.model_validate_json(json.dumps(_anything(value, None)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            path = ""
            for step in first["loc"]:
                path = at(path, step)
            raise Misfit(path, f"{first['msg']}, got {seen(first['input'])}") from None

    return model


# -- records --


def _record(found: Shape, made: dict[str, list[Hook]]) -> Hook:
    cls = get_origin(found.type) or found.type
    inside = fields(found.type)
    hooks = {each.name: _made(each.type, made) for each in inside}
    if is_typed_dict(cls):
        return object_hook(inside, pairs(inside, hooks))
    if is_named_tuple(cls):
        read = pairs(inside, hooks)
        return object_hook(inside, lambda value, of: cls(**read(value, of)))
    return object_hook(inside, _generated(cls, inside, hooks))


def pairs(inside: Sequence[Field], hooks: Mapping[str, Hook]) -> Callable[[Any, Any], dict[str, Any]]:
    """The members of an object by name, each made by its hook."""
    needed = [(each.name, hooks[each.name]) for each in inside if each.required]
    others = [(each.name, hooks[each.name]) for each in inside if not each.required]

    def read(value: Any, of: Any) -> dict[str, Any]:
        found = {name: read(value[name], of) for name, read in needed}
        for name, read in others:
            if name in value:
                found[name] = read(value[name], of)
        return found

    return read


def _generated(cls: type, inside: Sequence[Field], hooks: Mapping[str, Hook]) -> Hook:
    """A function that cattrs writes for the class *cls*: one expression, no loop."""
    from cattrs import Converter
    from cattrs.gen import make_dict_structure_fn_from_attrs, override

    attributes: Any = [_attribute(n, each) for n, each in enumerate(inside)]
    overrides: Any = {
        f"f{n}": override(struct_hook=hooks[each.name], rename=each.name) for n, each in enumerate(inside)
    }
    parameters = {each.__name__: Any for each in getattr(cls, "__parameters__", ())}
    return make_dict_structure_fn_from_attrs(
        attributes, cls, Converter(detailed_validation=False), parameters, _cattrs_use_linecache=False, **overrides
    )


def _attribute(number: int, field: Field) -> SimpleNamespace:
    """*field*, as cattrs looks at one; its name there is free, and no two meet cattrs' own."""
    return SimpleNamespace(
        name=f"f{number}",
        alias=field.name,
        type=Any,
        default=field.default,
        init=True,
        kw_only=field.by == "keyword",
    )


def object_hook(inside: Sequence[Field], build: Hook) -> Hook:
    """*build*, for an object that has all required keys, no unknown ones, and no `null` for what may be left out."""
    names = frozenset(each.name for each in inside)
    needed = tuple(each.name for each in inside if each.required)
    soft = frozenset(each.name for each in inside if not each.required and "null" not in takes(each.type))
    count = len(needed)

    def read(value: Any, of: Any) -> Any:
        if type(value) is not dict and not isinstance(value, Mapping):
            raise unfit("an object", value)
        if len(value) > count and not value.keys() <= names:
            raise Misfit("", _misshapen(value, needed, names))
        try:
            return build(value, of)
        except Exception:
            if told := _misshapen(value, needed, names):
                raise Misfit("", told) from None
            if not any(name in value and value[name] is None for name in soft):
                raise
        return build({name: each for name, each in value.items() if each is not None or name not in soft}, of)

    return read


def _misshapen(value: Mapping[str, Any], needed: Iterable[str], names: frozenset[str]) -> str:
    """What is wrong with the keys of *value*; nothing where they are as they should be."""
    missing = [name for name in needed if name not in value]
    unknown = [name for name in value if name not in names]
    told = [f"missing {_keys(missing)}"] if missing else []
    return "; ".join([*told, f"unknown {_keys(unknown)}", f"known are {_keys(names)}"] if unknown else told)


def _keys(names: Iterable[str]) -> str:
    listed = sorted(map(repr, names))
    return f"{'key' if len(listed) == 1 else 'keys'} {', '.join(listed)}" if listed else "no keys"


# -- unions --


@frozen
class Branch:
    """One type of a union: how it is made, and the JSON types it takes."""

    type: Any
    made: Hook
    kinds: frozenset[str]


def _union(found: Shape, made: dict[str, list[Hook]]) -> Hook:
    branches = tuple(Branch(each, _made(each, made), takes(each)) for each in members(found.type))
    others = [each for each in branches if each.kinds != {"null"}]
    if len(others) == 1 < len(branches):
        return _optional(others[0].made)
    table = {kind: tuple(each.made for each in fitting(branches, kind)) for kind in sorted(takes(Any))}
    words = " or ".join(dict.fromkeys(wanted(shape(each.type)) for each in branches))

    def union(value: Any, of: Any) -> Any:
        *firsts, last = table.get(kind_of(value)) or (None,)
        if last is None:
            raise unfit(words, value)
        for each in firsts:
            with suppress(Exception):
                return each(value, of)
        return last(value, of)

    return union


def _optional(made: Hook) -> Hook:
    return lambda value, of: None if value is None else made(value, of)


def fitting(branches: Iterable[Branch], kind: str) -> list[Branch]:
    """The branches that take a JSON value of this *kind*, the most exact first.

    What is listed member by member comes before what takes any value of a kind, an exact JSON type before a text that
    stands for something else, a record with few keys before one with more that may be left out.
    """
    return sorted((each for each in branches if kind in each.kinds), key=lambda each: _rank(bare(each.type), kind))


def _rank(found: Shape, kind: str) -> tuple[int, int]:
    if found.kind == "record":
        return 2, len(fields(found.type))
    if found.kind in READERS:
        return 4, list(READERS).index(found.kind)
    order = {"choice": 0, "integer": 2, "number": 2, "tuple": 2, "model": 3, "any": 9, kind: 1}
    return order.get(found.kind, 5), 0


_SIMPLE: Final[Mapping[str, Hook]] = MappingProxyType(
    {
        "any": _anything,
        "null": _null,
        "boolean": _boolean,
        "integer": _integer,
        "number": _number,
        "string": _string,
    }
)
_MAKERS: Final[Mapping[str, Callable[[Shape, dict[str, list[Hook]]], Hook]]] = MappingProxyType(
    {
        "choice": _choice,
        "union": _union,
        "array": _array,
        "tuple": _tuple,
        "map": _map,
        "record": _record,
        "model": _model,
        "alias": _alias,
        "narrowed": _narrowed,
    }
)
