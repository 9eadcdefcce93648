"""Recorded loops: which exchanges follow from each other by the results of tools alone, and what was sent in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from attrs import define, frozen

from arshai_kit import Message, ToolSpec, system, user
from arshai_kit.tools import Tool
from tests.wire.agreement import Exchange
from tests.wire.served import Talk

__all__ = ["Link", "Loop", "camel", "history", "linked", "loops", "prompt", "results", "said", "tools"]

Wire = dict[str, Any]
_HISTORY = {"chat": "messages", "responses": "input"}


@frozen
class Link:
    """Two exchanges: *tail* is what the second request has more than the first, or *why* it does not follow."""

    name: str
    first: Exchange
    second: Exchange
    tail: list[Wire]
    answers: list[tuple[str, str]]
    why: str = ""


@define
class Loop:
    """A run of links, each of which begins with the exchange that the one before it ends with."""

    talk: Talk
    links: list[Link]

    @property
    def exchanges(self) -> list[Exchange]:
        """All exchanges, in order."""
        return [self.links[0].first, *(link.second for link in self.links)]


def camel(value: Any) -> Any:
    """*value*, its keys in one spelling of the two that Gemini takes."""
    if isinstance(value, list):
        return [camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {_one_word(name): each if name == "args" else camel(each) for name, each in value.items()}


def _one_word(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def history(operation: str, body: Wire) -> list[Wire]:
    """The messages, items or contents of *body*."""
    found = body.get(_HISTORY.get(operation, "contents")) or []
    return [{"role": "user", "content": found}] if isinstance(found, str) else found


def linked(talk: Talk) -> Iterator[Link]:
    """Each exchange that calls tools, with the one behind it."""
    for place, (first, second) in enumerate(pairwise(talk["exchanges"])):
        if first["expected"].get("tool_calls") and not first["expected"]["error"]:
            yield _link(f"{talk['id']}[{place}]", first, second)


def _link(name: str, first: Exchange, second: Exchange) -> Link:
    if first["operation"] != second["operation"] or first["stream"] != second["stream"]:
        return Link(name, first, second, [], [], "changes between whole and streamed")
    before, after = (history(each["operation"], each["request_body"] or {}) for each in (first, second))
    if not before or after[: len(before)] != before or len(after) == len(before):
        return Link(name, first, second, [], [], "does not go on with the conversation")
    tail = after[len(before) :]
    answers = _answers(first, tail)
    calls = first["expected"]["tool_calls"]
    return Link(name, first, second, tail, answers, "" if len(answers) == len(calls) else _unanswered(first, tail))


def _unanswered(first: Exchange, tail: list[Wire]) -> str:
    """Why not every call of *first* has a text that answers it."""
    given = results(first["operation"], tail)
    if any(text is None for _, _, text in given):
        return "answers by media or by a list of texts"
    if len(given) == len(first["expected"]["tool_calls"]):
        return "answers by ids that the client made"
    return "does not answer every call"


def _answers(first: Exchange, tail: list[Wire]) -> list[tuple[str, str]]:
    """The name and the result of each call of *first* that is answered in *tail* by text, in the order of the calls."""
    left = results(first["operation"], tail)
    found: list[tuple[str, str]] = []
    for call in first["expected"]["tool_calls"]:
        for each in left:
            if each[0] == call["id"] or (call["id"] is None and each[1] == call["name"]):
                found += [(call["name"], each[2])] if each[2] is not None else []
                left.remove(each)
                break
    return found


def results(operation: str, tail: list[Wire]) -> list[tuple[str | None, str | None, str | None]]:
    """The id, name and text of each result in *tail*; what the API does not send is `None`."""
    if operation == "chat":
        return [(each["tool_call_id"], None, _text(each["content"])) for each in tail if each["role"] == "tool"]
    if operation == "responses":
        given = [each for each in tail if each.get("type") == "function_call_output"]
        return [(each["call_id"], None, _text(each["output"])) for each in given]
    parts = [part for content in tail for part in camel(content["parts"]) if "functionResponse" in part]
    told = [part["functionResponse"] for part in parts]
    return [(each.get("id"), each["name"], _value(each["response"])) for each in told]


def _text(content: Any) -> str | None:
    return content if isinstance(content, str) else None


def _value(response: Any) -> str:
    values = list(response.values()) if isinstance(response, dict) else [response]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else json.dumps(response)


def loops(talk: Talk) -> list[Loop]:
    """The loops of *talk*, each as long as it can be."""
    found: list[Loop] = []
    for link in linked(talk):
        if link.why:
            continue
        if found and found[-1].links[-1].second is link.first:
            found[-1].links.append(link)
        else:
            found.append(Loop(talk, [link]))
    return found


def said(operation: str, body: Wire) -> list[tuple[str, str]]:
    """The words of *body* that no model and no tool said, with the role that did."""
    if operation not in _HISTORY:
        contents = [{"role": "system", **(camel(body).get("systemInstruction") or {})}, *camel(body)["contents"]]
        messages = [{"role": each.get("role"), "content": each.get("parts", [])} for each in contents]
    else:
        messages = [{"role": "system", "content": body.get("instructions") or ""}, *history(operation, body)]
    found: list[tuple[str, str]] = []
    for each in messages:
        role = "system" if each.get("role") == "developer" else each.get("role")
        if role in ("system", "user"):
            content = each["content"]
            parts = [{"text": content}] if isinstance(content, str) else content
            found += [(role, part["text"]) for part in parts if part.get("text", "").strip()]
    return found


def prompt(exchange: Exchange) -> list[Message]:
    """What stands at the beginning of the conversation in *exchange*, in words alone."""
    told = said(exchange["operation"], exchange["request_body"])
    return [(system if role == "system" else user)(text) for role, text in told] or [user("q")]


def tools(loop: Loop) -> list[Tool]:
    """The functions that were declared or called, which return what they returned in the recording, in its order."""
    left = [answer for link in loop.links for answer in link.answers]
    declared = {spec.name: spec for each in loop.exchanges for spec in _declared(each["request_body"] or {})}
    names = dict.fromkeys([*declared, *(name for name, _ in left)])

    def running(name: str) -> Any:
        def function(**_: Any) -> str:
            answer = next(each for each in left if each[0] == name)
            left.remove(answer)
            return answer[1]

        return function

    last = [call["name"] for call in loop.exchanges[-1]["expected"]["tool_calls"]]
    left += [(name, "the recording ends here") for name in last]
    return [Tool(declared.get(name, ToolSpec(name)), running(name)) for name in names]


def _declared(body: Wire) -> Iterator[ToolSpec]:
    for each in camel(body.get("tools")) or ():
        functions: list[Mapping[str, Any]] = each.get("functionDeclarations") or [each.get("function") or each]
        for function in functions:
            if "name" in function and each.get("type", "function") == "function":
                yield ToolSpec(function["name"], function.get("description") or "", function.get("parameters") or {})
