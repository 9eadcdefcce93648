"""Recordings: what is in the file, what comes back out of it, and how a run that differs is told."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock_time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import anyio
import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import Response, aio, complete, run, run_tools
from arshai_kit._drive import drive
from arshai_kit._json import freeze
from arshai_kit.effects import (
    Call,
    Channel,
    Close,
    Now,
    Open,
    Plan,
    Random,
    Read,
    Reply,
    Request,
    Secret,
    Send,
    Sleep,
    Spawn,
    Start,
    Step,
)
from arshai_kit.errors import Diverged, Exhausted, Misuse, RateLimited, RunError
from arshai_kit.records import ToolCall, assistant
from arshai_kit.resilience import fallback
from arshai_kit.testing import RecordedError, recorded, replayed, scripted, strategies
from arshai_kit.testing._asks import answer_data, answer_of, ask_data, difference, masked, secrets_of
from arshai_kit.testing._values import data_of, value_of
from arshai_kit.testing.errors import error_data, error_of
from arshai_kit.tools import told
from tests.core.worlds import BACKENDS, World, everywhere
from tests.laws.provider import provider, whole
from tests.testing.models import Toy

# -- values --


class Colour(Enum):
    """Words."""

    RED = "red"


class Size(IntEnum):
    """Numbers."""

    BIG = 3


class Mood(StrEnum):
    """Text."""

    FINE = "fine"


@frozen
class City:
    """A user's record."""

    name: str
    places: tuple[Colour, ...] = ()


@dataclass
class Town:
    """Another one."""

    name: str


class Spot(NamedTuple):
    """A third."""

    x: int
    y: int


EXACT: list[Any] = [
    b"x\xff",
    bytearray(b"y"),
    Decimal("1.50"),
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=-3.5))),
    date(2026, 1, 2),
    clock_time(3, 4),
    timedelta(days=-1, microseconds=5),
    UUID(int=7),
    float("inf"),
    float("-inf"),
    {1, 2},
    frozenset({"a"}),
    Path("a/b"),
    (),
    {1: 2, None: "a", (1,): []},
    {"$tuple": "not a tuple"},
    freeze({"$a": [1, {"b": None}]}),
]
exactly = st.recursive(
    strategies.json_values()
    | st.sampled_from(EXACT)
    | strategies.messages()
    | strategies.events()
    | strategies.responses(),
    lambda inner: st.lists(inner, max_size=2) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@pytest.mark.parametrize("value", EXACT, ids=repr)
def test_what_a_type_of_pythons_own_can_say_comes_back(value: Any) -> None:
    assert value_of(json.loads(json.dumps(data_of(value)))) == value


@given(exactly)
def test_what_json_or_a_type_of_ours_can_say_comes_back_as_it_was(value: Any) -> None:
    data = data_of(value)
    again = value_of(json.loads(json.dumps(data)))
    assert again == value
    assert type(again) is type(value) or isinstance(value, Path)
    assert data_of(again) == data


def test_what_is_no_number_comes_back_too() -> None:
    again = value_of(data_of([float("nan")]))
    assert again[0] != again[0]


def test_a_response_keeps_its_output() -> None:
    response = Response((assistant("x"),), output=(1, {2}))
    assert value_of(data_of(response)) == response
    lost = data_of(Response((), output=object()))
    assert lost == {"$record": {"v": 1, "type": "Response", "messages": []}, "output": {"$lost": "object"}}


@pytest.mark.parametrize(
    "value", [City("Oslo", (Colour.RED,)), Town("Røros"), Spot(1, 2), Colour.RED, Size.BIG, Mood.FINE]
)
def test_a_users_record_reads_the_same_to_a_model_and_to_people(value: Any) -> None:
    data = json.loads(json.dumps(data_of(value)))
    again = value_of(data)
    assert told(again) == told(value)
    assert str(again) == str(value)
    assert data_of(again) == data


def test_the_members_of_a_users_record_are_there() -> None:
    again = value_of(data_of({"city": City("Oslo", (Colour.RED,)), "inside": Town(Town("x"))}))  # type: ignore[arg-type]  # a town in a town
    assert (again["city"].name, again["city"]["places"]) == ("Oslo", ["red"])
    assert again["inside"].name.name == "x"
    assert repr(again["city"]) == "<recorded City {'name': 'Oslo', 'places': ['red']}>"
    with pytest.raises(Diverged, match="of this City the recording holds name, places, not 'mayor'"):
        _ = again["city"].mayor
    assert not hasattr(again["city"], "__len_hint__")


def test_what_shows_its_place_in_memory_is_not_compared() -> None:
    @frozen
    class Odd:
        inside: Any

        def __str__(self) -> str:
            return object.__repr__(self)

    assert data_of(Odd(1)) == {"$object": data_of(Odd(1))["$object"], "json": {"inside": 1}}
    assert "text" not in data_of(City("Oslo"), wholly=False)
    assert "Odd" in str(value_of(data_of(Odd(1))))


def test_a_secret_comes_back_as_one_that_says_nothing() -> None:
    assert data_of([Secret("sk-1234")]) == data_of([Secret("sk-5678")])
    (again,) = value_of(data_of([Secret("sk-1234")]))
    assert (type(again), again.reveal()) == (Secret, "***")


@pytest.mark.parametrize("value", [object(), open, len, lambda: 1, iter([]), City(object())])  # type: ignore[arg-type]  # a city of nowhere
def test_what_cannot_be_kept_has_a_name_and_fails_when_it_is_used(value: Any) -> None:
    data = data_of([value])
    (lost,) = value_of(data)
    assert data_of([lost]) == data
    assert "not kept in the recording" in repr(lost)
    uses: list[Any] = [str, bool, len, list, int, float, hash, told]
    uses += [lambda x: x(), lambda x: x == 1, lambda x: x.a, lambda x: x[0], lambda x: 1 in x]
    for use in uses:
        with pytest.raises(Diverged, match="a recording cannot keep a value like this"):
            use(lost)
    assert isinstance(lost, object)
    assert not hasattr(lost, "__wrapped__")


def test_what_goes_round_in_circles_is_lost() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert data_of(circle) == {"$lost": "list"}


def test_numbers_of_other_libraries_become_plain() -> None:
    class Share(float): ...

    assert data_of([Share(0.5), Size.BIG, Mood.FINE]) == [0.5, 3, "fine"]


def test_steps_come_back_as_steps_that_have_been_taken() -> None:
    def count() -> Iterator[int]:
        yield 1

    async def acount() -> AsyncIterator[int]:
        yield 1

    again = value_of(data_of(count()))
    assert data_of(again) == data_of(count()) == {"$generator": "count", "async": False}
    with pytest.raises(Diverged, match="holds the steps of count"):
        next(again)
    again = value_of(data_of(acount()))
    assert data_of(again) == {"$generator": "acount", "async": True}

    async def one_step() -> None:
        with pytest.raises(Diverged, match="holds the steps of acount"):
            await anext(again)

    anyio.run(one_step)


# -- errors --


class OutOfStock(Exception):
    """A user's error."""


class TeaOutOfStock(OutOfStock, KeyError):
    """With Python's own below."""


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("slow", status=429, retry_after=2.0, request_id="r", should_retry=True),
        Exhausted("out", partial=Response((assistant("so far"),))),
        ValueError("a", 1),
        KeyError("a"),
        TimeoutError("late"),
        FileNotFoundError(2, "No such file", "x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ExceptionGroup("several", [ValueError("a"), OutOfStock("b")]),
    ],
)
def test_an_error_of_ours_or_pythons_own_comes_back_as_it_was(error: Exception) -> None:
    data = json.loads(json.dumps(data_of(error)))
    again = value_of(data)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert {name: value for name, value in vars(again).items() if value} == {
        name: value for name, value in vars(error).items() if value
    }
    assert data_of(again) == data


class Refused(Exception):
    """With arguments and words of its own."""

    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(code)
        self.code, self.why = code, why

    def __str__(self) -> str:
        return f"{self.code}: {self.why}"


class Moody(Exception):
    """With words that no recording can make again."""

    def __str__(self) -> str:
        return f"{id(self)}"


OTHERS = [OutOfStock("no tea"), TeaOutOfStock("green"), OutOfStock(), Refused(3, why="no")]


@pytest.mark.parametrize("error", OTHERS)
def test_any_other_error_comes_back_as_it_was_if_its_type_is_there(error: Exception) -> None:
    again = value_of(json.loads(json.dumps(data_of(error))))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert data_of(again) == data_of(error)


@pytest.mark.parametrize("error", OTHERS)
def test_any_other_error_says_what_it_was(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(error)
    monkeypatch.delitem(sys.modules, __name__)
    again = value_of(data)
    assert __name__ not in sys.modules, "nothing is imported for it"
    assert isinstance(again, RecordedError)
    assert (type(again).__name__, str(again)) == (type(error).__name__, str(error))
    assert isinstance(again, KeyError) == isinstance(error, KeyError)
    assert data_of(again) == data_of(error)


def test_an_error_whose_words_cannot_be_made_again_is_of_its_type_all_the_same() -> None:
    class Local(OutOfStock):
        pass

    moody = Moody()
    again = value_of(data_of(moody))
    assert isinstance(again, Moody)
    assert isinstance(again, RecordedError)
    assert str(again) == str(moody)
    local = value_of(data_of(Local("no tea")))
    assert not isinstance(local, OutOfStock), "a type inside of a function cannot be found"
    assert (type(local).__name__, str(local)) == ("Local", "no tea")
    evil = data_of(OutOfStock("x"))
    evil["$error"]["of"] = ["os", "system"]
    assert isinstance(value_of(evil), RecordedError), "whatever is no error is not looked at"


@everywhere
def test_a_fallback_on_an_error_of_ones_own_is_replayed(world: World, tmp_path: Path) -> None:
    def out(_: str) -> str:
        raise Refused(3, why="no tea")

    def is_refused(error: Exception) -> bool:
        return isinstance(error, Refused) and error.code == 3

    for number, on in enumerate((Refused, is_refused)):
        either = fallback(out, str.upper, on=on)
        with recorded(tmp_path / f"{number}.jsonl"):
            first = world.run(lambda either=either: run.plan(either, "hi"))  # type: ignore[misc]
        with replayed(tmp_path / f"{number}.jsonl"):
            assert world.run(lambda either=either: run.plan(either, "hi")) == first == "HI"  # type: ignore[misc]


def test_an_error_that_cannot_be_made_again_is_told_all_the_same() -> None:
    again = error_of({"type": "UnicodeDecodeError", "args": ["utf-8"]}, value_of)
    assert isinstance(again, UnicodeDecodeError)
    assert "utf-8" in str(again)
    assert error_data(ValueError(), data_of) == {"type": "ValueError", "args": []}


# -- what is asked, and answered --

KEYS = (("x-api-key", "sk-plain"), ("accept", "*/*"))
REQUEST = Request("POST", "https://example.org/v1?key=sk-in-the-url&q=x", KEYS, b'{"a": 1}')


def _takes_anything(*_: Any, **__: Any) -> None: ...


def test_a_request_is_shown_without_its_keys() -> None:
    assert ask_data(Send(REQUEST)) == {
        "effect": "Send",
        "method": "POST",
        "url": "https://example.org/v1?key=sk-in-the-url&q=x",  # until it is masked
        "headers": [["accept", "*/*"]],
        "json": {"a": 1},
    }
    assert secrets_of(Send(REQUEST)) == {"sk-in-the-url", "sk-plain"}
    signed = Request("GET", "https://example.org", (("x-jwt", "sk-jwt"), ("x-session", "sk-mine"), ("accept", "*/*")))
    assert ask_data(Send(signed))["headers"] == [["accept", "*/*"]]
    assert secrets_of(Send(signed)) == {"sk-jwt"}  # what may be a word like others is not taken out everywhere
    keys = (("authorization", Secret("Bearer sk-1234")), ("x-team", Secret("abc")))
    assert secrets_of(Open(Request("GET", "https://example.org", keys))) == {"Bearer sk-1234", "sk-1234"}
    call = Call(_takes_anything, Secret("sk-arg"), key=Secret("sk-kwarg"), token="sk-token", text="fine")
    assert secrets_of(call) == {"sk-arg", "sk-kwarg", "sk-token"}
    assert secrets_of(Sleep(1)) == set()


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"", {}),
        (b'{"a": [1.5]}', {"json": {"a": [1.5]}}),
        (b"{broken", {"text": "{broken"}),
        ("Grüße".encode(), {"text": "Grüße"}),
        (b"\xff", {"base64": "/w=="}),
        (b'{"n": 123456789012345678901234567890}', {"json": {"n": 123456789012345678901234567890}}),
    ],
)
def test_bodies_are_json_text_or_base64(body: bytes, data: Any) -> None:
    reply = Reply(200, (("content-type", "x"), ("set-cookie", "secret")), body)
    told = answer_data(Send(REQUEST), reply)
    assert told == {"status": 200, "headers": [["content-type", "x"]], **data}
    again = answer_of(Send(REQUEST), told)
    assert (again.status, again.headers) == (200, (("content-type", "x"),))
    assert again.body == body or json.loads(again.body) == json.loads(body)


def test_a_stream_is_text_unless_a_letter_is_cut() -> None:
    read = Read(Channel(1, 200))
    for data in (b"data: {}\n\n", "ü".encode()[:1], b""):
        assert answer_of(read, answer_data(read, data)) == data
    opened = answer_data(Open(REQUEST), Channel(3, 200, (("a", "b"),)))
    assert answer_of(Open(REQUEST), opened) == Channel(3, 200, (("a", "b"),))


def test_every_effect_says_what_it_asks() -> None:
    spawn = Spawn("remind", waits)
    asked = [Now(), Random(), Sleep(1.5), Close(Channel(2, 200)), spawn, Call(_takes_anything, 1, end="")]
    assert [ask_data(effect) for effect in asked] == [
        {"effect": "Now"},
        {"effect": "Random"},
        {"effect": "Sleep", "seconds": 1.5},
        {"effect": "Close", "channel": 2},
        {"effect": "Spawn", "name": "remind"},
        {"effect": "Call", "function": "_takes_anything", "args": [1], "kwargs": {"end": ""}},
    ]


def test_secrets_are_taken_out_wherever_they_are() -> None:
    data = {"a sk-1 key": ["x", {"b": "sk-12 and sk-1"}, 1, None]}
    assert masked(data, {"sk-1", "sk-12"}) == {"a *** key": ["x", {"b": "*** and ***"}, 1, None]}
    assert masked(data, set()) == data


@pytest.mark.parametrize(
    ("recorded_data", "asked", "told"),
    [
        (1, 1, ""),
        (1, True, " is true, recorded 1"),
        ("a ***", "a secret", ""),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b is 2, recorded 1"),
        ({"a": 1}, {}, "a is nothing, recorded 1"),
        ({}, {"a": None}, "a is null, recorded nothing"),
        ([1, 2], [1], " is [1], recorded [1,2]"),
        ("x" * 999, "y", ' is "y", recorded "' + "x" * 159 + "…"),
    ],
)
def test_the_first_difference_is_told(recorded_data: Any, asked: Any, told: str) -> None:
    assert difference(recorded_data, asked) == told


# -- files --


def waits(*seconds: float) -> Plan[list[float]]:
    times = []
    for each in seconds:
        yield from Sleep(each)
        times.append((yield from Now()))
    return times


def test_several_runs_of_one_block_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    with recorded(path):
        first, second, third = drive(waits(0)), drive(waits()), drive(waits(0, 0))
    with replayed(path):
        assert (drive(waits(0)), drive(waits()), drive(waits(0, 0))) == (first, second, third)

    def some(*runs: tuple[int, ...]) -> None:
        with replayed(path):
            for naps in runs:
                drive(waits(*naps))

    with pytest.raises(Diverged, match=r"4 answers of run 3 are left over in .*: /sleep#0 \(Sleep\)"):
        some((0,), ())
    with pytest.raises(Diverged, match="the recording holds 3 runs, and this is run 4"):
        some((0,), (), (0, 0), ())


def test_runs_that_ask_nothing_are_missed_too(tmp_path: Path) -> None:
    with recorded(tmp_path / "x"):
        drive(waits())
    with pytest.raises(Diverged, match="holds 1 runs, and 0 have begun"), replayed(tmp_path / "x"):
        pass


def test_a_block_that_fails_keeps_what_it_has_and_says_why_it_failed(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"

    def fails() -> None:
        with recorded(path):
            drive(waits(0))
            raise OutOfStock("no tea")

    with pytest.raises(OutOfStock):
        fails()
    assert len(path.read_text().splitlines()) == 3
    with pytest.raises(ZeroDivisionError), replayed(path):
        _ = 1 / 0


def test_a_recording_replaces_the_one_before(tmp_path: Path) -> None:
    """Others may read it as they may read any file, and a run that fails replaces nothing."""
    path, plain = tmp_path / "x.jsonl", tmp_path / "plain"
    plain.touch()
    for naps in ((0, 0), (0,)):
        with recorded(path):
            drive(waits(*naps))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["plain", "x.jsonl"]
    assert path.stat().st_mode == plain.stat().st_mode
    kept = path.read_text()
    assert len(kept.splitlines()) == 3
    with pytest.raises(OutOfStock), recorded(path):
        drive(out_of_stock())
    assert path.read_text() == kept


def out_of_stock() -> Plan[None]:
    yield from waits(0)
    raise OutOfStock("no tea")


def test_what_cannot_be_put_in_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError), recorded(tmp_path / "taken"):
        drive(waits(0))
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(Misuse, match=r"there is no folder .*missing"), recorded(tmp_path / "missing" / "x"):
        pass


HEADER = '{"recording":"arshai_kit","v":1,"runs":1}'
ENTRY = '{"run":1,"at":"/sleep#0","asks":{"effect":"Sleep","seconds":0},"answer":null}'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1 of .* is no JSON"),
        ("{}", "is no recording: its first line does not say so"),
        ("[]", "line 1 of .* is no answer of a run"),
        (HEADER.replace('"v":1', '"v":2'), "is of format 2, known is 1: record anew, or upgrade"),
        (HEADER + "\n{", "line 2 of .* is no JSON"),
        (HEADER + '\n{"run":1}', "line 2 of .* is no answer of a run"),
        (
            HEADER + "\n" + ENTRY.replace('"answer":null', '"x":1'),
            "the recording of run 1 is broken at /sleep#0: KeyError",
        ),
        (HEADER + "\n" + ENTRY.replace(":null", ':{"$uuid":"x"}'), "the recording of run 1 is broken at /sleep#0"),
    ],
)
def test_a_file_that_is_no_recording_is_told(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(Misuse, match=why), replayed(path):
        drive(waits(0))


def test_a_recording_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"there is no recording '.*x': run this inside testing\.recorded"):
        replayed(tmp_path / "x").__enter__()


# -- runs that differ --


@everywhere
def test_a_run_that_asks_for_more_or_less_is_told(world: World, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with recorded(path):
        world.run(lambda: waits(0))
    plans: dict[str, Any] = {
        r"the recording of run 1 ends here, and the run asks: /sleep#1 \(Sleep 1\)": lambda: waits(0, 1),
        r"run 1 has ended, and the recording goes on: /sleep#0 \(Sleep\)": waits,
        r"run 1 asks: /now#0 \(Now\); the recording goes on with /sleep#0 \(Sleep\)": lambda: _asks(Now()),
    }
    for told_as, plan in plans.items():
        with pytest.raises(Diverged, match=told_as), replayed(path):
            world.run(plan)


def _asks(*effects: Any) -> Plan[Any]:
    for effect in effects:
        yield from effect


def test_a_run_that_failed_before_its_end_says_why(tmp_path: Path) -> None:
    def fails() -> Plan[None]:
        yield from Sleep(0)
        raise OutOfStock("no tea")

    path = tmp_path / "x.jsonl"
    with recorded(path):
        drive(waits(0))
    with pytest.raises(Diverged, match="run 1 has ended, and the recording goes on") as caught, replayed(path):
        drive(fails())
    assert isinstance(caught.value.__cause__, OutOfStock)


def test_that_it_diverged_is_told_though_the_program_went_on(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with recorded(path):
        drive(waits(0))
    with pytest.raises(Diverged, match="seconds is 5, recorded 0"), replayed(path), pytest.raises(RunError):
        drive(waits(5))


def test_a_question_names_its_address_where_it_diverges(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with provider() as toy:
        toy.answers(whole({"choices": [{"index": 0, "message": {"content": "Oslo"}, "finish_reason": "stop"}]}))
        with recorded(path):
            complete(toy.model(), "Norway?")
        header, now, chance, *_ = path.read_text().splitlines()
        path.write_text(f"{header}\n{now}\n{chance}\n")
        told = r"ends here, and the run asks: .*/send#0 \(Send POST http://127\.0\.0\.1:\d+/v1/chat/completions\)"
        with pytest.raises(Diverged, match=told), replayed(path):
            complete(toy.model(), "Norway?")


@everywhere
def test_what_was_cancelled_is_not_waited_for(world: World, tmp_path: Path) -> None:
    """A plan that nobody joined ends with its owner, in the middle of what it asked."""

    def plan() -> Plan[Any]:
        yield from Step("agent", "a", None, lambda: _leaves(Call(time.sleep, 0)))
        return (yield from _leaves(Sleep(60)))

    with recorded(tmp_path / "x"):
        first = world.run(plan)
    with replayed(tmp_path / "x"):
        assert world.run(plan) == first


def _leaves(effect: Any) -> Plan[float]:
    yield from Start(_asks(effect, Sleep(60)))
    return (yield from waits(0))[0]


def test_tools_that_run_agents_are_one_answer(tmp_path: Path) -> None:
    """What a foreign function does is part of its own answer: its runs are not in the recording."""
    asked: list[str] = []

    def friend(question: str) -> str:
        """Ask a friend."""
        asked.append(question)
        with scripted("I do not know."):
            return complete(Toy(), question).text

    script = (ToolCall("", "friend", {"question": "Tea?"}), "Nobody knows.")
    with recorded(tmp_path / "x"), scripted(*script):
        first = run_tools(Toy(), "Go!", [friend])
    with replayed(tmp_path / "x"), scripted(*script):
        assert run_tools(Toy(), "Go!", [friend]) == first
    assert asked == ["Tea?"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_kinds_of_with_work(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with recorded(tmp_path / "x"):
            first = await aio.run(_planned)
        async with replayed(tmp_path / "x"):
            assert await aio.run(_planned) == first

    anyio.run(main, backend=backend)


def _planned() -> None: ...


_planned.plan = lambda: waits(0, 0)  # type: ignore[attr-defined]  # what a function needs to be a plan
