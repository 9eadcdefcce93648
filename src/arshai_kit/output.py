"""Typed answers: how a type is asked for, read back, and shown while it streams."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, TypeAlias

from attrs import evolve, frozen

from arshai_kit._json import FrozenDict, dumps, exact, freeze
from arshai_kit._record import Record
from arshai_kit.effects import Emit, Plan
from arshai_kit.errors import ArshaiError, BadAnswer, BadRequest, BadSchema, ServerFailed
from arshai_kit.models import UNFINISHED, Ask, Hearing, Model, OutputSpec, Settings, written
from arshai_kit.records import (
    Event,
    Message,
    Notice,
    PartialOutput,
    Response,
    Text,
    TextDelta,
    ToolCallDelta,
    ToolSpec,
    system,
)

__all__ = ["Mode", "Wanted", "wanted"]

Mode: TypeAlias = Literal["json_schema", "json_object", "tool"]

_REFUSALS = frozenset({400, 422, 500, 501, None})


@frozen(eq=False, repr=False)
class Wanted(Record):
    """A type that an answer is to have. *wrapped*: the value is the one member of an object, as providers demand."""

    type: Any
    spec: OutputSpec
    wrapped: bool

    def modes(self, model: Model, ask: Ask) -> tuple[Mode, ...]:
        """The ways to ask *model* for it, best first: what it is known to take, else all that it may take."""
        known = model.capabilities
        if ask.tools and known.tools_and_schema is False:
            return ("tool",)
        takes: tuple[tuple[Mode, bool | None], ...] = (
            ("json_schema", known.json_schema),
            ("json_object", known.json_object),
            ("tool", known.tools),
        )
        modes: list[Mode] = []
        for mode, taken in takes:
            if taken is not False:
                modes.append(mode)
            if taken:
                break
        return tuple(modes) or ("json_object",)

    def asked(self, ask: Ask, mode: Mode) -> Ask:
        """*ask*, for an answer of this type."""
        match mode:
            case "json_schema":
                return evolve(ask, output=self.spec)
            case "json_object":
                spec = evolve(self.spec, mode="json_object")
                return evolve(ask, messages=_wished(self.wish(), ask.messages), output=spec)
        answer = ToolSpec(self.called(ask), "Give the answer.", self.spec.schema, strict=self.spec.strict)
        settings: Settings = evolve(ask.settings, tool_choice="required" if ask.tools else answer.name)
        return evolve(ask, tools=(*ask.tools, answer), settings=settings)

    def wish(self) -> str:
        """What is wanted, in words."""
        return f"Answer with JSON alone, no other words, that fits this JSON Schema: {dumps(self.spec.schema).decode()}"

    def called(self, ask: Ask) -> str:
        """The name of the tool that stands for the answer to *ask*: none of its tools has it."""
        name = self.spec.name
        while any(tool.name == name for tool in ask.tools):
            name += "_"
        return name

    def is_refused(self, error: ArshaiError) -> bool:
        """Whether *error* may mean that this way of asking is not known there."""
        return (type(error) is BadRequest or type(error) is ServerFailed) and error.status in _REFUSALS

    def hearing(self, ask: Ask, mode: Mode) -> Hearing:
        """What tells of an answer to *ask* on the way."""
        return _Watch(self, self.called(ask) if mode == "tool" else "").hear

    def typed(self, response: Response, ask: Ask, mode: Mode) -> Response:
        """*response* to *ask* with its `output`, unless it asks for tools first."""
        calls = response.tool_calls
        if response.finish_reason in UNFINISHED:
            why = response.refusal or f"it ended with {response.raw_finish_reason or response.finish_reason!r}"
            raise BadAnswer(f"there is no whole answer: {why}", text=response.text, partial=response)
        if mode == "tool" and calls and all(call.name == self.called(ask) for call in calls):
            text = written(calls[0])
            response = _spoken(response, text)
        elif calls and ask.tools:
            return response
        elif calls:
            why = f"the answer calls {calls[0].name!r}, and there is no such tool"
            raise BadAnswer(why, text=response.text, partial=response)
        else:
            text = response.text
        return evolve(response, output=self._read(text, response))

    def _read(self, text: str, response: Response) -> Any:
        from arshai_kit.schema import Misfit, structured

        try:
            value = self._bare(_parsed(text))
            return structured(value, self.type)
        except Misfit as misfit:
            why, path = f"the answer does not fit: {misfit}", misfit.path
            raise BadAnswer(why, text=text, path=path, partial=response) from misfit
        except ValueError as error:
            raise BadAnswer(f"the answer is no JSON: {error}", text=text, partial=response) from error

    def _bare(self, value: Any) -> Any:
        """*value* without what it is wrapped in; a list or a literal that came without a wrapping is what it is."""
        from arshai_kit.schema import Misfit

        if not self.wrapped or not isinstance(value, dict):
            return value
        if value.keys() != {"value"}:
            raise Misfit("", 'expected an object with one member, "value"')
        return value["value"]

    def certain(self, value: Any) -> Any:
        """The part of *value*, a document that is still arriving, that is the answer; `None` if there is none yet."""
        if not self.wrapped:
            return value
        return value.get("value") if isinstance(value, dict) else None


class _Watch:
    """What a stream has told of a typed answer; owned by one plan. *called* is the tool that stands for the answer."""

    __slots__ = ("_called", "_ours", "_reader", "_shown", "_want")

    def __init__(self, want: Wanted, called: str) -> None:
        self._want = want
        self._called = called
        self._begin()

    def _begin(self) -> None:
        from arshai_kit.schema import Settling

        self._ours: list[int] = []  # the indexes of the calls of that tool
        self._reader = Settling()
        self._shown: Any = None

    def hear(self, events: tuple[Event, ...]) -> Plan[None]:
        """Tell *events*, the call that is the answer as text, and what of the answer can no longer change."""
        out: list[Event] = []
        changed = False
        for event in events:
            if type(event) is Notice and event.kind == "restarted":
                self._begin()
            told, words = self._heard(event)
            out += told
            with suppress(ValueError):  # words around the JSON: the whole answer will tell whether it can be read
                changed |= self._reader.feed(words)
        value = self._want.certain(self._reader.value) if changed else None
        if value is not None and (shown := _grown(value, self._shown)) is not self._shown:
            self._shown = shown
            out.append(PartialOutput(shown))
        yield from Emit(tuple(out))

    def _heard(self, event: Event) -> tuple[tuple[Event, ...], str]:
        """What to tell for *event*, and the words of the answer in it."""
        match event:
            case TextDelta(words) if not self._called:
                return (event,), words
            case ToolCallDelta(index, name, words) if self._called:
                if name == self._called and index not in self._ours:
                    self._ours.append(index)
                if index in self._ours:
                    words = words if index == self._ours[0] else ""
                    return ((TextDelta(words),) if words else ()), words
        return (event,), ""


def _grown(value: Any, before: Any) -> Any:
    """*value*, frozen, which holds all that *before* does: only the last thing in *before* can have grown.

    >>> _grown({"a": [1, [2]], "b": 3}, freeze({"a": [1, []]}))
    {'a': (1, (2,)), 'b': 3}
    """
    if not before or not isinstance(before, tuple | dict):
        now = before or freeze(value)
        return before if now == before else now
    key: Any
    *_, key = range(len(before)) if isinstance(before, tuple) else before
    inner = _grown(value[key], before[key])
    if len(value) == len(before) and inner is before[key]:
        return before
    if isinstance(before, tuple):
        return (*before[:key], inner, *map(freeze, value[key + 1 :]))
    news = {name: freeze(each) for name, each in islice(value.items(), len(before), None)}
    return FrozenDict({**before, key: inner, **news})


def _wished(wish: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """*messages*, with *wish* in the words of the system: many servers take those only once, and first."""
    if messages and messages[0].role == "system":
        first = messages[0]
        return (evolve(first, parts=(*first.parts, Text(f"\n\n{wish}"))), *messages[1:])
    return (system(wish), *messages)


def _spoken(response: Response, text: str) -> Response:
    """*response*, its calls told as *text*: they were the answer, and nobody is going to answer them."""
    said = response.message
    parts = (*[part for part in said.parts if part not in said.tool_calls], Text(text))
    messages = tuple([evolve(said, parts=parts) if each is said else each for each in response.messages])
    reason = "stop" if response.finish_reason == "tool_calls" else response.finish_reason
    return evolve(response, messages=messages, finish_reason=reason)


def _parsed(text: str) -> Any:
    """The JSON that *text* is, or that stands in it as an object, in a fence or between other words.

    >>> _parsed('Here it is: {"a": 1}'), _parsed("[1]")
    ({'a': 1}, [1])
    """
    try:
        return exact(text)
    except ValueError:
        start, end = text.find("{"), text.rfind("}") + 1
        if not 0 <= start < end or (start, end) == (0, len(text)):
            raise
        with suppress(ValueError):
            return exact(text[start:end])
        raise


def wanted(output: Any) -> Wanted | None:
    """How to ask for the type *output*; `None` when no type is wanted."""
    if output is None:
        return None
    if isinstance(output, Mapping):
        return _by_schema(output)
    try:
        return _wanted_once(output)
    except TypeError:  # a type that cannot be hashed
        return _wanted(output)


def _by_schema(schema: Mapping[str, Any]) -> Wanted:
    """An answer that a JSON Schema describes: it stays plain JSON data.

    Strict modes know no member that may be left out, and the `null` in its place would not fit this schema.
    """
    try:
        want = _asking(Any, dict(freeze(schema)), str(schema.get("title", "answer")))
        return evolve(want, spec=evolve(want.spec, strict=False)) if _leaves_out(want.spec.schema) else want
    except (TypeError, ValueError) as error:
        raise BadSchema(f"output= is no JSON Schema: {error}") from error


def _leaves_out(schema: Any) -> bool:
    """Whether *schema* knows an object with members that may be left out."""
    if isinstance(schema, Mapping):
        members, needed = schema.get("properties"), schema.get("required", ())
        found = isinstance(members, Mapping) and isinstance(needed, tuple) and not members.keys() <= set(needed)
        return found or any(map(_leaves_out, schema.values()))
    return isinstance(schema, tuple) and any(map(_leaves_out, schema))


def _wanted(output: Any) -> Wanted:
    from arshai_kit.schema import json_schema

    return _asking(output, json_schema(output), getattr(output, "__name__", "answer"))


def _asking(output: Any, schema: dict[str, Any], title: str) -> Wanted:
    wrapped = schema.get("type") != "object"
    if wrapped:
        outside: dict[str, Any] = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
        inner = {name: value for name, value in schema.items() if name not in outside}
        schema = {"type": "object", "properties": {"value": inner}, "required": ["value"], **outside}
        schema["additionalProperties"] = False
    name = re.sub(r"\W+", "_", title, flags=re.ASCII).strip("_")[:64] or "answer"
    return Wanted(output, OutputSpec(name, schema), wrapped)


_wanted_once = lru_cache(maxsize=1024)(_wanted)
