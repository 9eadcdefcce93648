"""Functions as a model sees them, and the arguments that come back."""

from __future__ import annotations

import datetime as dt
import functools
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import InitVar, dataclass
from enum import Enum
from typing import Annotated, Any, Generic, TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict, Unpack

from arshai_kit.errors import BadSchema
from arshai_kit.schema import Misfit, arguments, describe, json_schema, structured
from tests.schema.kinds import words

T = TypeVar("T")
INT, STR = {"type": "integer"}, {"type": "string"}


class Unit(Enum):
    """A unit of temperature."""

    CELSIUS = "C"
    FAHRENHEIT = "F"


@attrs.frozen
class Place:
    """Where it is.

    Attributes:
        lat: degrees north
        lon: degrees east
    """

    lat: float
    lon: float = 0.0
    tags: list[str] = attrs.Factory(list)


class Options(TypedDict, total=False):
    """What else may be said."""

    exact: bool


def google(city: str, days: int = 1) -> str:
    """Say what the weather will be.

    It is a guess: nobody knows.

    Args:
        city (str): The English name of
            the city.
        days: How far ahead. Defaults to 1.
        nothing: Not a parameter.

    Returns:
        A sentence.

    Raises:
        ValueError: Never.
    """
    return f"{city}{days}"


def numpy(city: str, days: int = 1) -> str:
    """Say what the weather will be.

    It is a guess: nobody knows.

    Parameters
    ----------
    city : str
        The English name of
        the city.
    days : int, optional
        How far ahead. Defaults to 1.

    Returns
    -------
    str
        A sentence.
    """
    return google(city, days)


def sphinx(city: str, days: int = 1) -> str:
    """Say what the weather will be.

    It is a guess: nobody knows.

    :param str city: The English name of
        the city.
    :param days: How far ahead. Defaults to 1.
    :returns: A sentence.
    """
    return google(city, days)


@pytest.mark.parametrize("fn", [google, numpy, sphinx])
def test_docstrings_of_all_three_styles_are_read(fn: Callable[..., Any]) -> None:
    found = describe(fn)
    assert found.name == fn.__name__
    assert found.description == "Say what the weather will be.\n\nIt is a guess: nobody knows."
    assert found.parameters == {
        "type": "object",
        "properties": {
            "city": STR | {"description": "The English name of the city."},
            "days": INT | {"description": "How far ahead. Defaults to 1.", "default": 1},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def several(x: int, y: int) -> int:
    """Add.

    Parameters
    ----------
    x, y : int
        A number.
    """
    return x + y


def test_parameters_described_together_are_each_described() -> None:
    assert describe(several).parameters["properties"] == {name: INT | {"description": "A number."} for name in "xy"}


def plain(city: str) -> str:
    """Say what: the weather is. Note: no section here.

    Yes: nothing to take apart.
    """
    return city


def headed(city: str) -> str:
    """Say more.

    Background:
        There is none.
    """
    return city


def undocumented(city): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  # that is what is tested


def malformed(city: str) -> str:
    """Say it.

    :param: nothing
    """
    return city


def test_a_docstring_without_parameters_stays_as_it_is() -> None:
    assert describe(plain).description == (
        "Say what: the weather is. Note: no section here.\n\nYes: nothing to take apart."
    )
    assert describe(headed).description == "Say more.\n\nBackground:\n    There is none."
    assert describe(malformed).description.startswith("Say it.")
    found = describe(undocumented)
    assert (found.description, found.parameters["properties"]) == ("", {"city": {}})


def test_what_the_caller_says_wins() -> None:
    found = describe(lambda city: city, name="look", description="Look.")
    assert (found.name, found.description) == ("look", "Look.")
    assert describe(google, description="Guess.").parameters == describe(google).parameters


async def waits(place: Place) -> None:
    """Wait."""


def steps(unit: Unit = Unit.CELSIUS) -> Iterator[int]:
    """Step."""
    yield 1


async def flows(day: Annotated[dt.date, "the day"]) -> AsyncIterator[int]:
    """Flow."""
    yield 1


class Oracle:
    """An oracle."""

    def __call__(self, city: str) -> str:  # its class has one
        return city

    def method(self, city: str) -> str:
        """Ask the oracle."""
        return city

    @classmethod
    def of_class(cls, city: str) -> str:
        """Ask the class."""
        return city

    @staticmethod
    def static(city: str) -> str:
        """Ask nobody."""
        return city


class Speaking:
    """A speaker."""

    def __call__(self, city: str) -> str:
        """Speak."""
        return city


def logged(fn: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> T:
        return fn(*args, **kwargs)

    return inner


@pytest.mark.parametrize(
    ("fn", "name", "description", "properties"),
    [
        (waits, "waits", "Wait.", {"place": describe(Place).parameters | {"description": "Where it is."}}),
        (steps, "steps", "Step.", {"unit": {"type": "string", "enum": ["C", "F"], "default": "C",
                                            "description": "A unit of temperature."}}),
        (flows, "flows", "Flow.", {"day": STR | {"format": "date", "description": "the day"}}),
        (Oracle(), "Oracle", "An oracle.", {"city": STR}),
        (Speaking(), "Speaking", "Speak.", {"city": STR}),
        (Oracle().method, "method", "Ask the oracle.", {"city": STR}),
        (Oracle.of_class, "of_class", "Ask the class.", {"city": STR}),
        (Oracle.static, "static", "Ask nobody.", {"city": STR}),
        (functools.partial(several, 1), "several", "Add.", {"y": INT | {"description": "A number."}}),
        (functools.partial(several, x=1), "several", "Add.", {"y": INT | {"description": "A number."}}),
        (functools.partial(functools.partial(several, x=1), y=2), "several", "Add.", {}),
        (functools.partial(Oracle().method), "method", "Ask the oracle.", {"city": STR}),
        (logged(waits), "waits", "Wait.", {"place": describe(Place).parameters | {"description": "Where it is."}}),
        (Place, "Place", "Where it is.", describe(Place).parameters["properties"]),
        (functools.partial(Place, lon=3.0, tags=[]), "Place", "Where it is.",
         {"lat": {"type": "number", "description": "degrees north"}}),
        (len, "len", "Return the number of items in a container.", {"obj": {}}),
    ],
)  # fmt: skip
def test_whatever_can_be_called_is_described(fn: Any, name: str, description: str, properties: dict[str, Any]) -> None:
    found = describe(fn)
    assert (found.name, found.description, found.parameters["properties"]) == (name, description, properties)


def test_a_class_of_ones_own_is_described_by_its_constructor() -> None:
    class Box:
        """A box."""

        def __init__(self, width: int, inner: Place | None = None) -> None:
            """Make it."""

    assert describe(Box).parameters["properties"].keys() == {"width", "inner"}
    assert describe(Box).description == "A box."


def test_names_of_the_function_around_are_known() -> None:
    @attrs.frozen
    class Local:
        """A class that only this function knows."""

        inner: Local | None = None

    def build() -> Callable[..., Any]:
        def ask(it: Local) -> Local:
            return Local(it)

        return ask

    assert describe(build()).parameters["properties"]["it"] == {"$ref": "#/$defs/Local"}


def test_a_name_without_a_value_yet_is_no_trouble() -> None:
    def ask(x: int) -> Any:
        return later if x else None

    assert describe(ask).parameters["properties"] == {"x": INT}
    later = 3


def options(city: str, **more: Unpack[Options]) -> str:
    """Ask with options."""
    return f"{city}{more}"


def test_keywords_that_a_typed_dict_names_can_be_filled() -> None:
    found = describe(options)
    assert found.parameters["properties"] == {"city": STR, "exact": {"type": "boolean"}}
    assert arguments(found, {"city": "Oslo", "exact": True}) == ((), {"city": "Oslo", "exact": True})


def bad_args(*cities: str) -> None: ...
def bad_kwargs(city: str, **more: int) -> None: ...
def bad_unpack(**more: Unpack[int]) -> None: ...  # type: ignore[misc]
def bad_type(city: str, when: dict[str, Callable[[], int]]) -> None: ...
def bad_name(city: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # that is what is tested
def bad_variable(city: T) -> T: ...  # type: ignore[empty-body]


@dataclass
class Passing:
    """Takes something that it keeps nowhere."""

    kept: int
    passed: InitVar[int]


@dataclass
class Helping:
    """May take something that it keeps nowhere."""

    kept: int
    passed: InitVar[int] = 3


def bad_init_var(given: Passing) -> None: ...


def test_what_a_dataclass_takes_and_does_not_keep_needs_a_default() -> None:
    assert list(json_schema(Helping)["properties"]) == ["kept"]


@pytest.mark.parametrize(
    ("fn", "told"),
    [
        (bad_init_var, r"^bad_init_var\(\): Passing.passed: an InitVar is kept nowhere"),
        (bad_args, r"^bad_args\(\): cities: a model cannot fill \*cities"),
        (bad_kwargs, r"^bad_kwargs\(\): more: a model cannot fill \*\*more"),
        (bad_unpack, r"^bad_unpack\(\): more: a model cannot fill"),
        (bad_type, r"^bad_type\(\): when\[\]: Callable\[\[\], int\] cannot be written"),
        (bad_name, r"^bad_name\(\): city: the name 'Nowhere' in its annotation"),
        (bad_variable, r"^bad_variable\(\): city: the type variable"),
        (lambda city: city, "^<lambda> has no name"),
        (print, r"^print\(\): args: a model cannot fill \*args"),
        (dict, r"^dict\(\): its signature cannot be read"),
    ],
)
def test_what_cannot_be_described_is_named(fn: Any, told: str) -> None:
    with pytest.raises(BadSchema, match=told):
        describe(fn)


def test_a_description_is_a_value() -> None:
    assert describe(google) == describe(google)
    assert hash(describe(google)) == hash(describe(google))
    assert "fields" not in repr(describe(google))
    found = describe(mixed)
    assert arguments(found, {"a": 1}) == ((1,), {})
    assert pickle.loads(pickle.dumps(found)) == found


# -- arguments --


def mixed(a: int, b: list[int] = [1], /, c: str = "c", *, d: Place | None = None) -> Any:  # noqa: B006  # as users do
    """Take all kinds of parameters."""
    return a, b, c, d


@pytest.mark.parametrize(
    ("given_arguments", "found"),
    [
        ({"a": 1}, ((1,), {})),
        ({"a": 1, "c": "x"}, ((1,), {"c": "x"})),
        ({"a": 1.0, "b": (2, 3)}, ((1, [2, 3]), {})),
        ({"a": 1, "d": {"lat": 3}}, ((1,), {"d": Place(3.0)})),
        ({"a": 1, "d": None, "c": None, "b": None}, ((1,), {"d": None})),
    ],
)
def test_arguments_are_of_the_types_asked_for(given_arguments: Any, found: Any) -> None:
    assert arguments(describe(mixed), given_arguments) == found


def gap(a: int = 1, b: list[int] = [2], c: int = 3, /) -> Any:  # noqa: B006  # as users do
    """Take three by position."""
    return a, b, c


def test_a_gap_among_positional_arguments_is_filled_by_the_default() -> None:
    assert arguments(describe(gap), {"c": 5}) == ((1, [2], 5), {})
    assert arguments(describe(gap), {}) == ((), {})
    assert gap(*arguments(describe(gap), {"b": []})[0]) == (1, [], 3)


@pytest.mark.parametrize(
    ("given_arguments", "told"),
    [
        ({}, "missing key 'a'"),
        ({"a": "1"}, "a: expected an integer, got the string '1'"),
        ({"a": 1, "b": [1, "x"]}, "b[1]: expected an integer, got the string 'x'"),
        ({"a": 1, "d": {"lat": 3, "tags": ["a", 1]}}, "d.tags[1]: expected a string, got the integer 1"),
        ({"a": 1, "e": 2}, "unknown key 'e'; known are keys 'a', 'b', 'c', 'd'"),
        ({"a": None}, "a: expected an integer, got null"),
        ([1], "expected an object, got an array"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(given_arguments: Any, told: str) -> None:
    with pytest.raises(Misfit) as caught:
        arguments(describe(mixed), given_arguments)
    assert str(caught.value) == told
    with pytest.raises(Misfit) as caught:
        arguments(describe(mixed), given_arguments, where="call")
    assert caught.value.path.startswith("call")


@given(st.integers(), words, st.booleans())
def test_a_function_is_called_with_what_a_model_sent(a: int, c: str, place: bool) -> None:
    sent = {"a": a, "c": c} | ({"d": {"lat": a % 90}} if place else {})
    args, kwargs = arguments(describe(mixed), sent)
    assert mixed(*args, **kwargs) == (a, [1], c, Place(float(a % 90)) if place else None)


def _inverse(value: Any) -> Any:
    return 1 // value


@attrs.frozen
class Wrapped(Generic[T]):
    """A box that refuses its value."""

    value: T = attrs.field(converter=_inverse)


def picky(box: Wrapped[int]) -> None:
    """Take a box."""


def test_the_error_of_a_constructor_names_the_argument() -> None:
    with pytest.raises(Misfit, match=r"^box: integer division or modulo by zero|^box: division by zero"):
        arguments(describe(picky), {"box": {"value": 0}})
    assert structured({"value": 1}, Wrapped[int]) == Wrapped(1)
