"""Any composition is drawn: each of its parts is there, whatever it is called, and a cycle is drawn once."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit import background, openai_compatible
from arshai_kit.agents import (
    agent,
    approve,
    as_tool,
    guard,
    handoff,
    insist,
    parallel,
    pipe,
    placed,
    route,
    to_mermaid,
)
from arshai_kit.agents.drawing import _label
from arshai_kit.errors import Misuse
from arshai_kit.resilience import Budget, breaker, budgeted, deadline, fallback, limited
from tests.agents.toys import Log, failing, foreign, ours, supervised, trees

FEW = settings(settings.get_profile("few"))
MODEL = openai_compatible("wise", base_url="http://localhost", api_key="")

_TEXT = r'"[^"\n`<>]*"'
_SHAPE = rf"(\[{_TEXT}\]|\({_TEXT}\)|\{{{_TEXT}\}}|\{{\{{{_TEXT}\}}\}}|\[/{_TEXT}/\]|\[\({_TEXT}\)\]|\(\({_TEXT}\)\))"
NODE = re.compile(rf"(n\d+){_SHAPE}")
ARROW = re.compile(rf"(n\d+) (-->|-\.->)(\|{_TEXT}\|)? (n\d+)")
FRAME = re.compile(rf"subgraph g\d+\[({_TEXT})\]")


def parsed(drawing: str) -> tuple[dict[str, str], list[tuple[str, ...]], list[str]]:
    """The nodes with their labels, the arrows and the titles of the frames; whatever is no Mermaid fails."""
    first, *lines = drawing.splitlines()
    assert re.fullmatch("flowchart (TD|LR)", first)
    nodes: dict[str, str] = {}
    arrows: list[tuple[str, ...]] = []
    frames: list[str] = []
    depth = 0
    for line in lines:
        text = line.strip()
        assert len(line) - len(text) == 4 * (1 + depth - (text == "end"))
        if node := NODE.fullmatch(text):
            assert node[1] not in nodes
            nodes[node[1]] = node[2].split('"')[1]
        elif arrow := ARROW.fullmatch(text):
            arrows.append((arrow[1], arrow[4], arrow[2], (arrow[3] or "").strip('|"')))
        elif frame := FRAME.fullmatch(text):
            frames.append(frame[1].strip('"'))
            depth += 1
        else:
            assert text == "end", text
            depth -= 1
    assert depth == 0
    assert {end for arrow in arrows for end in arrow[:2]} <= set(nodes)
    return nodes, arrows, frames


def drawn(value: Any) -> tuple[list[tuple[str, str, str, str]], list[str]]:
    """The arrows, by the labels of their ends, and the frames."""
    nodes, arrows, frames = parsed(to_mermaid(value))
    return [(nodes[start], nodes[end], kind, label) for start, end, kind, label in arrows], frames


def draft(prompt: str) -> str:
    return prompt


def critic(prompt: str) -> str:
    return prompt


@FEW
@given(trees(foreign | ours() | failing) | supervised(Log()))
def test_whatever_is_composed_is_drawn(agent: Any) -> None:
    nodes, arrows, _ = parsed(to_mermaid(agent))
    reached = {start for start, *_ in arrows} | {end for _, end, *_ in arrows}
    assert reached == set(nodes) or (len(nodes) == 1 and not arrows)


@given(st.text())
def test_whatever_something_is_called_it_is_a_label(name: str) -> None:
    assert re.fullmatch(_TEXT, f'"{_label(name)}"')
    parsed(to_mermaid(parallel({name or "x": draft, "y": placed(pipe(draft, draft), name)})))


def test_one_agent_is_one_node() -> None:
    assert to_mermaid(agent(MODEL, name='the "boss"')) == 'flowchart TD\n    n1["the #quot;boss#quot;"]'
    assert to_mermaid(agent(MODEL), direction="LR") == 'flowchart LR\n    n1["wise"]'
    assert parsed(to_mermaid(pipe()))[0] == {"n1": " "}
    assert to_mermaid(lambda prompt: prompt).endswith('n1("function")')
    assert to_mermaid(partial(partial(draft), "x")).endswith('n1("draft")')


def test_a_pipe_is_a_line_in_which_each_stands_where_it_is() -> None:
    assert drawn(pipe(draft, critic, draft))[0] == [("draft", "critic", "-->", ""), ("critic", "draft", "-->", "")]


def test_sides_have_a_fork_and_a_join() -> None:
    arrows, _ = drawn(pipe(parallel({"pro": draft, "con": draft}), critic))
    assert arrows == [
        (" ", "pro", "-->", ""),
        ("pro", " ", "-->", ""),
        (" ", "con", "-->", ""),
        ("con", " ", "-->", ""),
        (" ", "critic", "-->", ""),
    ]


def test_a_route_has_an_arrow_for_each_choice() -> None:
    arrows, _ = drawn(route(MODEL, {"a": draft, "b": critic}, default="b"))
    assert arrows[0] == ("wise", "a", "-->", "a")
    assert arrows[-1] == ("wise", "b", "-.->", "default")
    arrows, _ = drawn(route(critic, {"a": draft}, default=placed(len, "else")))
    assert ("critic", "else", "-.->", "default") in arrows
    assert ("else", " ", "-->", "") in arrows
    arrows, _ = drawn(route(agent(MODEL, name="triage"), {"a": draft}))
    assert arrows == [("triage", " ", "-->", ""), (" ", "a", "-->", "a"), ("a", " ", "-->", "")]


def test_what_may_happen_is_dotted() -> None:
    arrows, _ = drawn(insist(draft, critic, times=1))
    assert arrows == [("draft", "critic", "-->", ""), ("critic", "draft", "-.->", "again, 1 times at most")]
    arrows, _ = drawn(insist(draft, pipe(critic, len)))
    assert [arrow[:2] for arrow in arrows] == [("critic", "len"), ("draft", "critic"), ("len", "draft")]
    arrows, _ = drawn(fallback(draft, critic))
    assert arrows[-1] == ("draft", "critic", "-.->", "fails")
    worker = as_tool(agent(MODEL, name="worker"))
    boss = agent(MODEL, name="boss", tools=[len, background(draft), worker])
    arrows, _ = drawn(pipe(boss, agent(MODEL, name="other", tools=[worker])))
    assert arrows == [
        ("boss", "len", "-.->", ""),
        ("boss", "draft (background)", "-.->", ""),
        ("boss", "other", "-->", ""),
        ("boss", "worker", "-.->", "worker"),
        ("other", "worker", "-.->", "worker"),
    ]
    assert sum(label == "worker" for label in parsed(to_mermaid(pipe(boss, boss)))[0].values()) == 1


def test_whoever_hands_over_in_a_circle_is_drawn_once() -> None:
    triage: Any = agent(MODEL, name="triage", tools=[handoff(lambda: bills, name="bills"), handoff(critic)])
    bills: Any = agent(
        MODEL, name="bills", tools=[handoff(lambda: triage, name="triage"), handoff(lambda: bills, name="me")]
    )
    arrows, _ = drawn(triage)
    assert arrows == [
        ("triage", "bills", "-->", "hands over"),
        ("triage", "critic", "-->", "hands over"),
        ("bills", "triage", "-->", "hands over"),
        ("bills", "bills", "-->", "hands over"),
    ]


def test_agents_without_end_are_not_drawn_without_end() -> None:
    def another() -> Any:
        return agent(MODEL, name="another", tools=[handoff(lambda: another(), name="another")])

    nodes, _, _ = parsed(to_mermaid(another()))
    assert 100 < len(nodes) < 2000


def test_what_wraps_an_agent_is_a_frame_around_it() -> None:
    desk = pipe(draft, agent(MODEL, name="ann"))
    wraps = [
        (deadline(desk, 20), "deadline 20 s"),
        (budgeted(desk, Budget(money=1)), "budgeted"),
        (limited(desk, concurrent=2), "limited"),
        (breaker(desk, failures=3), "breaker"),
        (placed(desk, "desk"), "desk"),
        (placed(route(draft, {"a": draft}), "r"), "r"),
        (placed(insist(draft, critic), "i"), "i"),
        (placed(fallback(draft, critic), "f"), "f"),
    ]
    for wrapped, title in wraps:
        arrows, frames = drawn(wrapped)
        assert frames == [title]
        assert arrows
    assert drawn(deadline(deadline(desk, 1.5), 20))[1] == ["deadline 20 s", "deadline 1.5 s"]


def test_a_wrapper_of_whatever_kind_shows_what_it_is_given() -> None:
    arrows, frames = drawn(guard(agent(MODEL, name="ann"), before=critic, after=[draft, critic]))
    assert frames == ["guarded"]
    assert arrows == [
        ("ann", "critic", "-.->", "before"),
        ("ann", "draft", "-.->", "after 1"),
        ("ann", "critic", "-.->", "after 2"),
    ]
    arrows, frames = drawn(approve(agent(MODEL, name="ann", tools=[len]), ask=print))
    assert [(start, end) for start, end, *_ in arrows] == [("ann", "len"), ("ann", "print")]


def inside(drawing: str) -> list[tuple[str, ...]]:
    """Each node that is an agent: its label, and the titles of the frames that it stands in."""
    frames: list[str] = []
    found = []
    for text in map(str.strip, drawing.splitlines()):
        if frame := FRAME.fullmatch(text):
            frames.append(frame[1].strip('"'))
        elif text == "end":
            frames.pop()
        elif node := re.fullmatch(rf"n\d+\[({_TEXT})\]", text):
            found.append((node[1].strip('"'), *frames))
    return found


def test_whoever_is_handed_over_to_stands_in_the_wrappers_that_hold_for_it_and_in_no_others() -> None:
    pay = agent(MODEL, name="pay")
    triage = agent(MODEL, name="triage", tools=[handoff(pay), as_tool(pay, name="ask")])
    bare = route(draft, {"pay": approve(pay, ask=print), "triage": triage})
    assert inside(to_mermaid(bare)) == [("pay", "approving"), ("triage",), ("pay",), ("ask",)]
    approved = route(draft, {"pay": pay, "triage": deadline(approve(triage, ask=print), 5)})
    around = ("deadline 5 s", "approving")
    assert inside(to_mermaid(approved)) == [("pay",), ("triage", *around), ("pay", *around), ("ask", *around)]
    one = route(draft, {"pay": pay, "triage": triage})
    assert [label for label, *_ in inside(to_mermaid(one))] == ["pay", "triage", "ask"]


def test_wrapped_agents_that_hand_over_in_circles_are_drawn_once_each() -> None:
    ann: Any = approve(agent(MODEL, name="ann", tools=[handoff(lambda: bob, name="bob")]))
    bob: Any = approve(agent(MODEL, name="bob", tools=[handoff(lambda: ann, name="ann")]))
    assert inside(to_mermaid(ann)) == [("ann", "pausing"), ("bob", "pausing", "pausing")]
    arrows, _ = drawn(ann)
    assert arrows == [("bob", "ann", "-->", "hands over"), ("ann", "bob", "-->", "hands over")]


def test_wrappers_without_end_are_not_drawn_without_end() -> None:
    def another() -> Any:
        return deadline(agent(MODEL, name="another", tools=[handoff(lambda: another(), name="another")]), 5)

    nodes, _, frames = parsed(to_mermaid(another()))
    assert "…" in nodes.values()
    assert 20 < len(frames) < 200


@pytest.mark.parametrize("value", ["desk", MODEL, 3])
def test_what_is_no_agent_is_not_drawn(value: Any) -> None:
    with pytest.raises(Misuse, match=r"to_mermaid\(\) takes agents"):
        to_mermaid(value)


def test_a_direction_is_one_of_mermaids() -> None:
    with pytest.raises(Misuse, match="direction= is TD, TB, BT, LR or RL, not 'up'"):
        to_mermaid(draft, direction="up")
