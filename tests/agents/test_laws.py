"""What holds for all agents: whoever made them, however they are composed, in whichever world they run."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit import Finished, Response, Usage
from arshai_kit.agents import parallel, pipe, route
from arshai_kit.agents.combining import Parallel
from arshai_kit.completion import as_response
from arshai_kit.errors import NoRoute, ServerFailed
from arshai_kit.resilience import fallback
from tests.agents.toys import PROMPT, Log, ended, events_of, failing, foreign, heard, odd, ours, supervised, trees
from tests.core.worlds import WORLDS, World, watched

FEW = settings(settings.get_profile("few"))
LISTENING = [world for world in WORLDS if world.listening]

worlds = st.sampled_from(WORLDS)
listening = st.sampled_from(LISTENING)
agents = foreign | ours() | failing
whole = foreign | ours()


def told(world: World, function: Any) -> list[str]:
    """What is told, whoever was first where several speak."""
    return sorted(map(repr, events_of(world, function)))


# -- pipe --


@FEW
@given(trees(agents, odd), worlds)
def test_pipe_has_an_identity(agent: Any, world: World) -> None:
    assert pipe(pipe(), agent) == pipe(agent, pipe()) == pipe(agent)
    assert ended(world, pipe(agent)) == ended(world, agent)


@FEW
@given(trees(whole), listening)
def test_the_identity_of_pipe_is_not_heard(agent: Any, world: World) -> None:
    assert told(world, pipe(pipe(), agent)) == told(world, agent)


@FEW
@given(agents, agents, agents, worlds)
def test_pipe_is_associative(one: Any, two: Any, three: Any, world: World) -> None:
    left, right = pipe(pipe(one, two), three), pipe(one, pipe(two, three))
    assert left == right == pipe(one, two, three)
    assert ended(world, left) == ended(world, right)


@FEW
@given(whole, whole, whole, listening)
def test_whoever_speaks_in_a_pipe_is_told_so_however_it_is_put_together(
    one: Any, two: Any, three: Any, world: World
) -> None:
    left, right = (events_of(world, each) for each in (pipe(pipe(one, two), three), pipe(one, pipe(two, three))))
    assert left == right


@FEW
@given(whole, whole, worlds)
def test_pipe_does_what_is_done_by_hand(one: Any, two: Any, world: World) -> None:
    first = ended(world, one)
    text = first.text if not isinstance(first.output, dict) else f'{{"number":{first.output["number"]},"size":13}}'
    second, both = ended(world, two, text), ended(world, pipe(one, two))
    assert (both.text, both.output, both.finish_reason) == (second.text, second.output, second.finish_reason)
    assert both.messages == (*first.messages, *second.messages)
    assert both.usage == first.usage + second.usage
    assert both.cost == (None if None in (first.cost, second.cost) else first.cost + second.cost)


# -- parallel --


@FEW
@given(st.lists(trees(whole), min_size=1, max_size=3), worlds)
def test_parallel_is_all_of_them_in_their_order(each: list[Any], world: World) -> None:
    alone = [ended(world, one) for one in each]
    together = ended(world, parallel(*each))
    assert together.output == tuple(alone)
    assert together.text == "\n\n".join([one.text for one in alone if one.text])
    assert together.messages[:-1] == tuple([message for one in alone for message in one.messages[:-1]])
    assert together.usage == sum([one.usage for one in alone], Usage())
    assert together.cost == (None if any(one.cost is None for one in alone) else sum(one.cost for one in alone))
    named = ended(world, parallel({f"no{place}": one for place, one in enumerate(each)}))
    assert named.output == {f"no{place}": one for place, one in enumerate(alone)}
    assert (named.messages, named.usage, named.cost) == (together.messages, together.usage, together.cost)


# -- fallback and route --


@FEW
@given(trees(agents, odd), worlds)
def test_fallback_of_one_is_that_one(agent: Any, world: World) -> None:
    assert ended(world, fallback(agent)) == ended(world, agent)


choices: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["ann", " Ann.\n", "bob", "nobody", "", None, 3, ("ann",), {"name": "bob", "confidence": 0.4}]),
    st.builds(dict, name=st.text(max_size=3), confidence=st.floats(), why=st.none() | st.text(max_size=3)),
    st.sampled_from(["ann", "bob", "x"]).map(as_response),
)


@FEW
@given(choices, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from(["ann", foreign]), worlds)
def test_route_is_total(choice: Any, sure: float, default: Any, world: World) -> None:
    known = {"ann": lambda prompt: "It is Ann.", "bob": lambda prompt: "It is Bob."}
    other = default if isinstance(default, str) else lambda prompt: "It is somebody."
    response = ended(world, route(lambda prompt: choice, known, default=other, sure=sure))
    assert response.answered_by in ("ann", "bob", "default")
    strict = ended(world, route(lambda prompt: choice, known, sure=sure))
    if response.text == "It is somebody.":
        assert strict[0] is NoRoute
    else:
        assert response == strict or strict[0] is NoRoute


# -- all --


@FEW
@given(trees(agents, odd))
def test_all_worlds_agree_on_answers_and_on_errors(agent: Any) -> None:
    first, *others = [ended(world, agent) for world in WORLDS]
    assert others == [first] * len(others)


@FEW
@given(trees(agents, odd) | supervised(Log()))
def test_all_worlds_do_the_same_path_by_path(agent: Any) -> None:
    """So a recording of one is replayed in another; no path is there twice."""
    seen = []
    for world in WORLDS:
        with watched() as watching:
            ended(world, agent)
        seen.append(re.sub(r" at 0x\w+", "", str(sorted(watching.seen.items()))))
    assert seen[1:] == seen[:1] * (len(WORLDS) - 1)


@FEW
@given(st.data(), worlds)
def test_what_a_composition_used_is_what_its_models_used(data: st.DataObject, world: World) -> None:
    log = Log()
    response = ended(world, data.draw(trees(ours(log)) | supervised(log)))
    assert response.usage == sum([each.usage for each in log.answers], Usage())
    assert response.cost == sum([each.cost for each in log.answers if each.cost is not None], Decimal(0))


def _down(prompt: Any) -> str:
    raise ServerFailed("down", status=503)


@FEW
@given(st.data(), worlds)
def test_what_was_used_before_somebody_failed_is_on_the_error_or_in_the_sum(data: st.DataObject, world: World) -> None:
    log = Log()
    one = data.draw(trees(ours(log)) | supervised(log))
    _, why, had = ended(world, pipe(one, _down))
    assert (why, had.usage) == ("down", sum([each.usage for each in log.answers], Usage()))
    log.answers.clear()
    response = ended(world, fallback(pipe(one, _down), one))
    assert response.usage == sum([each.usage for each in log.answers], Usage())
    assert response.cost == sum([each.cost for each in log.answers if each.cost is not None], Decimal(0))


@FEW
@given(trees(agents, odd), listening)
def test_a_composition_streams_what_it_returns(agent: Any, world: World) -> None:
    response = ended(world, agent)
    if isinstance(response, Response):
        assert events_of(world, agent)[-1] == Finished(response)
        return
    with pytest.raises(response[0], match=re.escape(response[1])):
        events_of(world, agent)


@FEW
@given(st.lists(ours(), min_size=2, max_size=3), listening)
def test_the_words_of_a_pipe_and_of_its_sides_are_told(each: list[Any], world: World) -> None:
    ends = [*each[:-1], lambda prompt: PROMPT, each[-1]]
    events = events_of(world, pipe(*ends))
    assert heard(events, pipe(*ends).steps[-1].name).endswith(finished(events).text)
    sides = parallel({f"no{place}": one for place, one in enumerate(each)})
    assert isinstance(sides, Parallel)
    events = events_of(world, sides)
    assert "\n\n".join([heard(events, name) for name in sides.names or ()]) == finished(events).text


def finished(events: list[Any]) -> Response:
    last = events[-1]
    assert isinstance(last, Finished)
    return last.response
