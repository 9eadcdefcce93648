"""Calls are spread as was asked for; who fails is set aside, each time longer, and never forgotten."""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from collections.abc import Callable
from itertools import permutations
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import aio, complete, evolve, run_tools
from arshai_kit.effects import Emit, Plan
from arshai_kit.errors import BadRequest, CircuitOpen, Misuse, OverLimit, RateLimited, ServerFailed, StreamIncomplete
from arshai_kit.models import Ask, Capabilities
from arshai_kit.records import Notice, RateLimit, Response, TextDelta, ToolCall, assistant
from arshai_kit.resilience import Balance, balanced, breaker, limited, out_of_order
from tests.core.worlds import World, everywhere, listening
from tests.resilience.toys import ASK, Toy, said, talk, until

DOWN = ServerFailed("down", status=503)


def named(name: str, **known: Any) -> Toy:
    """A model that says its name."""
    return Toy(lambda: said(name, **known), name=name)


def down(name: str = "down", error: Exception = DOWN) -> Toy:
    return Toy(lambda: error, name=name)


def spoke(model: Any, times: int) -> str:
    return "".join(complete(model, "Hi").text for _ in range(times))


# -- the laws --


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 4))
def test_turns_are_taken_by_weight(weights: list[int], rounds: int) -> None:
    """Over each round of as many calls as the weights add up to, everybody has as many as it weighs."""
    balance = Balance(weights, by="weighted")
    for _ in range(rounds):
        chosen = Counter(balance.enter(str(n), ()) for n in range(sum(weights)))
        assert [chosen[place] for place in range(len(weights))] == weights


@given(
    st.sampled_from(["round_robin", "weighted", "least_busy", "headroom"]),
    st.lists(st.tuples(st.sampled_from("ends fails wrongs leaves waits".split()), st.integers(0, 20)), max_size=40),
)
def test_nobody_is_asked_who_is_set_aside_while_others_are_not(by: Any, steps: list[tuple[str, int]]) -> None:
    now = [50.0]
    balance = Balance([1.0, 2.0, 1.0], by=by, set_aside=10.0, clock=lambda: now[0])
    calls: list[tuple[str, int]] = []
    for number, (what, which) in enumerate(steps):
        dues = [member.due for member in balance._members]
        place = balance.enter(str(number), ())
        ready = [each for each in range(3) if dues[each] <= now[0]]
        assert place in ready if ready else dues[place] == min(dues)
        calls.append((str(number), place))
        if what == "waits":
            now[0] += which
            continue
        key, place = calls.pop(which % len(calls))
        if what == "leaves":
            balance.leave(key)
        else:
            went = {"ends": True, "fails": False, "wrongs": None}[what]
            aside = balance.settle(key, place, went, None, (which / 20, 5.0))
            assert 10.0 <= aside <= 320.0 if aside else True
            assert not aside or not went
    for key, _ in calls:
        balance.leave(key)
    assert [len(member.busy) for member in balance._members] == [0, 0, 0]


def test_the_least_busy_is_asked_for_its_weight() -> None:
    balance = Balance([1.0, 2.0], by="least_busy")
    places = [balance.enter(str(n), ()) for n in range(6)]
    assert Counter(places) == {0: 2, 1: 4}
    first = places.index(0)
    balance.settle(str(first), 0, True, None, None)
    assert balance.enter("next", ()) == 0


def test_who_has_most_headroom_is_asked() -> None:
    now = [0.0]
    full = [RateLimit("requests", 100, 90, 20.0), RateLimit("tokens", 1000, 100, 20.0), RateLimit("tokens")]
    models = (named("a", rate_limits=full), named("b", rate_limits=[RateLimit("requests", 100, 60, 20.0)]), named("c"))
    balance = Balance([1.0] * 3, by="headroom", clock=lambda: now[0])
    model = balanced(*models, balance=balance)
    assert sorted(spoke(model, 3)) == ["a", "b", "c"]  # nobody has said anything yet
    assert spoke(model, 3) == "ccc"
    now[0] = 20.0
    assert {*spoke(model, 6)} == {"a", "b", "c"}  # a fresh start
    balance.settle(str(balance.enter("x", (0, 1))), 2, True, None, (0.1, 20.0))
    assert spoke(model, 1) == "b"


# -- around a call --


@everywhere
def test_models_take_turns(world: World) -> None:
    model = balanced(named("a"), named("b"), named("c"))
    answers = [world.run(talk(model, stream=world.listening)).text for _ in range(6)]
    assert answers[:3] == answers[3:]
    assert sorted(answers[:3]) == ["a", "b", "c"]


@everywhere
def test_who_fails_is_set_aside_and_asked_again(world: World) -> None:
    now, answers = [0.0], iter([DOWN, DOWN, said("back")])
    balance = Balance([1.0, 1.0], set_aside=10.0, clock=lambda: now[0])
    model = balanced(Toy(lambda: next(answers)), named("b"), balance=balance)

    def asked() -> str:
        try:
            return world.run(talk(model, stream=world.listening)).text
        except ServerFailed:
            return "-"

    assert sorted([asked(), asked()]) == ["-", "b"]
    assert [asked() for _ in range(3)] == ["b"] * 3
    now[0] = 10.0
    assert sorted([asked(), asked()]) == ["-", "b"]
    now[0] = 29.0  # twice as long this time
    assert [asked() for _ in range(3)] == ["b"] * 3
    now[0] = 30.0
    assert sorted([asked(), asked()]) == ["b", "back"]


@everywhere
def test_another_one_is_tried_where_that_was_asked_for(world: World) -> None:
    model = balanced(down("a"), down("b"), named("c"), tries=3)
    for _ in range(4):
        assert world.run(talk(model, stream=world.listening)).text == "c"
    with pytest.raises(ServerFailed):
        world.run(talk(balanced(down("a"), down("b"), tries=9), stream=world.listening))
    wrong = balanced(down("a", BadRequest("no", status=400)), down("b", BadRequest("no", status=400)), tries=2)
    with pytest.raises(BadRequest):
        world.run(talk(wrong, stream=world.listening))
    assert spoke(balanced(named("a"), named("b")), 2) in ("ab", "ba")
    assert [member.failures for member in wrong.balance._members] == [0, 0]


@listening
def test_what_was_told_of_an_answer_is_not_told_anew(world: World) -> None:
    class Cut(Toy):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            yield from Emit((Notice("waiting", "cut"),))
            yield from Emit((TextDelta("Half of"),))
            raise StreamIncomplete("cut")

    cut = Cut()
    model = balanced(cut, cut, tries=2)
    with pytest.raises(StreamIncomplete):
        world.run(talk(model, stream=True))


@listening
def test_who_is_set_aside_is_told(world: World) -> None:
    model = balanced(down("a"), down("b", RateLimited("slow", status=429, retry_after=50.0)), named("c"), tries=3)
    events: list[Any] = []
    while not [event for event in events if isinstance(event, Notice) and event.name == "b"]:
        events += world.events(talk(model, stream=True))
    notices = [event for event in events if isinstance(event, Notice)]
    assert sorted(notices, key=lambda notice: notice.name) == [
        Notice("set_aside", "a", "down", {"seconds": 10.0}),
        Notice("set_aside", "b", "slow", {"seconds": 50.0}),
    ]


def test_when_all_are_set_aside_who_is_due_first_is_asked() -> None:
    now = [0.0]
    balance = Balance([1.0, 1.0], clock=lambda: now[0])
    model = balanced(
        down("a", RateLimited("a", status=429, retry_after=90.0)),
        down("b", CircuitOpen("b", retry_after=30.0)),
        balance=balance,
        tries=2,
    )
    with pytest.raises((RateLimited, CircuitOpen)):
        complete(model, "Hi")
    now[0] = 5.0
    for _ in range(2):
        with pytest.raises(CircuitOpen):
            complete(evolve(model, tries=1), "Hi")


def test_calls_that_began_before_it_was_set_aside_say_nothing_new() -> None:
    balance = Balance([1.0], set_aside=10.0, clock=lambda: 0.0)
    for key in "abc":
        balance.enter(key, ())
    assert [balance.settle(key, 0, False, None, None) for key in "ab"] == [10.0, 0.0]
    balance.settle("c", 0, True, None, None)
    assert balance._members[0].due == 10.0
    balance.enter("d", ())
    assert balance.settle("d", 0, False, None, None) == 20.0


def test_what_sets_aside_is_what_another_one_may_do_better() -> None:
    assert out_of_order(OverLimit())
    assert out_of_order(CircuitOpen())
    assert not out_of_order(BadRequest(status=413))
    assert not out_of_order(ValueError())


def test_agents_and_tool_loops_are_balanced_as_well() -> None:
    def one(prompt: str) -> str:
        return f"one {prompt}"

    async def two(prompt: str) -> str:
        return f"two {prompt}"

    agent = balanced(one, two)
    assert sorted([agent("a"), agent("a")]) == ["one a", "two a"]
    assert agent.__name__ == "one|two"
    assert balanced(one, down, tries=2).policy.tries == 2

    def tell() -> str:
        """Tell."""
        return "told"

    answers = iter([Response((assistant(ToolCall("1", "tell")),), "tool_calls"), said("Done.")])
    toys = [Toy(lambda: next(answers), name=name) for name in "ab"]
    assert run_tools(balanced(*toys), "Hi", [tell]).text == "Done."


@pytest.mark.anyio
async def test_who_is_cancelled_is_no_longer_counted(anyio_backend: str) -> None:
    busy = threading.Event()
    model = balanced(Toy(lambda: busy.wait() and said()), by="least_busy")
    async with anyio.create_task_group() as group:
        group.start_soon(aio.complete, model, "Hi")
        await until(lambda: model.balance._members[0].busy)
        group.cancel_scope.cancel()
        busy.set()
    assert not model.balance._members[0].busy


@everywhere
def test_an_answer_says_whose_it_is(world: World) -> None:
    """Also where names are the same, by who provides them, or by their places."""
    model = balanced(Toy(provider="east"), Toy(provider="west"), Toy(provider="west"))
    told = [world.run(talk(model)).answered_by for _ in range(3)]
    assert told == ["east:toy", "west:toy#2", "west:toy#3"]


# -- values --


def test_a_balanced_model_is_a_value_that_shows_what_it_shares() -> None:
    seeing, blind = Toy(capabilities=Capabilities(images=True)), Toy(capabilities=Capabilities(images=False))
    model = balanced(seeing, blind, weights=(2, 1))
    assert repr(model.balance) == "Balance((2, 1), by='weighted', set_aside=10.0)"
    assert (model.name, model.provider, model.capabilities.images) == ("toy", "box", False)
    assert balanced(named("a"), named("b")).name == "a|b"
    assert model == evolve(model, tries=1)
    assert hash(model) == hash(evolve(model, tries=1))
    assert [each.max_tokens for each in evolve(model, max_tokens=5).models] == [5, 5]
    copied = pickle.loads(pickle.dumps(model.balance))
    assert repr(copied) == repr(model.balance)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: balanced(),
        lambda: balanced(Toy(), len),
        lambda: balanced(Toy(), weights=(1, 2)),
        lambda: balanced(Toy(), weights=(0,)),
        lambda: balanced(Toy(), weights=5),  # type: ignore[arg-type]
        lambda: balanced(Toy(), tries=0),
        lambda: balanced(Toy(), by="luck"),  # type: ignore[arg-type]
        lambda: balanced(Toy(), set_aside=-1),
        lambda: balanced(Toy(), Toy(), balance=Balance([1.0])),
        lambda: balanced(Toy(), balance=5),  # type: ignore[arg-type]
        lambda: balanced(Toy(), weights=("a",)),  # type: ignore[arg-type]
        lambda: balanced(Toy(), set_aside=None),  # type: ignore[arg-type]
        lambda: balanced(Toy(), tries=2, fails=5),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(Misuse):
        wrong()


def test_one_alone_is_balanced_too() -> None:
    assert World().run(lambda: balanced(Toy()).ask(ASK, stream=False)).text == "It is me."


@everywhere
@pytest.mark.parametrize("order", [*permutations(range(3))], ids=str)
def test_wrappers_stack_in_any_order(world: World, order: tuple[int, ...]) -> None:
    """The answer is the same, and so is the error, whoever is inside whom."""
    wraps = (
        lambda model: limited(model, requests_per_minute=9),
        lambda model: breaker(model, failures=9),
        lambda model: balanced(model),
    )

    def wrapped(model: Any) -> Any:
        for place in order:
            model = wraps[place](model)
        return model

    assert world.run(talk(wrapped(Toy()), stream=world.listening)) == said()
    with pytest.raises(ServerFailed, match="down"):
        world.run(talk(wrapped(down()), stream=world.listening))
