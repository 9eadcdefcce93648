"""The machine alone, answered by hand: nothing in here waits, or touches a thread."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from arshai_kit.effects import (
    Call,
    Effect,
    Emit,
    Halt,
    Handle,
    Here,
    Join,
    Now,
    Open,
    Outcome,
    Owner,
    Plan,
    Request,
    Send,
    Sleep,
    Start,
    Step,
    Where,
    call,
    side_by_side,
)
from arshai_kit.errors import Misuse
from arshai_kit.machine import EVENTS, IDLE, OVER, WORK, Machine, Task
from arshai_kit.records import StepFinished, StepStarted, TextDelta
from tests.core.worlds import World, everywhere
from tests.transport.server import SOON


class Hand:
    """Turns a machine, and answers what it asks for."""

    def __init__(self, plan: Plan[Any], **options: Any) -> None:
        self.machine = Machine(plan, naming=True, **options)
        self.asked: dict[str, Task] = {}
        self.effects: dict[str, Effect[Any]] = {}
        self.events: list[Any] = []
        self._until_idle(*self.machine.turn())

    def answer(self, path: str, value: Any = None, error: BaseException | None = None) -> None:
        """Answer what was asked at *path*, and let the machine go on until every plan waits."""
        self._until_idle(*self.machine.turn(self.asked.pop(path), value, error))

    def _until_idle(self, what: str, task: Any, payload: Any) -> None:
        while what not in (IDLE, OVER):
            if what is WORK:
                self.asked[task.path] = task
                self.effects[task.path] = payload
            else:
                assert what is EVENTS
                self.events += payload
            what, task, payload = self.machine.turn()

    @property
    def outcome(self) -> Outcome[Any]:
        """How the run ended."""
        assert self.machine.outcome is not None
        return self.machine.outcome

    @property
    def value(self) -> Any:
        """What the run gave."""
        return self.outcome.unwrap()

    @property
    def cancelled(self) -> list[str]:
        """The paths of the tasks that the machine has cancelled."""
        return [thing.path for what, thing in self.machine.dropped if what == "task"]


def asking(*effects: Effect[Any]) -> Plan[list[Any]]:
    answers = []
    for effect in effects:
        answers.append((yield from effect))
    return answers


def test_effects_are_named_by_kind_and_name_and_counted_in_the_plan_that_asks() -> None:
    hand = Hand(asking(Now(), Sleep(1), Now(), Call(len, ""), Call(len, "")))
    for path in ("/now#0", "/sleep#0", "/now#1", "/call:len#0", "/call:len#1"):
        assert list(hand.asked) == [path]
        hand.answer(path)
    assert hand.outcome == Outcome([None] * 5)


def test_a_step_is_a_frame_of_its_own_that_counts_for_itself() -> None:
    def plan() -> Plan[Any]:
        yield from Step("model", "wise/one", None, lambda: asking(Now()))
        yield from Step("model", "wise/one", None, lambda: asking(Now()))

    hand = Hand(plan())
    assert list(hand.asked) == ["/model:wise/one#0/now#0"]
    hand.answer("/model:wise/one#0/now#0")
    assert list(hand.asked) == ["/model:wise/one#1/now#0"]


def test_children_are_named_by_owner_and_key() -> None:
    def plan() -> Plan[Any]:
        for key in ("left", (1, "x"), 7, "7", None):
            yield from Start(asking(Now()), key)
        yield from Join(((yield from Start(asking(Now()), "k" * 100)),))

    assert list(Hand(plan()).asked) == [
        "/left/now#0",
        "/1+x/now#0",
        "/7/now#0",
        "/7~1/now#0",  # another key of the same looks
        "/#4/now#0",
        f"/{'k' * 80}~24b42564/now#0",
    ]


def test_an_answer_is_delivered_only_when_every_plan_waits_and_one_at_a_time() -> None:
    order: list[str] = []

    def child(name: str) -> Plan[None]:
        yield from Now()
        order.append(f"{name} goes on")
        yield from Now()
        order.append(f"{name} ends")

    hand = Hand(side_by_side([child("a"), child("b")]))
    hand.answer("/#0/now#0")
    assert order == ["a goes on"]
    hand.answer("/#1/now#0")
    hand.answer("/#1/now#1")
    assert order == ["a goes on", "b goes on", "b ends"]
    assert hand.machine.outcome is None
    hand.answer("/#0/now#1")
    assert hand.outcome == Outcome((Outcome(None), Outcome(None)))


def test_starting_is_idempotent_for_one_key_of_one_owner() -> None:
    made: list[Plan[Any]] = []

    def child() -> Plan[str]:
        made.append(plan := asking(Now()))
        yield from plan
        return "done"

    def plan() -> Plan[Any]:
        here = yield from Here()
        first = yield from Start(child(), "k")
        again = yield from Step("model", "m", None, lambda: iter(Start(child(), "k", here)))
        other = yield from Step("model", "m", None, lambda: asking(Start(child(), "k"), Here()))
        assert first is again
        assert first not in other
        return (yield from Join((again,)))

    hand = Hand(plan())
    assert list(hand.asked) == ["/k/now#0"]  # the one in the step's own frame is cancelled with it
    assert hand.cancelled == [""]
    hand.answer("/k/now#0")
    assert hand.outcome == Outcome((Outcome("done"),))
    assert len(made) == 1  # a plan that is never run is never begun


def test_a_key_of_none_never_meets_a_key_that_was_given() -> None:
    def plan() -> Plan[Any]:
        handles = []
        for key in (1, None, 0, None):
            handles.append((yield from Start(asking(Now()), key)))
        return len(set(handles))

    assert Hand(plan()).value == 4


def test_plans_of_an_owner_take_turns_first_in_first_out() -> None:
    hand = Hand(side_by_side([asking(Now()) for _ in range(5)], limit=2))
    for gone, asked in ((1, [0, 2]), (0, [2, 3]), (3, [2, 4]), (4, [2])):
        hand.answer(f"/#{gone}/now#0")
        assert list(hand.asked) == [f"/#{number}/now#0" for number in asked]


def test_each_limit_holds_whatever_else_runs() -> None:
    def plan() -> Plan[Any]:
        for _ in range(3):
            yield from Start(asking(Now()))
        strict = yield from Start(asking(Now()), "alone", limit=1)
        yield from Start(asking(Now()), "after", limit=10)  # it could run, but it does not overtake
        yield from Join((strict,))

    hand = Hand(plan())
    hand.answer("/#0/now#0")
    hand.answer("/#1/now#0")
    assert list(hand.asked) == ["/#2/now#0"]
    hand.answer("/#2/now#0")
    assert list(hand.asked) == ["/alone/now#0", "/after/now#0"]
    hand.answer("/alone/now#0")
    assert hand.cancelled == ["/after/now#0"]
    assert hand.outcome == Outcome(None)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_lets_nobody_run_is_misuse(limit: int) -> None:
    assert isinstance(Hand(side_by_side([asking()], limit=limit)).outcome.error, Misuse)


def test_outcomes_are_joined_in_the_order_of_the_handles() -> None:
    def failing() -> Plan[Any]:
        yield from Now()
        raise KeyError("k")

    def plan() -> Plan[Any]:
        one = yield from Start(asking(Now()), "one")
        two = yield from Start(failing(), "two")
        return (yield from Join((two, one, two)))

    hand = Hand(plan())
    hand.answer("/one/now#0", 1)
    hand.answer("/two/now#0")
    assert repr(hand.value) == repr((Outcome(error=KeyError("k")), Outcome([1]), Outcome(error=KeyError("k"))))


def test_joining_twice_and_by_two_plans_gives_the_same() -> None:
    def plan() -> Plan[Any]:
        one = yield from Start(asking(Now()), "one")
        other = yield from Start(iter(Join((one,))), "other")
        first = yield from Join((one,))
        return first, (yield from Join((one,))), (yield from Join((other,))), (yield from Join(()))

    hand = Hand(plan())
    hand.answer("/one/now#0", 5)
    joined = (Outcome([5]),)
    assert hand.value == (joined, joined, (Outcome(joined),), ())


def test_what_nobody_joined_is_cancelled_when_its_owner_ends() -> None:
    closed: list[str] = []

    def child(name: str) -> Plan[None]:
        try:
            yield from side_by_side([grandchild(name)])
        finally:
            closed.append(name)

    def grandchild(name: str) -> Plan[None]:
        try:
            yield from Now()
        finally:
            closed.append(f"below {name}")

    def step() -> Plan[str]:
        yield from Start(child("a"))
        yield from Start(child("b"))
        yield from Sleep(1)
        return "left"

    def plan() -> Plan[Any]:
        yield from Step("tool", "t", None, step)
        yield from Now()

    hand = Hand(plan())
    hand.answer("/tool:t#0/sleep#0")
    assert closed == ["below a", "a", "below b", "b"]
    assert "/now#0" in hand.asked
    assert set(hand.cancelled) == {"/tool:t#0/#0/#0/now#0", "", "/tool:t#0/#1/#0/now#0"}


def test_joining_a_cancelled_plan_tells_so() -> None:
    def plan() -> Plan[Any]:
        handle = yield from Step("tool", "t", None, lambda: iter(Start(asking(Now()))))
        return (yield from Join((handle,)))[0].unwrap()

    error = Hand(plan()).outcome.error
    assert isinstance(error, Misuse)
    assert "cancelled" in str(error)


def test_who_waits_for_a_plan_that_is_cancelled_goes_on() -> None:
    def plan() -> Plan[Any]:
        here = yield from Here()

        def step() -> Plan[None]:
            doomed = yield from Start(asking(Sleep(9)), "doomed")
            yield from Start(iter(Join((doomed,))), "joins", here)
            yield from Now()

        yield from Step("tool", "t", None, step)
        joining = yield from Start(asking(), "joins")
        return (yield from Join((joining,)))[0].unwrap()[0].error

    hand = Hand(plan())
    hand.answer("/tool:t#0/now#0")
    assert isinstance(hand.value, Misuse)


def test_starting_for_an_owner_that_has_ended_is_misuse() -> None:
    def plan() -> Plan[Any]:
        gone: Owner = yield from Step("tool", "t", None, lambda: iter(Here()))
        try:
            yield from Start(asking(Now()), owner=gone)
        except Misuse as error:
            return str(error)

    assert "has ended" in Hand(plan()).value


@pytest.mark.parametrize("effect", [3, None, "text", Now, asking, Outcome(1)])
def test_yielding_what_is_no_effect_is_misuse_that_the_plan_may_catch(effect: Any) -> None:
    def plan() -> Plan[Any]:
        try:
            yield effect
        except Misuse as error:
            return str(error)

    assert "yield from" in Hand(plan()).value


def not_fresh() -> Iterator[Any]:
    yield pytest.param(begun := asking(Now(), Now()), id="begun")
    next(begun)
    yield pytest.param(over := asking(), id="over")
    with pytest.raises(StopIteration):
        next(over)
    yield pytest.param(None, id="nothing")
    yield pytest.param([Now()], id="list")
    yield pytest.param(asking, id="function")
    yield pytest.param(range(3), id="iterable")


@pytest.mark.parametrize("plan", list(not_fresh()))
def test_a_plan_is_a_generator_that_is_used_once(plan: Any) -> None:
    with pytest.raises(Misuse, match="a plan is"):
        Machine(plan)
    for effect in (Start(plan), Step("tool", "t", None, lambda: plan)):
        assert isinstance(Hand(asking(effect)).outcome.error, Misuse)


def test_one_plan_started_twice_is_misuse_even_before_it_has_begun() -> None:
    child = asking(Now())
    assert "used once" in str(Hand(side_by_side([child, child])).outcome.error)
    root: list[Plan[Any]] = []

    def plan() -> Plan[Any]:
        yield from Start(root[0])

    root.append(plan())
    assert "used once" in str(Hand(root[0]).outcome.error)


def test_what_the_machine_cannot_answer_is_told_to_the_plan_that_asked() -> None:
    handles: Any = (3,)
    failing: Any = lambda: 1 / 0  # noqa: E731  # it makes no plan
    nonsense = [Start(asking(), []), Join(handles), Emit(handles), Step("tool", "t", None, failing)]  # type: ignore[arg-type]

    def plan() -> Plan[Any]:
        errors = []
        for effect in nonsense:
            try:
                yield from Step("agent", "a", None, effect.__iter__)
            except Exception as error:
                errors.append(type(error))
        return errors

    assert Hand(plan(), listening=True).value == [TypeError, AttributeError, AttributeError, ZeroDivisionError]


# How plans end


def ends_badly(error: BaseException) -> Plan[None]:
    try:
        yield from Now()
    finally:
        raise error


def asks_while_closed() -> Plan[None]:
    try:
        yield from Now()
    finally:
        yield from Now()


def swallows() -> Plan[None]:
    try:
        yield from Now()
    except GeneratorExit:
        return


def test_a_plan_that_asks_in_finally_may_do_so_only_while_it_is_not_closed() -> None:
    hand = Hand(asks_while_closed())
    hand.answer("/now#0", error=KeyError("k"))
    hand.answer("/now#1")
    assert isinstance(hand.outcome.error, KeyError)
    closed = Hand(asks_while_closed())
    with pytest.raises(Misuse, match="finally"):
        closed.machine.close()


def test_a_plan_that_asks_while_it_is_closed_leaves_nothing_to_complain_about_later() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hand = Hand(asks_while_closed())
        with pytest.raises(Misuse):
            hand.machine.close()
        del hand
        gc.collect()


def test_a_child_that_asks_while_it_is_closed_fails_its_owner_but_keeps_no_other_from_being_closed() -> None:
    closed: list[str] = []

    def watching(name: str) -> Plan[None]:
        try:
            yield from Now()
        finally:
            closed.append(name)

    def plan() -> Plan[str]:
        for child in (watching("a"), asks_while_closed(), ends_badly(KeyError("k")), watching("b"), swallows()):
            yield from Start(child)
        yield from Sleep(1)
        return "lost"

    hand = Hand(plan())
    hand.answer("/sleep#0")
    assert isinstance(hand.outcome.error, Misuse)
    assert closed == ["a", "b"]


def test_the_error_of_a_plan_is_the_context_of_what_its_children_did_at_the_end() -> None:
    def plan() -> Plan[None]:
        yield from Start(ends_badly(OSError("cleaning up")))
        yield from Sleep(1)
        raise KeyError("k")

    hand = Hand(plan())
    hand.answer("/sleep#0")
    assert isinstance(hand.outcome.error, OSError)
    assert isinstance(hand.outcome.error.__context__, GeneratorExit)
    assert isinstance(hand.outcome.error.__context__.__context__, KeyError)


@pytest.mark.parametrize("error", [KeyError("k"), RuntimeError("r"), SystemExit(1), KeyboardInterrupt()])
def test_an_error_raised_while_a_run_is_closed_comes_out_when_all_is_closed(error: BaseException) -> None:
    closed: list[str] = []

    def plan() -> Plan[None]:
        try:
            yield from side_by_side([ends_badly(error), iter(Sleep(1))])
        finally:
            closed.append("root")

    hand = Hand(plan())
    with pytest.raises(type(error)) as raised:
        hand.machine.close()
    assert raised.value is error
    assert closed == ["root"]
    hand.machine.close()  # once more does nothing


def test_a_child_that_exits_at_its_end_ends_the_run() -> None:
    def plan() -> Plan[None]:
        yield from Start(ends_badly(SystemExit(3)))
        yield from Sleep(1)

    hand = Hand(plan())
    with pytest.raises(SystemExit):
        hand.answer("/sleep#0")


def test_an_error_that_is_no_exception_ends_the_run_and_no_plan_sees_it() -> None:
    seen: list[BaseException] = []

    def step() -> Plan[None]:
        yield from Now()
        raise SystemExit(3)

    def plan() -> Plan[None]:
        try:
            yield from Step("tool", "t", None, step)
        except BaseException as error:
            seen.append(error)
            raise

    hand = Hand(plan())
    with pytest.raises(SystemExit):
        hand.answer("/tool:t#0/now#0")
    hand.machine.close()
    assert [type(error) for error in seen] == [GeneratorExit]


def test_after_the_end_there_is_only_the_end() -> None:
    hand = Hand(asking())
    assert hand.machine.turn() == (OVER, None, Outcome([]))


def test_what_a_frame_opens_is_closed_when_that_plans_frame_ends() -> None:
    """A handler's frame does not count, though it is where the exchange is asked for."""
    request = Request("GET", "http://localhost")

    def handler(effect: Open, where: Where) -> Plan[Any]:
        return (yield from effect)

    def step() -> Plan[None]:
        yield from Open(request)
        yield from Sleep(1)

    def plan() -> Plan[None]:
        yield from Open(request)
        yield from Step("tool", "t", None, step)
        yield from Sleep(2)

    hand = Hand(plan(), layers=[{Open: handler}, {Open: handler}])
    for path in ("/open#0", "/tool:t#0/open#0"):
        hand.machine.opened(hand.asked[path], path)
        hand.answer(path)
    assert list(hand.machine.dropped) == []
    hand.answer("/tool:t#0/sleep#0")
    assert list(hand.machine.dropped) == [("channel", "/tool:t#0/open#0")]
    hand.answer("/sleep#0")
    assert list(hand.machine.dropped)[1:] == [("channel", "/open#0")]


# Layers


def test_what_a_layer_does_not_name_never_reaches_it() -> None:
    def handler(effect: Now, where: Where) -> Plan[Any]:
        raise AssertionError
        yield

    hand = Hand(asking(Sleep(1)), layers=[{Now: handler}])
    assert list(hand.asked) == ["/sleep#0"]


def test_layers_stand_outermost_first_and_see_one_name() -> None:
    seen: list[tuple[int, str]] = []

    def noting(number: int) -> Any:
        def handler(effect: Any, where: Where) -> Plan[Any]:
            seen.append((number, where.path))
            answer = yield from effect
            seen.append((-number, where.path))
            return answer

        return handler

    def step() -> Plan[Any]:
        return (yield from Now())

    hand = Hand(
        iter(Step("model", "a/b", None, step)),
        layers=[{Now: noting(1), Step: noting(1)}, {Step: noting(2)}, {Now: noting(3)}],
    )
    assert list(hand.asked) == ["/model:a/b#0/now#0"]
    hand.answer("/model:a/b#0/now#0", 5.0)
    model, now = "/model:a/b#0", "/model:a/b#0/now#0"
    assert seen == [(1, model), (2, model), (1, now), (3, now), (-3, now), (-1, now), (-2, model), (-1, model)]
    assert hand.value == 5.0


def test_a_handler_is_seen_by_the_layers_below_its_own_only() -> None:
    seen: list[str] = []

    def outer(effect: Now, where: Where) -> Plan[Any]:
        seen.append("outer")
        return (yield from effect)

    def middle(effect: Sleep, where: Where) -> Plan[Any]:
        yield from Now()
        return "answered without passing on"

    def inner(effect: Now, where: Where) -> Plan[Any]:
        seen.append("inner")
        return (yield from effect)

    hand = Hand(asking(Sleep(1), Now()), layers=[{Now: outer}, {Sleep: middle}, {Now: inner}])
    assert list(hand.asked) == ["/sleep#0/layer:2/now#0"]
    hand.answer("/sleep#0/layer:2/now#0")
    assert seen == ["inner", "outer", "inner"]
    hand.answer("/now#0", 1)
    assert hand.value == ["answered without passing on", 1]


def test_what_is_passed_on_again_or_changed_keeps_its_name() -> None:
    def handler(effect: Call[Any], where: Where) -> Plan[Any]:
        first = yield from Call(effect.function, 7, *effect.args[1:])
        return first, (yield from effect)

    hand = Hand(
        asking(Call(divmod, 1, 1), Call(divmod, 2, 1)),
        layers=[{Call: handler}, {Call: lambda effect, where: iter(effect)}],
    )
    for path in ("/call:divmod#0", "/call:divmod#0~1", "/call:divmod#1", "/call:divmod#1~1"):
        assert list(hand.asked) == [path]
        hand.answer(path, path)
    assert hand.value[1] == ("/call:divmod#1", "/call:divmod#1~1")


def test_a_step_passed_on_is_one_step_to_who_listens_and_its_plan_meets_all_layers_anew() -> None:
    seen: list[str] = []

    def on_step(step: Step[Any], where: Where) -> Plan[Any]:
        seen.append(where.path)
        return (yield from step)

    inner = Step("tool", "inner", None, lambda: asking(Now()))
    hand = Hand(asking(Step("model", "m", None, lambda: iter(inner))), layers=[{Step: on_step}], listening=True)
    hand.answer("/model:m#0/tool:inner#0/now#0")
    assert seen == ["/model:m#0", "/model:m#0/tool:inner#0"]
    assert hand.events == [
        StepStarted("model", "m"),
        StepStarted("tool", "inner"),
        StepFinished("tool", "inner"),
        StepFinished("model", "m"),
    ]


def test_a_step_that_fails_tells_why() -> None:
    def failing() -> Plan[None]:
        raise KeyError
        yield

    hand = Hand(asking(Step("tool", "t", None, failing)), listening=True)
    assert hand.events[1] == StepFinished("tool", "t", "KeyError")


def test_a_handler_that_fails_at_once_or_later_fails_what_was_asked() -> None:
    def at_once(effect: Now, where: Where) -> Plan[Any]:
        raise KeyError("at once")

    def later(effect: Sleep, where: Where) -> Plan[Any]:
        raise KeyError("later")
        yield

    def plan() -> Plan[Any]:
        errors = []
        for effect in (Now(), Sleep(1)):
            try:
                yield effect
            except KeyError as error:
                errors.append(error.args[0])
        return errors

    assert Hand(plan(), layers=[{Now: at_once, Sleep: later}]).value == ["at once", "later"]


@pytest.mark.parametrize("at_once", [True, False])
def test_halting_reaches_no_plan_and_runs_all_cleanup(at_once: bool) -> None:
    seen: list[Any] = []

    def halting(effect: Now, where: Where) -> Plan[Any]:
        def later() -> Plan[Any]:
            raise Halt(KeyError("over budget"))
            yield

        if at_once:
            raise Halt(KeyError("over budget"))
        return later()

    def plan(depth: int) -> Plan[Any]:
        try:
            if depth:
                inner = Step("tool", str(depth), None, lambda: side_by_side([plan(depth - 1)]))
                yield from inner
            yield from Now()
        except BaseException as error:
            seen.append(type(error))
            raise
        finally:
            seen.append(depth)

    machine = Machine(plan(2), layers=[{Now: halting}])
    with pytest.raises(Halt) as halt:
        machine.turn()
    assert isinstance(halt.value.error, KeyError)
    machine.close()
    assert seen == [GeneratorExit, 0, GeneratorExit, 1, GeneratorExit, 2]


def test_layers_reach_children_and_tags_every_handler() -> None:
    seen: list[tuple[str, Any]] = []

    def on_now(effect: Now, where: Where) -> Plan[Any]:
        seen.append((where.path, dict(where.tags)))
        return 0.0
        yield

    hand = Hand(side_by_side([asking(Now()), asking(Now())]), layers=[{Now: on_now}], tags={"user": "u"})
    assert hand.value == (Outcome([0.0]), Outcome([0.0]))
    assert seen == [("/#0/now#0", {"user": "u"}), ("/#1/now#0", {"user": "u"})]


def test_here_in_a_handler_is_the_plan_that_asked() -> None:
    owners: list[Owner] = []

    def on_now(effect: Now, where: Where) -> Plan[Any]:
        owners.append((yield from Here()))
        yield from Start(asking(Sleep(1)), "started by the layer")
        return (yield from effect)

    def plan() -> Plan[Any]:
        owners.append((yield from Here()))
        yield from Now()

    hand = Hand(plan(), layers=[{Now: on_now}])
    assert owners[0].frame is owners[1].frame
    assert list(hand.asked) == ["/now#0", "/started by the layer/sleep#0"]
    hand.answer("/now#0")
    assert "/started by the layer/sleep#0" in hand.cancelled


# Events


def test_events_are_tagged_by_the_agents_and_keys_above_them() -> None:
    def speaking(text: str) -> Plan[None]:
        yield from Emit((TextDelta(text),))

    def plan() -> Plan[None]:
        yield from speaking("plain")
        yield from Step("agent", "desk", None, lambda: nested())
        yield from Join(((yield from Start(speaking("keyed"), "left")), (yield from Start(speaking("unnamed")))))

    def nested() -> Plan[None]:
        yield from Step("tool", "no agent", None, lambda: speaking("in a tool"))
        yield from Step("agent", "technical", None, lambda: speaking("deep"))
        yield from Emit(())

    hand = Hand(plan(), listening=True)
    told = [(event.text, event.path) for event in hand.events if isinstance(event, TextDelta)]
    assert told == [
        ("plain", ""),
        ("in a tool", "desk"),
        ("deep", "desk/technical"),
        ("keyed", "left"),
        ("unnamed", ""),
    ]


def test_nobody_listening_is_told_nothing() -> None:
    hand = Hand(asking(Emit((TextDelta("x"),)), Step("agent", "a", None, lambda: asking(Emit((TextDelta("y"),))))))
    assert hand.events == []
    assert hand.value == [None, [None]]


def test_plans_know_whether_anybody_listens() -> None:
    for listening in (True, False):
        assert Hand(iter(Here()), listening=listening).value.listening is listening


def test_things_say_what_they_are() -> None:
    assert repr(Handle("/left")) == "Handle(/left)"
    assert re.match(r"Call\(len\)", repr(Call(len, "abc")))
    assert next(call(len, "abc")).__class__ is Call
    assert Send(Request("GET", "http://localhost")).until == float("inf")


@everywhere
def test_a_plan_that_is_started_again_under_its_key_goes_on(world: World) -> None:
    def inner() -> Plan[int]:
        yield from Sleep(0.001)
        return 42

    def outer() -> Plan[list[int]]:
        plan = inner()
        first = yield from Start(plan, key="k")
        again = yield from Start(plan, key="k")
        outcomes = yield from Join((first, again))
        return [outcome.unwrap() for outcome in outcomes]

    assert world.run(outer) == [42, 42]


@everywhere
def test_a_long_key_may_hold_what_cannot_be_encoded(world: World) -> None:
    def outer() -> Plan[str]:
        handle = yield from Start(iter(Sleep(0)), key="\ud800" * 90)
        yield from Join((handle,))
        return handle.path

    assert world.run(outer).startswith("/\ud800")


@everywhere
def test_who_waits_for_a_sibling_may_be_cancelled_with_it(world: World) -> None:
    def sleeper() -> Plan[None]:
        yield from Sleep(SOON)

    def outer() -> Plan[str]:
        handles: list[Handle[None]] = []

        def joiner() -> Plan[None]:
            yield from Join(tuple(handles))

        joining = Start(joiner(), key="joiner")
        yield from joining
        handles.append((yield from Start(sleeper(), key="sleeper")))
        yield from Sleep(0.01)
        return "left"

    def whole() -> Plan[str]:
        said = yield from Step("agent", "outer", None, outer)
        yield from Sleep(0)
        return said

    assert world.run(whole) == "left"
