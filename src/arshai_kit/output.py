"""Typed answers: how a type is asked for, read back, and shown while it streams."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from attrs import evolve, frozen

from arshai_kit._json import dumps, exact, freeze
from arshai_kit._record import Record
from arshai_kit.effects import Emit, Plan, Where, intercept
from arshai_kit.errors import ArshaiError, BadAnswer, BadRequest, ServerFailed
from arshai_kit.models import Ask, Model, OutputSpec, Settings
from arshai_kit.records import PartialOutput, Response, TextDelta, ToolCallDelta, ToolSpec, system

__all__ = ["Mode", "Wanted", "wanted"]

Mode: TypeAlias = Literal["json_schema", "json_object", "tool"]

_FENCED = r"\s*```[a-z]*\s*\n(.*)\n\s*```\s*"


@frozen(eq=False, repr=False)
class Wanted(Record):
    """A type that an answer is to have. *wrapped*: the value is the one member of an object, as providers demand."""

    type: Any
    spec: OutputSpec
    wrapped: bool

    def modes(self, model: Model) -> tuple[Mode, ...]:
        """The ways to ask *model* for it, best first: what it is known to take, else all that it may take."""
        known = model.capabilities
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
                wish = f"Answer with JSON alone, no other words, that fits this JSON Schema: {dumps(self.spec.schema).decode()}"
                return evolve(ask, messages=(system(wish), *ask.messages), output=evolve(self.spec, mode="json_object"))
        answer = ToolSpec(self.spec.name, "Give the answer.", self.spec.schema)
        settings: Settings = evolve(ask.settings, tool_choice="required" if ask.tools else self.spec.name)
        return evolve(ask, tools=(*ask.tools, answer), settings=settings)

    def is_refused(self, error: ArshaiError) -> bool:
        """Whether *error* may mean that this way of asking is not known there."""
        return type(error) is BadRequest or (isinstance(error, ServerFailed) and error.status == 500)

    def typed(self, response: Response, mode: Mode) -> Response:
        """*response* with its `output`, unless it asks for tools first."""
        answers = [call for call in response.tool_calls if mode == "tool" and call.name == self.spec.name]
        if response.tool_calls and not answers:
            return response
        text = dumps(answers[0].arguments).decode() if answers and answers[0].broken is None else response.text
        return evolve(response, output=self._read(text, response))

    def _read(self, text: str, response: Response) -> Any:
        from arshai_kit.schema import Misfit, structured

        if response.finish_reason in ("length", "content_filter", "refusal"):
            why = response.refusal or f"it ended with {response.raw_finish_reason or response.finish_reason!r}"
            raise BadAnswer(f"there is no whole answer: {why}", text=text, partial=response)
        fenced = re.fullmatch(_FENCED, text, re.DOTALL)
        try:
            value = exact(fenced[1] if fenced else text)
        except ValueError as error:
            raise BadAnswer(f"the answer is no JSON: {error}", text=text, partial=response) from error
        try:
            if self.wrapped:
                if not isinstance(value, dict) or set(value) != {"value"}:
                    raise Misfit("", 'expected an object with one member, "value"')
                value = value["value"]
            return structured(value, self.type)
        except Misfit as misfit:
            raise BadAnswer(
                f"the answer does not fit: {misfit}", text=text, path=misfit.path, partial=response
            ) from misfit

    def watched(self, plan: Plan[Response]) -> Plan[Response]:
        """*plan*, telling on the way what of the answer can no longer change."""
        from arshai_kit.schema import Misfit, Settling

        text, call = Settling(), Settling()
        shown: Any = None

        def on_emit(effect: Emit, _: Where) -> Plan[None]:
            nonlocal shown
            yield effect
            with suppress(Misfit):  # words around the JSON: the whole answer will tell whether it can be read
                for event in effect.events:
                    match event:
                        case TextDelta(words):
                            text.feed(words)
                        case ToolCallDelta(_, self.spec.name, words):
                            call.feed(words)
            value = self._certain(text.value if call.value is None else call.value)
            if value is not None and (frozen_value := freeze(value)) != shown:
                shown = frozen_value
                yield from Emit((PartialOutput(shown),))

        return intercept(plan, {Emit: on_emit})

    def _certain(self, value: Any) -> Any:
        if not self.wrapped:
            return value
        return value.get("value") if isinstance(value, dict) else None


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
    """An answer that a JSON Schema describes: it stays plain JSON data."""
    return _asking(Any, dict(schema), str(schema.get("title", "answer")))


def _wanted(output: Any) -> Wanted:
    from arshai_kit.schema import json_schema

    return _asking(output, json_schema(output), getattr(output, "__name__", "answer"))


def _asking(output: Any, schema: dict[str, Any], title: str) -> Wanted:
    wrapped = schema.get("type") != "object"
    if wrapped:
        inner = {key: value for key, value in schema.items() if key != "$defs"}
        defs = {"$defs": schema["$defs"]} if "$defs" in schema else {}
        schema = {"type": "object", "properties": {"value": inner}, "required": ["value"], **defs}
        schema["additionalProperties"] = False
    name = re.sub(r"\W+", "_", title, flags=re.ASCII).strip("_")[:64] or "answer"
    return Wanted(output, OutputSpec(name, schema), wrapped)


_wanted_once = lru_cache(maxsize=1024)(_wanted)
