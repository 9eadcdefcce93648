"""What a part has used that failed is counted, or is said to be unknown: no bound is passed unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from arshai_kit import Response, ToolCall, Usage, agent, assistant, evolve, pipe
from arshai_kit.agents import as_tool, guard, parallel
from arshai_kit.errors import Exhausted, GuardTripped, ServerFailed
from arshai_kit.resilience import fallback
from arshai_kit.testing import played_by
from arshai_kit.tools import tool
from tests.agents.toys import ended
from tests.core.worlds import World, everywhere


def ten(words: str) -> Response:
    return Response((assistant(words),), usage=Usage(10, 10), cost=Decimal(1))


def down(_: Any) -> str:
    raise ServerFailed("down", status=503)


async def strange(_: Any) -> str:
    raise ZeroDivisionError("of its own")


PAID: Any = agent(played_by(lambda ask: ten("Paid.")), name="paid")


def used(partial: Any) -> tuple[int, bool, Decimal | None]:
    return partial.usage.total_tokens, partial.usage.reported, partial.cost


def boss_of(worker: Any, **limits: Any) -> Any:
    def plays(ask: Any) -> Any:
        if ask.messages[-1].role == "tool":
            return evolve(ten(f"Well: {ask.messages[-1].parts[0].content}"), usage=Usage(1, 0), cost=Decimal(0))
        return evolve(
            Response((assistant(ToolCall("c", "worker", {"prompt": "Do it."})),), "tool_calls"),
            usage=Usage(1, 0),
            cost=Decimal(0),
        )

    return agent(played_by(plays), tools=[worker], **limits)


# -- tools --


@everywhere
def test_nobody_knows_what_an_agent_has_used_that_failed_in_its_own_way(world: World) -> None:
    worker = as_tool(pipe(PAID, strange), name="worker")
    response = ended(world, boss_of(worker))
    assert response.text == "Well: ZeroDivisionError: of its own"
    assert (response.tool_runs[0].usage.reported, used(response)) == (False, (2, False, None))
    kind, why, partial = ended(world, boss_of(worker, max_cost=5))
    assert (kind, partial.tool_runs) == (Exhausted, response.tool_runs)
    assert "nobody knows what a reply cost" in why


def test_nobody_knows_what_an_agent_has_used_that_took_too_long() -> None:
    def slow(_: str) -> str:
        raise TimeoutError("it took too long")

    response = boss_of(tool(as_tool(pipe(PAID, slow), name="worker"), timeout=900))("?")
    assert (response.tool_runs[0].usage.reported, used(response)) == (False, (2, False, None))


@everywhere
def test_what_never_began_has_used_nothing(world: World) -> None:
    def plays(ask: Any) -> Any:
        called = ask.messages[-1].role == "tool"
        return ten("Well.") if called else evolve(ten(""), messages=(assistant(ToolCall("c", "worker", {"x": 1})),))

    unasked = agent(played_by(plays), tools=[as_tool(PAID, name="worker")])
    assert used(ended(world, unasked)) == (40, True, Decimal(2))
    assert used(ended(world, boss_of(as_tool(pipe(PAID, down), name="worker")))) == (22, True, Decimal(1))

    def worker(prompt: str) -> str:
        """No agent: a function that breaks."""
        raise ZeroDivisionError(prompt)

    assert used(ended(world, boss_of(worker))) == (2, True, Decimal(0))


# -- fallback --


@everywhere
def test_a_fallback_counts_whoever_failed_however_it_did(world: World) -> None:
    unknown = ended(world, fallback(pipe(PAID, strange), PAID, on=ZeroDivisionError))
    assert (unknown.text, used(unknown)) == ("Paid.", (20, False, None))
    paying, whole = pipe(PAID, down), Usage(10, 10)
    for made, tokens in [
        (fallback(paying, paying), 40),
        (fallback(paying, down), 20),
        (fallback(down, paying), 20),
        (fallback(down, down), 0),
        (pipe(PAID, fallback(paying, down)), 40),
        (fallback(fallback(paying, paying), paying), 60),
    ]:
        kind, _, partial = ended(world, made)
        assert kind is ServerFailed
        assert (used(partial) if partial else None) == ((tokens, True, Decimal(tokens) / 20) if tokens else None)
    assert ended(world, fallback(down, paying))[2].usage == whole


@everywhere
def test_what_a_person_answers_at_last_carries_what_came_before(world: World) -> None:
    answered = world.run(lambda: fallback(pipe(PAID, down), lambda _: "I shall call you.").plan("?"))
    assert (answered.text, answered.usage.total_tokens, answered.cost) == ("I shall call you.", 20, None)
    assert world.run(lambda: fallback(down, lambda _: "I shall call you.").plan("?")) == "I shall call you."
    odd = fallback(strange, lambda _: {"a": 1}, on=ZeroDivisionError)
    assert world.run(lambda: odd.plan("?")) == {"a": 1}, "as long as nothing is known, nothing is lost"


# -- side by side, and guards --


@everywhere
def test_what_failed_in_its_own_way_beside_others_is_unknown(world: World) -> None:
    kind, _, partial = ended(world, parallel(pipe(PAID, down), pipe(PAID, strange)))
    assert (kind, used(partial)) == (ServerFailed, (20, False, None))
    assert ended(world, parallel(down, strange))[2] is None


@everywhere
@pytest.mark.parametrize("how", [down, pipe(PAID, down)], ids=["plainly", "having paid"])
def test_a_check_that_fails_loses_no_answer(how: Callable[[Any], Any], world: World) -> None:
    kind, _, partial = ended(world, guard(PAID, after=how))
    assert (kind, partial.text) == (ServerFailed, "Paid.")
    assert [message.text for message in partial.messages] == ["Paid."], "what a check says is no part of it"
    assert used(partial) == ((20, True, Decimal(1)) if how is down else (40, True, Decimal(2)))
    kind, _, partial = ended(world, guard(PAID, after=lambda _: "no"))
    assert (kind, partial.text, used(partial)) == (GuardTripped, "Paid.", (20, True, Decimal(1)))
