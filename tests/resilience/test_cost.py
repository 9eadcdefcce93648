"""What a reply cost: exact, additive, and unknown rather than wrong."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import Response, ToolCall, Usage, assistant, complete, evolve, openai_compatible, run_tools
from arshai_kit._record import Record
from arshai_kit.codec import from_json, to_json
from arshai_kit.cost import Price, Prices, Spend, cost, dollars, leaves, priced, published
from arshai_kit.errors import Misuse, StreamIncomplete
from arshai_kit.models import is_model
from tests.core.worlds import World, everywhere
from tests.resilience.fixed import Fixed

MONEY = st.decimals(0, 10**6, allow_nan=False, places=12)
FULL = st.builds(Price, *[MONEY] * 10)
COUNT = st.integers(0, 10**9)


@st.composite
def used(draw: st.DrawFn) -> Usage:
    """Usage whose parts fit into the whole."""
    cached, write, audio, image, plain = [draw(COUNT) for _ in range(5)]
    reasoning, spoken, drawn, said = [draw(COUNT) for _ in range(4)]
    kinds = {"cache_write": write, "audio_input": audio, "image_input": image}
    kinds |= {"audio_output": spoken, "image_output": drawn}
    whole = cached + write + audio + image + plain, reasoning + spoken + drawn + said
    return Usage(*whole, cached, reasoning, kinds={kind: count for kind, count in kinds.items() if count})


@given(FULL, used(), used(), st.integers(0, 5), st.integers(0, 5))
def test_cost_is_additive_and_exact(price: Price, one: Usage, two: Usage, first: int, second: int) -> None:
    parts, whole = (price.of(one, first), price.of(two, second)), price.of(one + two, first + second)
    assert None not in (*parts, whole)
    assert Spend(0, parts[0]) + Spend(0, parts[1]) == Spend(0, whole)
    assert price.of(Usage(), 0) == 0


@given(FULL, used(), st.sampled_from(["input", "output", "cached_input", "cache_write", "audio_input", "image_output"]))
def test_a_kind_without_a_price_makes_the_cost_unknown(price: Price, usage: Usage, kind: str) -> None:
    full, without = price.of(usage), evolve(price, **{kind: None}).of(usage)
    assert without in (None, full)
    changed = evolve(price, **{kind: (getattr(price, kind) or 0) + 1}).of(usage)
    assert (without is None) == (changed != full)  # unknown exactly where that price would have counted


@given(FULL, used(), used())
def test_unknown_stays_unknown(price: Price, known: Usage, other: Usage) -> None:
    assert price.of(known + Usage.unknown()) is None
    assert price.of(known + evolve(other, missing={"output_tokens"})) is None
    assert (Spend(1, None) + Spend(2, Decimal(1))).money is None


def test_reasoning_is_output_and_cached_is_input() -> None:
    usage = Usage(1_000_000, 1_000_000, 400_000, 250_000)
    assert Price(input=2, output=8, cached_input=1).of(usage) == Decimal("1.2") + Decimal("0.4") + 8
    assert Price(input=2, output=8, cached_input=1, reasoning=4).of(usage) == Decimal("1.6") + 6 + 1
    dearer = Price(input=2, output=8, cached_input=1, reasoning=9)
    assert dearer.of(evolve(usage, missing={"reasoning_tokens"})) is None  # how much was thought makes a difference
    assert Price(input=2, output=8, cached_input=1).of(evolve(usage, cached_tokens=2_000_000)) is None  # cannot be


def test_prices_are_found_by_name() -> None:
    million = Usage(1_000_000, 0)
    table = Prices({"a": {"input": 1}, "b:a": {"input": 2}, "a-*": {"input": 3}, "a-mini*": {"input": "4"}})
    found = [("a", ""), ("a", "b"), ("a-2026", ""), ("a-mini-2026", "b"), ("c", "")]
    assert [table(million, *each) for each in found] == [1, 2, 3, 4, None]
    assert Prices({"c": Price(input=5)}, otherwise=table)(million, "a", "b") == 2
    assert cost(million, "b:a", table) == 2
    assert cost(million, prices=table) is None


def test_of_several_models_the_one_that_answered_is_paid() -> None:
    @frozen(eq=False, repr=False)
    class Either(Record):
        models: tuple[Any, ...]
        name: str = "small"
        provider: str = "x"

        def ask(self) -> None: ...

    two = Either((Fixed((), "small", "x"), priced(Fixed((), "small-pro", "x"))))
    table = Prices({"small": {"output": 1}, "small-pro": {"output": 10}})
    reply = Response((assistant("Hello"),), usage=Usage(0, 1_000_000))
    assert [each.name for each in leaves(two)] == ["small", "small-pro"]
    assert cost(evolve(reply, model="small-pro-2026-01"), two, table) == 10
    assert cost(evolve(reply, model="small-2026-01"), two, table) == 1
    assert cost(evolve(reply, model="else"), two, table) is None
    assert cost(reply, two, table) is None
    assert cost(reply, two.models[0], table) == 1
    assert cost(evolve(reply, model="the-deployment's-model"), two.models[0], table) == 1


def test_what_the_provider_said_goes_before_any_table() -> None:
    reply = Response((assistant("Hello"),), usage=Usage(1, 1), cost=Decimal("0.5"), model="a")
    assert cost(reply, "a", Prices({"a": Price(input=1, output=1)})) == Decimal("0.5")


@everywhere
def test_each_answer_of_a_run_is_priced(world: World) -> None:
    call = Response((assistant(ToolCall("c1", "now", {})),), "tool_calls", usage=Usage(10, 5))
    model = priced(Fixed((call, Response((assistant("Noon."),), usage=Usage(20, 5)))), Prices({"fixed": PRICE}))
    reply = world.run(lambda: run_tools.plan(model, "What time is it?", [now]))
    assert reply.cost == Decimal("0.002") + Decimal("50e-6")  # the request is paid twice
    bare = priced(model.model, Prices({}))
    assert world.run(lambda: run_tools.plan(bare, "What time is it?", [now])).cost is None
    whole = cost(run_tools(bare, "What time is it?", [now]), bare, model.prices)
    assert whole == reply.cost  # the requests of a run are counted


PRICE = {"input": 1, "output": 2, "request": "0.001"}


def now() -> str:
    """Tell the time."""
    return "12:00"


@everywhere
def test_what_broke_off_says_what_it_cost(world: World) -> None:
    partial = Response((assistant("Hel"),), "error", usage=Usage(10, 5))
    model = priced(Fixed((StreamIncomplete("cut", partial=partial),)), Prices({"fixed": PRICE}))
    with pytest.raises(StreamIncomplete) as cut:
        world.run(lambda: complete.plan(model, "Hello"))
    assert cut.value.partial.cost == Decimal("0.00102")
    with pytest.raises(StreamIncomplete):
        complete(priced(Fixed((StreamIncomplete("cut"),)), Prices({})), "Hello")


def test_a_priced_model_is_a_value_and_a_model() -> None:
    model = openai_compatible("m", base_url="http://localhost:1/v1", api_key="sk-secret-123")
    one, two = (priced(model, Prices({"m": PRICE})) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert is_model(one)
    assert (one.name, one.provider, one.capabilities) == (model.name, model.provider, model.capabilities)
    assert evolve(one, temperature=0).model.temperature == 0
    assert "sk-secret" not in repr(one)


@pytest.mark.parametrize("money", [-1, "much", float("nan"), "Infinity", True])
def test_what_is_no_money_is_refused(money: Any) -> None:
    with pytest.raises(Misuse, match="US dollars"):
        dollars(money)


def test_what_cannot_be_priced_is_refused() -> None:
    with pytest.raises(Misuse, match="a mapping with some of input"):
        Prices({"a": {"inputs": 1}})
    with pytest.raises(Misuse, match="a Price"):
        Prices({"a": 3})
    with pytest.raises(Misuse, match="prices= takes"):
        priced(Fixed(()), 3)  # type: ignore[arg-type]  # what a user may try
    with pytest.raises(Misuse, match="wraps a model"):
        priced(len)
    with pytest.raises(Misuse, match="kinds="):
        Usage(kinds={"audio_input": "many"})


@given(used(), used())
def test_kinds_of_tokens_add_up_and_survive_json(one: Usage, two: Usage) -> None:
    both = one + two
    assert both == two + one
    assert all(both.kinds.get(kind, 0) == one.kinds.get(kind, 0) + two.kinds.get(kind, 0) for kind in both.kinds)
    reply = Response((assistant("Hello"),), usage=both)
    assert from_json(to_json(reply)) == reply


# -- the published table --


@pytest.mark.needs("genai-prices")
def test_published_prices() -> None:
    usage = Usage(1_000_000, 100_000, 400_000, 50_000)
    table, at = published(), 1_760_000_000.0
    told = table(usage, "gpt-4.1", "openai", at=at)
    assert told == Decimal("1.2") + Decimal("0.2") + Decimal("0.8")
    assert cost(usage, "openai:gpt-4.1", at=at) == told
    assert cost(usage, "gpt-4.1", at=at) == told
    assert table(usage, "gpt-4.1", "azure", at=at) is not None
    assert table(Usage(10, 10), "gemini-2.5-flash", "gemini", at=at) == table(
        Usage(10, 10), "gemini-2.5-flash", "vertex", at=at
    )
    assert table(usage, "no-such-model", "openai") is None
    assert table(usage, "gpt-4.1", "openai-compatible") is None  # a server of one's own, whatever it calls its models
    assert table(Usage.unknown(), "gpt-4.1", "openai") is None
    assert table(evolve(usage, cached_tokens=2_000_000), "gpt-4.1", "openai") is None
    assert repr(table) == "Published()"


@pytest.mark.needs("genai-prices")
def test_published_sound_is_dearer_and_tiers_are_of_one_request() -> None:
    table, at = published(), 1_760_000_000.0
    heard = Usage(1000, 0, kinds={"audio_input": 1000})
    text, sound = (
        table(Usage(1000, 0), "gemini-2.5-flash", "gemini", at=at),
        table(heard, "gemini-2.5-flash", "gemini", at=at),
    )
    assert text is not None
    assert sound is not None
    assert sound > text
    for kind in ("audio_input", "audio_output"):  # the table has only the price of its text
        spoken = Usage(1000, 1000, kinds={kind: 500})
        assert table(spoken, "gpt-4o-audio-preview", "openai", at=at) is None
        assert table(spoken, "gpt-audio", "openai", at=at) is not None
    assert table(Usage(1000, 1000), "gpt-4o-audio-preview", "openai", at=at) == Decimal("0.0125")
    long = Usage(300_000, 0)
    assert table(long, "gemini-2.5-pro", "gemini", at=at) is not None
    assert table(long, "gemini-2.5-pro", "gemini", requests=2, at=at) is None


@pytest.mark.needs("genai-prices")
def test_prices_of_yours_go_before_the_published_ones() -> None:
    table = Prices({"gpt-4.1": {"input": 1, "output": 1}}, otherwise=published())
    assert table(Usage(10, 10), "gpt-4.1", "openai") == Decimal("20e-6")
    assert table(Usage(10, 10), "gpt-4.1-mini", "openai") is not None


def test_without_the_extra_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(ImportError, match=r"arshai-kit\[prices\]"):
        published()
    assert cost(Usage(1, 1), "gpt-4.1") is None
    assert priced(Fixed(())).prices == Prices({})
