"""A filter means the same in Python and in SQL, whatever is in it; what it cannot mean is refused with a hint."""

from __future__ import annotations

import copy
import json
import pickle
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum
from typing import Annotated, Any, Literal, NewType

import pytest
from attrs import define, frozen
from attrs import field as spot
from hypothesis import example, given
from hypothesis import strategies as st

from arshai_kit.errors import BadRecord, Misuse
from arshai_kit.index import EVERYTHING, Field, Filter, Passage, field, named, where
from arshai_kit.index.compiling import fitted, from_sql, predicate, quoted, sql, to_sql
from arshai_kit.index.fields import Column, columns, made, row
from arshai_kit.index.filter_json import from_plain, to_plain
from arshai_kit.index.filters import Both, Compared, Either, Named, Negated, fold
from tests.index.kinds import IDS, Kinds, Season, filters, holds, kinds

# -- one law over both compilers --


@pytest.fixture(scope="module")
def table() -> Iterator[sqlite3.Connection]:
    file = sqlite3.connect(":memory:", isolation_level=None)
    file.text_factory = lambda data: data.decode("utf-8", "surrogatepass")
    file.execute(f"create table entries (id text, {', '.join(quoted(name) for name in columns(Kinds))})")
    yield file
    file.close()


def fill(file: sqlite3.Connection, rows: dict[str, tuple[Any, ...]]) -> None:
    file.execute("delete from entries")
    known = list(columns(Kinds).values())
    marks = [to_sql("" if each.kind in ("text", "date", "time", "json") else 0, each.kind)[0] for each in known]
    insert = f"insert into entries values (cast(? as text), {', '.join(marks)})"
    for own, values in rows.items():
        told = [to_sql(value, each.kind)[1] for value, each in zip(values, known, strict=True)]
        file.execute(insert, [own.encode("utf-8", "surrogatepass"), *told])


@given(
    records=st.dictionaries(st.sampled_from(IDS), kinds, max_size=6),
    asked=st.lists(filters, min_size=1, max_size=6),
)
def test_a_filter_finds_the_same_in_python_and_in_sqlite(
    table: sqlite3.Connection, records: dict[str, Kinds], asked: list[Filter]
) -> None:
    """And what plain Python says that it means; `~` is the rest; JSON, a pickle and a copy mean it too."""
    rows = {own: row(Kinds, fields) for own, fields in records.items()}
    fill(table, rows)
    for each in asked:
        fit = fitted(each, Kinds)
        condition, parameters = sql(fit, Kinds)
        found = {own for (own,) in table.execute(f"select id from entries where {condition}", parameters)}
        rest = {own for (own,) in table.execute(f"select id from entries where not ({condition})", parameters)}
        true = predicate(fit, Kinds)
        assert found == {own for own in rows if true(own, rows[own])}
        assert found == {own for own, fields in records.items() if holds(each, own, fields)}
        assert rest == set(rows) - found
        assert from_plain(to_plain(each)) == each == pickle.loads(pickle.dumps(each)) == copy.deepcopy(each)
        assert hash(from_plain(to_plain(each))) == hash(each)
        assert repr(each)


@given(fields=kinds)
@example(Kinds(real=-0.0, Real=2**63 - 1, time=datetime(1, 1, 1, tzinfo=UTC)))
def test_what_is_kept_of_a_record_makes_it_again(table: sqlite3.Connection, fields: Kinds) -> None:
    kept = row(Kinds, fields)
    assert made(Kinds, kept) == fields
    fill(table, {"a": kept})
    names = ", ".join(quoted(name) for name in columns(Kinds))
    again = tuple(from_sql(Kinds)(table.execute(f"select {names} from entries").fetchone()))
    assert again == kept
    assert [type(each) for each in again] == [type(each) for each in kept]


EDGES = [2**53, 2**63, 2**64, 10**400]
AROUND = sorted({sign * (edge + step) for edge in EDGES for sign in (1, -1) for step in (-1, 0, 1)} | {0, 0.5, -0.0})


def test_numbers_are_compared_exactly_beyond_what_sqlite_has(table: sqlite3.Connection) -> None:
    """Whole numbers of any size, beside those of 64 bits and floats."""
    wholes = [each for each in AROUND if type(each) is int and -(2**63) <= each < 2**63]
    reals = [float(each) for each in AROUND if abs(each) < 2**1000]
    records = {f"{n}": Kinds(rowid=whole) for n, whole in enumerate([*wholes, None])}
    records |= {f"real {n}": Kinds(real=real, Real=real) for n, real in enumerate(reals)}
    rows = {own: row(Kinds, fields) for own, fields in records.items()}
    fill(table, rows)
    for value in AROUND:
        for name in ("rowid", "real", "Real"):
            spot_ = field(name)
            asked = [spot_ == value, spot_ != value, spot_ < value, spot_ <= value, spot_ > value, spot_ >= value]
            for each in [*asked, spot_.in_([value, 7]), ~spot_.in_([None, value])]:
                condition, parameters = sql(fitted(each, Kinds), Kinds)
                found = {own for (own,) in table.execute(f"select id from entries where {condition}", parameters)}
                assert found == {own for own, fields in records.items() if holds(each, own, fields)}, each


def test_a_filter_is_a_filter_of_json_too() -> None:
    told = to_plain((field("year") >= 2020) & ~(where(tag="a") | named("x")) & field("tags").in_(["b"]))
    assert json.loads(json.dumps(told)) == {
        "and": [
            {"field": "year", ">=": 2020},
            {"not": {"or": [{"field": "tag", "==": "a"}, {"ids": ["x"]}]}},
            {"field": "tags", "in": ["b"]},
        ]
    }
    assert from_plain(json.loads(json.dumps(told))) == from_plain(told)


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, [], "x", 1, {"and": []}, {"and": [{}], "or": [{}]}, {"field": "a"}, {"field": "", "==": 1}),
        *({"field": "a", "==": 1, "<": 2}, {"field": "a", "like": "x"}, {"field": "a", "contains": 1}, {"ids": "ab"}),
        *({"not": {}, "x": 1}, {"or": {}}, {"field": "a", "in": "text"}, {"ids": [1]}),
    ],
)
def test_json_that_is_no_filter_is_refused(wrong: Any) -> None:
    with pytest.raises(Misuse):
        from_plain(wrong)


def test_json_that_is_nested_without_end_is_refused() -> None:
    told: Any = {}
    for _ in range(5000):
        told = {"not": told}
    with pytest.raises(Misuse, match="at most 100 levels"):
        from_plain(told)


# -- how filters are combined --


def test_filters_stay_flat_and_say_nothing_twice() -> None:
    one, two, three = (where(a=each) for each in (1, 2, 3))
    assert one & two & three == Both((one, two, three))
    assert one | (two | three) == Either((one, two, three))
    assert ~~one == one
    assert (EVERYTHING & one, one & EVERYTHING, EVERYTHING & EVERYTHING) == (one, one, EVERYTHING)
    assert (EVERYTHING | one) == EVERYTHING == where() == (one | EVERYTHING)
    assert Negated(EVERYTHING) == ~EVERYTHING
    assert repr((one & ~(two | three)) | ~(one & two)) == (
        "((field('a') == 1) & ~((field('a') == 2) | (field('a') == 3)) | ~((field('a') == 1) & (field('a') == 2)))"
    )


def test_many_are_combined_without_depth() -> None:
    found = where(page=0)
    for page in range(1, 1500):
        found = found | where(page=page)
    condition, parameters = sql(fitted(found, Passage), Passage)
    file = sqlite3.connect(":memory:")
    file.execute('create table entries ("f_page")')
    file.execute("insert into entries values (1499), (1500)")
    assert file.execute(f"select * from entries where {condition}", parameters).fetchall() == [(1499,)]
    file.close()
    assert predicate(found, Passage)("", row(Passage, Passage(page=1499)))


def test_the_edges_of_text(table: sqlite3.Connection) -> None:
    """Every text begins with none, and ends of letters are no ends of texts."""
    records = {f"{n}": Kinds(Select=text) for n, text in enumerate([None, "", "a", "a\0", "ab", "b", "\U0010ffff"])}
    fill(table, {own: row(Kinds, fields) for own, fields in records.items()})
    for asked in (field("Select").startswith(start) for start in ("", "a", "a\0", "\U0010ffff", "\0")):
        condition, parameters = sql(asked, Kinds)
        found = {own for (own,) in table.execute(f"select id from entries where {condition}", parameters)}
        assert found == {own for own, fields in records.items() if holds(asked, own, fields)}


def test_what_is_too_deep_or_too_much_is_refused() -> None:
    def nested() -> None:
        found = where(page=1)
        for _ in range(200):
            found = ~(found & where(page=2))

    with pytest.raises(Misuse, match="at most 100 levels"):
        nested()
    with pytest.raises(Misuse, match="at most 10,000 values"):
        fitted(field("page").in_(range(10_001)), Passage)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: bool(where(a=1)),
        lambda: where(a=1) and where(b=2),
        lambda: not where(a=1),
        lambda: 2000 <= field("year") <= 2020,
        lambda: bool(field("a")),
        lambda: field("a") & where(b=1),
        lambda: where(a=1) & field("b"),
        lambda: where(a=1) | True,  # type: ignore[operator]
        lambda: 1 & where(a=1),
        lambda: None | where(a=1),
        lambda: field("a") == 1 & field("b") == 2,
        lambda: "x" in field("tags"),
        lambda: list(field("tags")),
        lambda: ~field("a"),
        lambda: fold(True, leaf=str, both=str, either=str, negated=str),  # type: ignore[arg-type]
    ],
)
def test_what_python_would_take_for_something_else_is_refused_with_a_hint(wrong: Any) -> None:
    with pytest.raises(Misuse, match="combine filters by &, | and ~".replace("|", r"\|")):
        wrong()


def test_values_that_are_no_values_are_refused() -> None:
    with pytest.raises(Misuse, match="several values"):
        field("a").in_("abc")
    with pytest.raises(Misuse, match="take text"):
        field("a").contains(1)  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="not JSON"):
        where(a=float("nan"))
    with pytest.raises(Misuse, match="not JSON"):
        where(a=object())
    with pytest.raises(Misuse, match="timezone"):
        where(a=datetime(2020, 1, 1))  # noqa: DTZ001
    with pytest.raises(Misuse, match="in no year of UTC"):
        where(a=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))))
    with pytest.raises(Misuse, match="has a name"):
        Field("")
    with pytest.raises(Misuse, match="ids are text"):
        named(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unhashable"):
        hash(field("a"))


# -- a filter and the fields --


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (where(titel="x"), "no field 'titel'.* select, Select, order"),
        (where(rest={}), "kept as JSON"),
        (where(order="1"), "'order' is a whole number, never '1'"),
        (where(order=True), "whole number, never True"),
        (where(is_=1), "True or False, never 1"),
        (where(select=1), "text, never 1"),
        (where(select=["a"]), r"\.in_\(\[…\]\) takes several"),
        (where(entry="c"), "one of 'a', 'b', '%', never 'c'"),
        (where(season="autumn"), "one of 'wet', 'dry' or None, never 'autumn'"),
        (field("entry").in_(["a", "c"]), "never 'c'"),
        (where(day="someday"), "a date or None, never 'someday'"),
        (where(day=datetime(2020, 1, 1, tzinfo=UTC)), "a date or None"),
        (where(time=date(2020, 1, 1)), "timezone"),
        (where(group="a"), "a tuple of texts, never 'a'"),
        (field("null") > True, "less or more than True or False or None"),
        (field("rowid") > None, "less or more than None"),
        (field("group") > ("a",), "less or more than a tuple"),
        (field("order").contains("1"), r"\.contains is for texts"),
        (field("group").startswith("a"), r"\.startswith is for text"),
        (Compared("order", "~", 1), "no comparison '~'"),  # type: ignore[arg-type]
        (None, "where= is a filter"),
        (True, "where= is a filter"),
    ],
)
def test_what_cannot_be_asked_of_the_fields_is_refused(asked: Any, words: str) -> None:
    with pytest.raises(Misuse, match=words):
        fitted(asked, Kinds)


def test_a_time_is_the_same_in_every_zone_and_in_json() -> None:
    moment = datetime(2020, 1, 1, 12, tzinfo=UTC)
    assert fitted(where(time="2020-01-01T13:00:00+01:00"), Kinds) == where(time=moment)
    assert fitted(where(day="20200101"), Kinds) == where(day=date(2020, 1, 1))
    assert where(season=Season.DRY) == where(season="dry")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (Kinds(select=1), "'select' is text, and 1"),  # type: ignore[arg-type]
        (Kinds(select=None), "'select' is text, and None"),  # type: ignore[arg-type]
        (Kinds(order=2**63), "64 bits"),
        (Kinds(Real=-(2**63) - 1), "64 bits"),
        (Kinds(order=True), "a whole number, and True"),
        (Kinds(real=float("nan")), "keeps numbers, not nan"),
        (Kinds(Real=float("inf")), "keeps numbers, not inf"),
        (Kinds(is_=1), "True or False"),  # type: ignore[arg-type]
        (Kinds(group="abc"), "a tuple of texts"),  # type: ignore[arg-type]
        (Kinds(group=(1,)), "a tuple of texts"),  # type: ignore[arg-type]
        (Kinds(entry="c"), "one of 'a', 'b', '%'"),  # type: ignore[arg-type]
        (Kinds(day=datetime(2020, 1, 1)), "a date"),  # noqa: DTZ001
        (Kinds(time=datetime(2020, 1, 1)), "timezone"),  # noqa: DTZ001
        (Kinds(time=date(2020, 1, 1)), "a datetime with"),  # type: ignore[arg-type]
        (Kinds(rest={"a": object()}), "JSON"),  # type: ignore[dict-item]
        (Passage(), "are a Kinds, not a Passage"),
    ],
)
def test_fields_of_another_kind_are_refused(fields: Any, words: str) -> None:
    with pytest.raises(Misuse, match=words):
        row(Kinds, fields)


Name = NewType("Name", str)


class Mixed(Enum):
    ONE = 1
    TWO = "two"


@define
class Others:
    """What is less usual."""

    name: Annotated[Name | None, "said"]
    either: int | str = 0
    mixed: Mixed = Mixed.ONE
    count: Literal[1, 2] = 1
    _private: str = "x"
    made: str = spot(init=False, default="never kept")
    untyped: Any = None
    listed: Annotated[list[int], []] = spot(factory=list)


def test_fields_of_less_usual_types() -> None:
    found = {name: (each.kind, each.values) for name, each in columns(Others).items()}
    assert found == {
        "name": ("text", ()),
        "listed": ("json", ()),
        "either": ("json", ()),
        "mixed": ("json", ()),
        "count": ("integer", (1, 2)),
        "_private": ("text", ()),
        "untyped": ("json", ()),
    }
    given = Others(Name("n"), "s", Mixed.TWO, 2, "y", {"a": [1]})
    assert row(Others, given) == ("n", '"s"', '"two"', 2, "y", '{"a":[1]}', "[]")
    again = made(Others, row(Others, given))
    assert (again.name, again.either, again.mixed, again.count, again._private) == ("n", "s", Mixed.TWO, 2, "y")
    assert again.untyped == {"a": (1,)}


class Real(float):
    """A number of somebody else's."""


def test_a_number_of_another_class_is_a_number() -> None:
    assert row(Kinds, Kinds(real=Real(0.5)))[list(columns(Kinds)).index("real")] == 0.5
    with pytest.raises(Misuse, match="a number, and nan"):
        row(Kinds, Kinds(real=Real("nan")))


def test_what_does_not_make_a_record_again_is_damaged() -> None:
    kept = row(Others, Others(Name("n")))
    for place, wrong in ((1, "{}"), (1, "not JSON"), (2, '"three"')):
        with pytest.raises(BadRecord, match="does not fit its type"):
            made(Others, (*kept[:place], wrong, *kept[place + 1 :]))
    with pytest.raises(BadRecord, match="does not make a Kinds"):
        made(Kinds, tuple("autumn" if name == "season" else None for name in columns(Kinds)))


@frozen
class Unread:
    other: Nowhere  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("wrong", [dict, "Passage", None, Unread])
def test_only_a_class_of_fields_is_one(wrong: Any) -> None:
    with pytest.raises(Misuse, match=r"attrs class|cannot be read"):
        columns(wrong)


def test_named_is_of_ids_and_prints_as_it_is_written() -> None:
    assert repr(named("a")) == "named('a')"
    assert repr(EVERYTHING) == "EVERYTHING"
    assert repr(field("a").in_([1])) == "field('a').in_((1,))"
    assert repr(field("a").contains("b") & field("a").is_none()) == "field('a').contains('b') & (field('a') == None)"
    assert Named(("a",)) == named("a")
    assert Column("a", "text").value("b") == "b"
