"""What a type is from JSON's side: read once here, for schemas, for values and for what is said of a misfit."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections import deque
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Sequence,
)
from collections.abc import Set as AbstractSet
from enum import Enum, Flag
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from attrs import frozen

from arshai_kit.errors import BadSchema

__all__ = [
    "Shape",
    "bare",
    "bindings",
    "evaluated",
    "is_array",
    "kind_of",
    "members",
    "named",
    "shape",
    "substituted",
    "takes",
]


@frozen
class Shape:
    """One level of a type.

    *kind* is a JSON type (`null boolean integer number string`), a text with a format (`date-time date time duration
    decimal uuid bytes path`), or `any choice union array tuple map record model alias narrowed`. *type* is what makes
    the value or names it; *parts* are the types inside, for a `choice` the pairs of JSON value and Python value;
    *notes* is the metadata of a `narrowed` type (`Annotated`).
    """

    kind: str
    type: Any
    parts: tuple[Any, ...] = ()
    notes: tuple[Any, ...] = ()


# By name where importing the type's module would cost or touch the world.
_PLAIN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "builtins.NoneType": "null",
        "builtins.bool": "boolean",
        "builtins.int": "integer",
        "builtins.float": "number",
        "builtins.str": "string",
        "builtins.object": "any",
        "builtins.bytes": "bytes",
        "typing.Any": "any",
        "datetime.datetime": "date-time",
        "datetime.date": "date",
        "datetime.time": "time",
        "datetime.timedelta": "duration",
        "decimal.Decimal": "decimal",
        "uuid.UUID": "uuid",
        "pathlib.Path": "path",
        "pathlib.PurePath": "path",
        "pathlib.PosixPath": "path",
        "pathlib.PurePosixPath": "path",
        "pathlib.PureWindowsPath": "path",
    }
)
_ARRAYS: Final[Mapping[Any, Callable[..., Any]]] = MappingProxyType(
    {
        list: list,
        set: set,
        frozenset: frozenset,
        deque: deque,
        MutableSequence: list,
        Sequence: tuple,
        Collection: tuple,
        Iterable: tuple,
        AbstractSet: frozenset,
        MutableSet: set,
    }
)
_MAPS: Final = frozenset({dict, Mapping, MutableMapping})
_DEEPEST: Final = 100
_WRAPPERS: Final = frozenset({"Required", "NotRequired", "ReadOnly", "Final", "ClassVar"})


def shape(tp: Any, where: str = "") -> Shape:
    """Read one level of *tp*; what JSON cannot describe raises `BadSchema`, which says *where*.

    >>> shape(list[int])
    Shape(kind='array', type=<class 'list'>, parts=(<class 'int'>,), notes=())
    """
    origin, args = get_origin(tp), get_args(tp)
    if origin is Annotated:
        return Shape("narrowed", tp, args[:1], args[1:])
    if getattr(origin, "_name", "") in _WRAPPERS:
        return shape(args[0], where)
    if origin in (Union, UnionType):
        return Shape("union", tp, args)
    if origin is Literal:
        return _choice(tp, [(each.value if isinstance(each, Enum) else each, each) for each in args], where)
    if is_alias(origin or tp):
        return Shape("alias", tp, (_meaning(origin or tp, args, where),))
    if isinstance(tp, TypeVar):
        return _variable(tp, where)
    if hasattr(tp, "__supertype__"):  # a NewType
        return shape(tp.__supertype__, where)
    if (found := _container(origin or tp, args)) or (found := _known(tp, origin, where)):
        return found
    raise BadSchema(f"{where or named(tp)}: {_remedy(tp)}")


def is_alias(tp: Any) -> bool:
    """Whether *tp* was made by a `type` statement (or its backport)."""
    return type(tp).__name__ == "TypeAliasType"


def _meaning(alias: Any, args: tuple[Any, ...], where: str) -> Any:
    """What an alias stands for; only the backport of `type` can hold names that are still text."""
    scope = vars(sys.modules.get(alias.__module__, typing))
    value = evaluated(alias.__value__, scope, {alias.__name__: alias}, where or alias.__name__)
    return substituted(value, dict(zip(alias.__type_params__, args, strict=False)))


def _choice(tp: Any, pairs: Iterable[tuple[Any, Any]], where: str) -> Shape:
    pairs = tuple(pairs)
    if not pairs:
        raise BadSchema(f"{where or named(tp)}: {named(tp)} has no members to choose from")
    for value, _ in pairs:
        if not isinstance(value, str | int | NoneType) and not (type(value) is float and value - value == 0):
            raise BadSchema(f"{where or named(tp)}: {value!r} is not a JSON value; use strings, numbers, booleans")
    return Shape("choice", tp, pairs)


def _variable(tp: TypeVar, where: str) -> Shape:
    if tp.__constraints__:
        return Shape("union", tp, tp.__constraints__)
    if getattr(tp, "has_default", bool)():
        return shape(getattr(tp, "__default__"), where)  # noqa: B009  # typed since Python 3.13 only
    if tp.__bound__ is not None and not isinstance(tp.__bound__, typing.ForwardRef):
        return shape(tp.__bound__, where)
    raise BadSchema(f"{where or tp}: the type variable {tp} stands for no type here; say which, as in list[int]")


def _container(tp: Any, args: tuple[Any, ...]) -> Shape | None:
    """An array, a tuple or a map; *args* are empty where the type was written without."""
    try:
        made = _ARRAYS.get(tp)
        is_map = tp in _MAPS
    except TypeError:  # not hashable, so none of them
        return None
    if made:
        return Shape("array", made, args or (Any,))
    if is_map:
        return Shape("map", dict, args or (str, Any))
    if tp is not tuple:
        return None
    if len(args) == 2 and args[1] is ...:
        return Shape("array", tuple, args[:1])
    return Shape("tuple", tuple, args) if args else Shape("array", tuple, (Any,))


def _known(tp: Any, origin: Any, where: str) -> Shape | None:
    """A type known by its name, an enumeration, a record, or a pydantic model."""
    if tp is None or tp is Any:
        return Shape("null", NoneType) if tp is None else Shape("any", Any)
    cls = origin or tp
    if not isinstance(cls, type):
        return None
    name = f"{cls.__module__.partition('.')[0]}.{cls.__name__}"
    if kind := _PLAIN.get("builtins.NoneType" if cls is NoneType else name):
        return Shape(kind, cls)
    if issubclass(cls, Enum):
        return None if issubclass(cls, Flag) else _choice(cls, [(each.value, each) for each in cls], where)
    if is_model(cls):
        return Shape("model", cls)
    return Shape("record", tp) if is_record(cls) else None


def is_model(cls: type) -> bool:
    """Whether *cls* is a pydantic model; where pydantic was never imported, nothing is."""
    if "pydantic" not in sys.modules:
        return False
    import pydantic  # waits for whoever is importing it right now in another thread

    return issubclass(cls, pydantic.BaseModel)


def is_record(cls: type) -> bool:
    """Whether *cls* has named fields: attrs, dataclass, TypedDict or NamedTuple."""
    return hasattr(cls, "__attrs_attrs__") or dataclasses.is_dataclass(cls) or is_typed_dict(cls) or is_named_tuple(cls)


def is_typed_dict(cls: type) -> bool:
    """Whether *cls* is a TypedDict, of `typing` or of its backport."""
    return hasattr(cls, "__required_keys__")


def is_named_tuple(cls: type) -> bool:
    """Whether *cls* is a tuple with named fields."""
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def _remedy(tp: Any) -> str:
    """Why *tp* cannot be described, and what to write instead."""
    name = named(tp)
    if get_origin(tp) is Callable or tp is Callable or getattr(tp, "__module__", "") == "types":
        return f"{name} cannot be written in JSON; let the model choose by a name (Literal or Enum)"
    if isinstance(tp, type) and issubclass(tp, Flag):
        return f"{name} is a Flag, whose members add up; use a set of an Enum"
    if isinstance(tp, str | typing.ForwardRef):
        return f"the name {name} is not defined where it is used"
    return f"{name} cannot be described in JSON Schema; use an attrs class, a dataclass, a TypedDict or plain types"


def named(tp: Any) -> str:
    """What *tp* is called: its own name where it has one.

    >>> named(int), named(list[int])
    ('int', 'list[int]')
    """
    if isinstance(tp, str | typing.ForwardRef):
        return repr(getattr(tp, "__forward_arg__", tp))
    return (
        repr(tp).replace("typing.", "").replace("collections.abc.", "")
        if get_origin(tp)
        else getattr(tp, "__name__", repr(tp))
    )


def bare(tp: Any, where: str = "") -> Shape:
    """The shape of *tp* under its aliases and annotations."""
    found = shape(tp, where)
    for _ in range(_DEEPEST):
        if found.kind not in ("alias", "narrowed"):
            return found
        found = shape(found.parts[0], where)
    raise BadSchema(f"{where or named(tp)}: {named(tp)} stands for itself")


def members(tp: Any, where: str = "") -> Iterator[Any]:
    """The types that the union *tp* is made of, unions inside it opened.

    >>> list(members(int | str | None))
    [<class 'int'>, <class 'str'>, <class 'NoneType'>]
    """
    for part in shape(tp, where).parts:
        if bare(part, where).kind == "union" and shape(part, where).kind != "narrowed":
            yield from members(bare(part).type, where)
        else:
            yield part


_ANYTHING: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_TAKES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "null": frozenset({"null"}),
        "boolean": frozenset({"boolean"}),
        "integer": frozenset({"integer", "number"}),
        "number": frozenset({"integer", "number"}),
        "decimal": frozenset({"integer", "number", "string"}),
        "array": frozenset({"array"}),
        "tuple": frozenset({"array"}),
        "map": frozenset({"object"}),
        "record": frozenset({"object"}),
        "any": _ANYTHING,
    }
)
_KINDS: Final[Mapping[type, str]] = MappingProxyType(
    {
        NoneType: "null",
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        list: "array",
        tuple: "array",
        dict: "object",
    }
)


def kind_of(value: Any) -> str:
    """The JSON type of *value*; an integer is told from other numbers by how it is written.

    >>> kind_of(3), kind_of(3.0), kind_of(True), kind_of(())
    ('integer', 'number', 'boolean', 'array')
    """
    if found := _KINDS.get(type(value)):
        return found
    if isinstance(value, Mapping):
        return "object"
    return next((kind for cls, kind in _KINDS.items() if isinstance(value, cls)), "array" if is_array(value) else "")


def is_array(value: Any) -> bool:
    """Whether *value* stands for a JSON array."""
    return isinstance(value, list | tuple) or (
        isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)
    )


def takes(tp: Any) -> frozenset[str]:
    """The JSON types among which a value of *tp* may be.

    >>> sorted(takes(float | None))
    ['integer', 'null', 'number']
    """
    found = bare(tp)
    match found.kind:
        case "union":
            return frozenset().union(*map(takes, found.parts))
        case "choice":
            kinds = {kind_of(value) for value, _ in found.parts}
            return frozenset(kinds | {"integer", "number"} if kinds & {"integer", "number"} else kinds)
        case "model":
            return _ANYTHING if getattr(found.type, "__pydantic_root_model__", False) else frozenset({"object"})
    return _TAKES.get(found.kind, frozenset({"string"}))


def bindings(tp: Any) -> dict[Any, Any]:
    """What the type variables of a generic class stand for in *tp*."""
    origin = get_origin(tp)
    return dict(zip(getattr(origin, "__parameters__", ()), get_args(tp), strict=False)) if origin else {}


def substituted(tp: Any, bound: Mapping[Any, Any]) -> Any:
    """*tp*, with its type variables replaced by what they are *bound* to.

    >>> T = TypeVar("T")
    >>> substituted(dict[str, T], {T: int})
    dict[str, int]
    """
    if isinstance(tp, TypeVar):
        return bound.get(tp, tp)
    parameters = getattr(tp, "__parameters__", ())
    if not bound or not parameters or get_origin(tp) is None:
        return tp
    return tp[tuple(bound.get(each, each) for each in parameters)]


def evaluated(annotation: Any, scope: Mapping[str, Any], inside: Mapping[str, Any], where: str) -> Any:
    """*annotation*, where it is text, or holds some, read with the names of *scope* and *inside*.

    >>> evaluated("list[Thing]", {}, {"Thing": int}, "f(): things")
    list[int]
    """
    holder = type("_", (), {"__annotations__": {"it": annotation}})
    try:
        return typing.get_type_hints(holder, {**scope, **inside}, {}, include_extras=True)["it"]
    except NameError as error:
        raise BadSchema(f"{where}: the name {error.name!r} in its annotation is not defined where it stands") from error
    except RecursionError:
        raise
    except Exception as error:
        raise BadSchema(f"{where}: its annotation {annotation!r} is no type ({error})") from error
