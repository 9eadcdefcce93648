"""Answers that are kept: asked once, told again as they were told; whatever fails on the way, the model is asked."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st
from tenacity import stop_after_attempt

from arshai_kit import aio, complete, evolve, openai_compatible, run_tools, stream, user
from arshai_kit._record import Record
from arshai_kit.codec import to_json
from arshai_kit.cost import Prices, priced
from arshai_kit.effects import Call, Emit, Plan, Sleep, side_by_side
from arshai_kit.errors import Diverged, Misuse, ServerFailed
from arshai_kit.faces import drive
from arshai_kit.models import UNKNOWN, Ask, Capabilities, OutputSpec, Settings, retold
from arshai_kit.records import (
    Candidate,
    Finished,
    Notice,
    Opaque,
    RateLimit,
    Response,
    TextDelta,
    ToolCall,
    Usage,
    assistant,
)
from arshai_kit.resilience import (
    Budget,
    Cached,
    MemoryCache,
    Quota,
    balanced,
    breaker,
    budgeted,
    cached,
    deadline,
    fallback,
    limited,
)
from arshai_kit.resilience.around import Around
from arshai_kit.resilience.caching import identity, keepable
from arshai_kit.resilience.flights import Flights, Seat
from arshai_kit.retry import Retry
from arshai_kit.testing import clock, recorded, replayed, strategies
from tests.core.worlds import World, everywhere, listening

REPLY = Response((assistant("It is me."),), usage=Usage(10, 4), cost=Decimal("0.5"), model="toy", id="r1")
ASK = Ask((user("Who is there?"),))


@frozen
class Counter:
    """What has been asked; each answer is what *answer* makes of how many there were before."""

    answer: Callable[[int], Any] = lambda _: REPLY
    asked: list[bool] = field(factory=list)

    def __call__(self, stream: bool) -> Any:
        self.asked.append(stream)
        return self.answer(len(self.asked) - 1)


@frozen(eq=False, repr=False)
class Toy(Record):
    """A model that answers what *counter* gives, after *before*."""

    counter: Counter = field(factory=Counter, eq=False, repr=False)
    name: str = "toy"
    provider: str = "box"
    temperature: float | None = None
    before: Callable[[], Any] | None = field(default=None, eq=False)
    pause: float = field(default=0.0, eq=False)
    capabilities: Capabilities = UNKNOWN

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The next answer."""
        answer = yield from Call(self.counter, stream)
        if self.before is not None:
            yield from Call(self.before)
        yield from Sleep(self.pause)
        if isinstance(answer, Exception):
            raise answer
        if stream:
            yield from Emit(retold(answer))
        return answer  # type: ignore[no-any-return]  # a response


def toy(answer: Callable[[int], Any] = lambda _: REPLY, **more: Any) -> Toy:
    return Toy(Counter(answer), **more)


def asked(model: Any) -> int:
    return len(model.counter.asked)


def asking(model: Any, *, stream: bool = False, ask: Ask = ASK) -> Callable[[], Plan[Response]]:
    return lambda: model.ask(ask, stream=stream)


def free(response: Response) -> Response:
    """*response*, as one that cost nothing."""
    return attrs.evolve(response, usage=Usage(), cost=Decimal(0))


# -- the same again --


@everywhere
def test_a_question_is_asked_once_and_a_hit_costs_nothing(world: World) -> None:
    inner = toy()
    model = cached(inner, MemoryCache())
    first, again = [world.run(asking(model, stream=world.listening)) for _ in range(2)]
    assert (first, again, asked(inner)) == (REPLY, free(REPLY), 1)
    assert again.usage.reported
    assert again.cost == 0
    other = Ask((user("Who else?"),))
    assert world.run(asking(model, ask=other)) == REPLY
    assert asked(inner) == 2


@listening
def test_a_hit_is_told_as_the_model_would_tell_it(world: World) -> None:
    model = cached(toy(), MemoryCache())
    first = world.events(asking(model, stream=True))
    notice, *told = world.events(asking(model, stream=True))
    assert told == first == [TextDelta("It is me.")]
    assert notice == Notice("cache_hit", "toy", "answered before", {"input_tokens": 10, "output_tokens": 4})


@given(strategies.responses())
def test_what_is_kept_comes_back_equal_but_for_its_price(response: Response) -> None:
    """And what is not whole is asked again each time."""
    response = attrs.evolve(response, output=None)
    inner = toy(lambda _: response)
    model = cached(inner, MemoryCache())
    first, again = drive(model.ask(ASK, stream=False)), drive(model.ask(ASK, stream=False))
    assert first == response
    assert again == (free(response) if keepable(response) else response)
    assert asked(inner) == (1 if keepable(response) else 2)
    assert again.rate_limits == (() if keepable(response) else response.rate_limits)


def test_streaming_is_not_different() -> None:
    """What a stream kept serves who does not stream, in a loop of tools too, and the sum counts it once."""
    calls = Response((assistant(ToolCall("c1", "add", {"a": 1, "b": 2})),), "tool_calls", usage=Usage(5, 5))

    def add(a: int, b: int) -> int:
        return a + b

    inner = toy(lambda number: REPLY if number % 2 else calls)
    model = cached(inner, MemoryCache())
    *_, end = stream(model, "1 + 2?", tools=[add])
    assert isinstance(end, Finished)
    whole = run_tools(model, "1 + 2?", [add])
    assert (end.response.usage, whole.usage, asked(inner)) == (Usage(15, 9), Usage(), 2)
    assert attrs.evolve(whole, usage=end.response.usage, cost=end.response.cost) == end.response


def test_fresh_asks_anew_and_keeps_what_is_answered_now() -> None:
    inner = toy(lambda number: attrs.evolve(REPLY, id=str(number)))
    model = cached(inner, MemoryCache())
    fresh = evolve(model, fresh=True)
    ids = [complete(each, "Who?").id for each in (model, fresh, model, evolve(fresh, fresh=False), fresh, model)]
    assert ids == ["0", "1", "1", "1", "2", "2"]


@everywhere
def test_fresh_is_fresh_however_many_caches_there_are(world: World) -> None:
    """All of them keep what is answered now; and none of what shares no cache is made anew."""
    inner = toy(lambda number: attrs.evolve(REPLY, id=str(number)))
    far, near = MemoryCache(), MemoryCache()
    stacks: list[Callable[[], Cached]] = [
        lambda: cached(cached(inner, far), near),
        lambda: cached(fallback(limited(cached(inner, far), quota), toy(name="b")), near),
        lambda: cached(priced(balanced(cached(inner, far)), Prices({})), near),
        lambda: cached(cached(cached(inner, far), MemoryCache()), near),
    ]
    quota = Quota(concurrent=1)
    for make in stacks:
        model = make()
        world.run(asking(model, stream=world.listening))
        before = asked(inner)
        anew = world.run(asking(evolve(model, fresh=True), stream=world.listening))
        assert (anew.id, asked(inner)) == (str(before), before + 1)
        near.clear()
        assert world.run(asking(model, stream=world.listening)).id == anew.id
        assert asked(inner) == before + 1
        assert (quota.running, quota.waiting) == (0, 0)


# -- what is the same --


@given(strategies.asks(), strategies.asks())
def test_keys_are_equal_as_questions_are(one: Ask, other: Ask) -> None:
    model = cached(toy(), MemoryCache())
    assert model.key_of(one) == model.key_of(pickle.loads(pickle.dumps(one)))
    assert one == other or model.key_of(one) != model.key_of(other)


def test_the_order_of_names_in_json_says_nothing() -> None:
    model = cached(toy(), MemoryCache())
    one, other = ({"type": "object", "properties": {}}, {"properties": {}, "type": "object"})
    keys = {model.key_of(Ask(ASK.messages, output=OutputSpec("out", schema))) for schema in (one, other)}
    assert len(keys) == 1


ENDPOINT = openai_compatible("m", base_url="http://localhost/v1", api_key="sk-1", headers={"x-api-key": "sk-1"})


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key": "sk-2"},
        {"headers": {"x-api-key": "sk-2"}},
        {"retry": None, "timeout": 1.0, "deadline": 2.0, "max_body": 7, "connect_timeout": 1.0},
    ],
)
def test_what_changes_no_answer_changes_no_key(changes: dict[str, Any]) -> None:
    model = cached(ENDPOINT, MemoryCache())
    assert evolve(model, **changes).key_of(ASK) == model.key_of(ASK)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "n"},
        {"base_url": "http://localhost/v2"},
        {"provider": "other"},
        {"temperature": 0},
        {"extra": {"user": "ann"}},
        {"headers": {"x-version": "2"}},
        {"dialect": evolve(ENDPOINT.dialect, parse=keepable)},
        {"dialect": evolve(ENDPOINT.dialect, parse=partial(ENDPOINT.dialect.parse, ENDPOINT))},
        {"dialect": evolve(ENDPOINT.dialect, parse=ENDPOINT.request)},
        {"stop": ("end",)},
    ],
)
def test_what_changes_an_answer_changes_the_key(changes: dict[str, Any]) -> None:
    model = cached(ENDPOINT, MemoryCache())
    assert evolve(model, **changes).key_of(ASK) != model.key_of(ASK)
    assert "sk-1" not in repr(model) + str(identity(ENDPOINT))


def test_wrappers_of_ours_change_no_answer() -> None:
    one, other = toy(name="one"), toy(name="other")
    assert identity(limited(one, concurrent=3)) == identity(one) != identity(other)
    assert identity(balanced(one, other)) == [identity(one), identity(other)]


PRICES = Prices({"m": {"input": 1, "output": 1}})
WRAPS: list[Callable[[Any], Any]] = [
    lambda model: model,
    lambda model: limited(model, concurrent=2),
    lambda model: budgeted(model, Budget(money=1), prices=PRICES),
    lambda model: breaker(model),
    lambda model: deadline(model, 5),
    lambda model: cached(model, MemoryCache()),
    lambda model: evolve(model, retry=Retry(stop_after_attempt(2)), timeout=3.0),
    lambda model: Wrapper(model),
]


@frozen(eq=False, repr=False)
class Wrapper(Around):
    """Somebody's own."""

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The answer of the model."""
        return self.model.ask(ask, stream=stream)  # type: ignore[no-any-return]


@pytest.mark.parametrize("wrap", WRAPS)
def test_wrappers_stack_in_any_order_and_change_no_key(wrap: Callable[[Any], Any]) -> None:
    """What an endpoint has that changes no answer changes none further inside either."""
    one, other = wrap(ENDPOINT), wrap(evolve(ENDPOINT, timeout=7.0, api_key="sk-2"))
    assert identity(priced(one, PRICES)) == identity(one) == identity(other)
    assert identity(priced(balanced(one, other), PRICES)) == [identity(one)] * 2
    assert cached(priced(one, PRICES), MemoryCache()).key_of(ASK) == cached(other, MemoryCache()).key_of(ASK)


@pytest.mark.parametrize("secret", [b"x", frozenset({1, 2}), Decimal(2), {"a": [1.5, None]}, len, "".join, Toy])
def test_values_of_many_kinds_tell_a_model(secret: Any) -> None:
    @frozen
    class Held:
        value: Any

    Held.__qualname__ = "Held"
    assert identity(Held(secret)) == identity(Held(secret)) != identity(Held(None))


def test_what_cannot_be_told_apart_is_refused() -> None:
    class Plain:
        name = provider = "plain"
        capabilities = UNKNOWN

        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            yield from ()
            return REPLY

    with pytest.raises(Misuse, match="key="):
        cached(Plain(), MemoryCache())
    with pytest.raises(Misuse, match="<lambda>"):
        cached(evolve(ENDPOINT, dialect=evolve(ENDPOINT.dialect, parse=lambda *_: REPLY)), MemoryCache())
    with pytest.raises(Misuse, match="nothing tells one object"):
        cached(toy(temperature=object()), MemoryCache())
    model = cached(Plain(), MemoryCache(), key=lambda model, ask: [model.name, ask.messages[0].text.lower()])
    assert [complete(model, words).cost for words in ("Hello", "HELLO")] == [Decimal("0.5"), 0]
    with pytest.raises(Misuse, match="JSON"):
        complete(cached(Plain(), MemoryCache(), key=lambda *_: object()), "Hello")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ((len, MemoryCache()), "wraps a model or an embedder, not len"),
        ((toy(), {}), "get and put"),
    ],
)
def test_what_cannot_be_cached_is_refused(given: Any, match: str) -> None:
    with pytest.raises(Misuse, match=match):
        cached(*given)
    with pytest.raises(Misuse, match="key="):
        cached(toy(), MemoryCache(), key=3)  # type: ignore[call-overload]
    wrong: Any
    for wrong in (float("nan"), -1, "x"):
        with pytest.raises(Misuse, match="patience="):
            cached(toy(), MemoryCache(), patience=wrong)


def test_one_cache_is_not_asked_twice_for_one_answer() -> None:
    """Who asks inside would wait for who asks outside."""
    cache = MemoryCache()
    with pytest.raises(Misuse, match="wrap it once"):
        cached(limited(cached(toy(), cache), concurrent=1), cache)
    assert complete(cached(cached(toy(), cache), MemoryCache()), "Hi") == REPLY


def by_name(model: Any, ask: Ask) -> str:
    return ask.messages[-1].text


@pytest.mark.parametrize(
    "around",
    [
        lambda model: model,
        lambda model: fallback(model, toy(name="b")),
        lambda model: priced(model, Prices({})),
        lambda model: balanced(toy(name="b"), priced(limited(model, concurrent=1))),
    ],
)
def test_a_key_that_says_the_same_inside_and_outside_is_refused(around: Callable[[Any], Any]) -> None:
    """Else who asks inside follows who asks outside; what has other keys in one cache is well."""
    cache = MemoryCache()
    with pytest.raises(Misuse, match="wrap it once"):
        cached(around(cached(toy(), cache, key=by_name)), cache, key=by_name)
    if not hasattr(around(toy()), "models"):
        with pytest.raises(Misuse, match="wrap it once"):
            cached(around(cached(toy(), cache)), cache)
        return
    model = cached(around(cached(toy(), cache)), cache)
    assert complete(model, "Hi").text == complete(model, "Hi").text == REPLY.text


@given(strategies.responses(), st.data())
def test_whatever_a_cache_holds_is_an_answer_or_none(response: Response, data: st.DataObject) -> None:
    """No text makes a model fail, and no answer is made up of what cannot be read."""
    text = to_json(response)
    place = data.draw(st.integers(0, len(text)))
    held = text[:place] + data.draw(st.sampled_from(["", '"', "}", ",", "9e999", "null", "\\ud800"])) + text[place:]
    inner, cache = toy(), Failing(frozenset())
    model = cached(inner, cache)
    cache.kept[model.key_of(ASK)] = held
    assert isinstance(drive(model.ask(ASK, stream=True)), Response)


def test_it_is_a_value() -> None:
    cache, inner = MemoryCache(), toy()
    one, other = cached(inner, cache), cached(inner, cache)
    assert one == other
    assert hash(one) == hash(other)
    assert one != cached(inner, MemoryCache())
    assert one.flights is other.flights is evolve(one, temperature=1).flights
    assert evolve(one, temperature=1).model.temperature == 1
    assert repr(one) == "Cached(Toy(), cache=MemoryCache(max_entries=1000, ttl=None, max_bytes=67108864))"
    assert (one.name, one.provider) == ("toy", "box")
    gone = pickle.loads(pickle.dumps(cached(ENDPOINT, cache)))
    assert isinstance(gone, Cached)
    assert gone.key_of(ASK) == cached(ENDPOINT, cache).key_of(ASK)


def test_with_another_cache_nobody_of_the_first_is_followed() -> None:
    """Tenants with a cache each do not share what is being asked, no more than what was."""

    class Own:
        """A cache that has no flights."""

        def get(self, key: str, now: float) -> None: ...

        def put(self, key: str, text: str, now: float) -> None: ...

    for made in (MemoryCache, Own):
        ann = cached(toy(), made())
        bob = evolve(ann, cache=made())
        assert ann.flights is not bob.flights
        assert not ann.flights.board(Seat(ann.key_of(ASK)))
        assert not bob.flights.board(Seat(bob.key_of(ASK)))


# -- what is not kept --

BROKEN = ToolCall("c1", "add", broken="{")


@pytest.mark.parametrize(
    "response",
    [
        *[
            Response((assistant("It is"),), reason)
            for reason in ("length", "content_filter", "refusal", "error", "other")
        ],
        Response((assistant(),)),
        Response(()),
        Response((assistant(BROKEN),), "tool_calls"),
        Response((assistant(Opaque("refusal", "I will not.")),)),
        Response((assistant("a"),), candidates=(Candidate(assistant("a")), Candidate(assistant("b"), "length"))),
        Response((assistant("3"),), output=object()),
        Response((assistant("3"),), output=(1, 2)),
    ],
)
def test_what_is_not_whole_is_not_kept(response: Response) -> None:
    inner = toy(lambda _: response)
    model = cached(inner, MemoryCache())
    assert [drive(model.ask(ASK, stream=False)) for _ in range(2)] == [response] * 2
    assert asked(inner) == 2
    assert len(model.cache) == 0


@everywhere
def test_what_failed_is_not_kept(world: World) -> None:
    inner = toy(lambda number: REPLY if number else ServerFailed("down"))
    model = cached(inner, MemoryCache())
    with pytest.raises(ServerFailed):
        world.run(asking(model))
    assert world.run(asking(model)) == REPLY
    assert world.run(asking(model)) == free(REPLY)


def test_limits_of_then_are_not_limits_of_now() -> None:
    model = cached(toy(lambda _: attrs.evolve(REPLY, rate_limits=(RateLimit("requests", 3),))), MemoryCache())
    assert [len(complete(model, "Hi").rate_limits) for _ in range(2)] == [1, 0]


# -- caches that fail --


@frozen(eq=False)
class Failing:
    """A cache that raises when it is read, written, or both."""

    fails: frozenset[str]
    error: Exception = field(factory=lambda: OSError("no route"))
    kept: dict[str, Any] = field(factory=dict)

    def get(self, key: str, _now: float, /) -> Any:
        if "get" in self.fails:
            raise self.error
        return self.kept.get(key)

    async def put(self, key: str, text: str, _now: float, /) -> None:
        if "put" in self.fails:
            raise self.error
        self.kept[key] = text


@listening
@pytest.mark.parametrize("fails", [{"get"}, {"put"}, {"get", "put"}], ids=["get", "put", "both"])
def test_a_cache_that_is_away_is_told_of_and_the_call_goes_on(world: World, fails: set[str]) -> None:
    inner = toy()
    model = cached(inner, Failing(frozenset(fails)))
    for _ in range(2):
        told = [event for event in world.events(asking(model, stream=True)) if isinstance(event, Notice)]
        words = {"get": "read", "put": "written"}
        assert [(each.kind, each.text) for each in told] == [
            ("cache_failed", f"the cache cannot be {words[each]}: OSError: no route") for each in sorted(fails)
        ]
    assert asked(inner) == 2


@pytest.mark.parametrize("fails", ["get", "put"])
def test_what_ends_a_run_is_not_taken_for_a_cache_that_is_away(fails: str) -> None:
    model = cached(toy(), Failing(frozenset({fails}), Diverged("other")))
    with pytest.raises(Diverged):
        complete(model, "Hello")


@pytest.mark.parametrize(
    "rubbish", ["", "{", "[" * 100_000, "[]", '{"v":9,"type":"Response"}', b"\xff", 7, '{"v":1,"type":"Text"}']
)
def test_what_cannot_be_read_is_a_miss_and_is_replaced(rubbish: Any) -> None:
    inner, cache = toy(), Failing(frozenset())
    model = cached(inner, cache)
    cache.kept[model.key_of(ASK)] = rubbish
    assert [drive(model.ask(ASK, stream=False)) for _ in range(2)] == [REPLY, free(REPLY)]
    assert asked(inner) == 1


@everywhere
def test_its_time_is_that_of_the_run(world: World) -> None:
    inner = toy()
    model = cached(inner, MemoryCache(ttl=60))
    with clock() as time:
        costs = []
        for seconds in (0, 59, 2, 59):
            time.advance(seconds)
            costs.append(world.run(asking(model)).cost)
    assert costs == [Decimal("0.5"), 0, Decimal("0.5"), 0]


def test_a_recording_replays_hits_and_misses(tmp_path: Path) -> None:
    def program() -> list[Any]:
        model = cached(toy(), MemoryCache())
        return [complete(model, "Hello").cost for _ in range(2)]

    with recorded(tmp_path / "run"):
        first = program()
    with replayed(tmp_path / "run"):
        assert program() == first == [Decimal("0.5"), 0]


# -- the same at the same time --


@everywhere
def test_equal_questions_side_by_side_make_one_call(world: World) -> None:
    inner = toy(pause=0.03)
    model = cached(inner, MemoryCache())

    def several() -> Plan[list[Response]]:
        plans = [model.ask(ASK, stream=bool(number % 2)) for number in range(5)]
        return [outcome.unwrap() for outcome in (yield from side_by_side(plans))]

    answers = world.run(several)
    assert sorted(answers.count(each) for each in (REPLY, free(REPLY))) == [1, 4]
    assert asked(inner) == 1


def test_threads_and_event_loops_share_one_call() -> None:
    """What cannot be kept is shared too: it is the answer of now."""
    cut = attrs.evolve(REPLY, finish_reason="length")
    go = threading.Event()
    inner = toy(lambda _: cut, before=lambda: go.wait(10))
    model, answers = cached(inner, MemoryCache()), []

    def leave() -> None:
        answers.append(drive(model.ask(ASK, stream=False)))

    async def several() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)
            while sum(flight.followers for flight in model.flights._flying.values()) < 6:  # noqa: ASYNC110  # of threads too
                await anyio.sleep(0.001)
            go.set()

    async def one() -> None:
        answers.append(await aio.complete(model, "Who is there?"))

    threads = [threading.Thread(target=leave) for _ in range(3)]
    threads.append(threading.Thread(target=anyio.run, args=(one,)))
    for thread in threads:
        thread.start()
    while not inner.counter.asked:
        threading.Event().wait(0.001)
    anyio.run(several, backend="trio")
    for thread in threads:
        thread.join()
    assert sorted(answers.count(each) for each in (cut, free(cut))) == [1, 6]
    assert asked(inner) == 1
    assert repr(model.flights) == "Flights(0 under way)"


@everywhere
def test_a_leader_that_fails_hands_over_and_nobody_waits_in_line_for_who_is_down(world: World) -> None:
    inner = toy(lambda _: ServerFailed("down"), pause=0.02)
    model = cached(inner, MemoryCache())

    def several() -> Plan[list[Any]]:
        outcomes = yield from side_by_side([model.ask(ASK, stream=False) for _ in range(6)])
        return [type(outcome.error) for outcome in outcomes]

    assert world.run(several) == [ServerFailed] * 6
    assert asked(inner) == 6
    assert repr(model.flights) == "Flights(0 under way)"


async def test_a_leader_that_is_cancelled_hands_over(anyio_backend: str) -> None:
    first = anyio.Event()

    async def before() -> None:
        if asked(inner) == 1:
            first.set()
            await anyio.sleep_forever()

    inner = toy(before=before)
    model = cached(inner, MemoryCache())
    async with anyio.create_task_group() as group:
        leaders = anyio.CancelScope()

        async def lead() -> None:
            with leaders:
                await aio.complete(model, "Hello")

        async def follow() -> None:
            assert await aio.complete(model, "Hello") == REPLY

        group.start_soon(lead)
        await first.wait()
        group.start_soon(follow)
        await anyio.sleep(0.01)
        leaders.cancel()
    assert asked(inner) == 2


def test_a_listener_that_asks_the_same_while_it_listens_is_not_waited_for() -> None:
    """The leader stands still as long as its listener does something else."""
    inner = toy()
    model = cached(inner, MemoryCache())
    with clock():
        for event in stream(model, "Hello"):
            if isinstance(event, TextDelta):
                assert complete(model, "Hello") == REPLY
    assert asked(inner) == 2


def test_a_leader_that_takes_too_long_is_not_waited_for() -> None:
    inner = toy()
    model = cached(inner, MemoryCache(), patience=0.0)
    leader = Seat(model.key_of(ASK))
    assert not model.flights.board(leader)
    assert drive(model.ask(ASK, stream=False)) == REPLY
    model.flights.land(leader, "too late")
    assert repr(model.flights) == "Flights(0 under way)"


def test_who_is_cancelled_before_it_is_heard_leads_nobody() -> None:
    flights, seat = Flights(), Seat("k")
    flights.land(seat)
    assert not flights.board(seat)
    assert repr(flights) == "Flights(0 under way)"
    assert repr(pickle.loads(pickle.dumps(flights))) == "Flights(0 under way)"


def test_what_is_kept_just_before_one_leads_is_found() -> None:
    """Between a first look and the lead, another may have been answered."""

    class Late(MemoryCache):
        def get(self, key: str, now: float, /) -> str | None:
            found = super().get(key, now)
            if found is None:
                self.put(key, kept[0], now)
            return found

    source = MemoryCache()
    complete(cached(toy(), source), "Hello")
    kept = [text for text, _ in source._kept.values()]
    inner = toy()
    assert complete(cached(inner, Late()), "Hello") == free(REPLY)
    assert asked(inner) == 0


def test_settings_of_one_question_count() -> None:
    model = cached(toy(), MemoryCache())
    keys = {model.key_of(Ask(ASK.messages, settings=Settings(temperature=each))) for each in (None, 0.5, 1.0)}
    assert len(keys) == 3
