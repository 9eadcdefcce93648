"""What a person decides about a call, and what comes of it: the call as it is or changed, or words for the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attrs import evolve

from arshai_kit.effects import Emit, Plan
from arshai_kit.errors import Misuse
from arshai_kit.models import written
from arshai_kit.records import Notice, ToolCall, ToolFailed, ToolRun
from arshai_kit.tools import Answering, Toolbox, answered

__all__ = ["Decision", "asking", "carried_out", "changing", "decided", "noted", "refused", "runnable"]

Decision: TypeAlias = bool | str | ToolCall | Mapping[str, Any]
"""`True`: as it is. `False`, or the words of why: not at all. A call, or other arguments: changed."""

_REFUSED = "not run: a person refused this call"


def decided(decision: Any, call: ToolCall) -> ToolCall | str:
    """What *decision* makes of *call*: the call to be run, or what the model is told in its place.

    >>> call = ToolCall("c1", "refund", {"cents": 900})
    >>> decided("too much", call)
    'not run: a person refused this call: too much'
    >>> decided({"cents": 100}, call)
    ToolCall('c1', name='refund', arguments={'cents': 100})
    """
    match decision:
        case bool():
            return call if decision else _REFUSED
        case str() if decision.strip():
            return f"{_REFUSED}: {decision}"
        case ToolCall(name=call.name):
            return evolve(decision, id=call.id, state=call.state)
        case ToolCall():
            raise Misuse(f"a call of {call.name!r} was to be decided, and this is one of {decision.name!r}")
        case Mapping():
            return evolve(call, arguments=decision, broken=None)
    raise Misuse(
        f"whether {call.name!r} is called is True, False, the words of why not, or the call with other arguments, "
        f"not {decision!r}; nothing was called"
    )


def runnable(call: ToolCall, box: Toolbox) -> bool:
    """Whether *call* can be run at all, so that somebody has to decide about it."""
    found = box.get(call.name)
    return found is not None and found.function is not None and call.broken is None


def noted(call: ToolCall, made: ToolCall) -> str:
    """What the model is told when *made* is run in place of *call*; nothing, where they ask for the same."""
    return "" if written(made) == written(call) else f"(A person changed the arguments to {written(made)}.)\n"


def asking(call: ToolCall) -> Plan[None]:
    """Tell that somebody has to decide about *call*."""
    yield from Emit((Notice("approval", call.name, "", {"id": call.id, "arguments": call.arguments}),))


def refused(call: ToolCall, words: str) -> Plan[ToolRun]:
    """What comes of *call* when it is not run: the model is told *words*."""
    yield from Emit((ToolFailed(call, words),))
    return ToolRun(call, words, words)


def carried_out(call: ToolCall, decision: ToolCall | str, box: Toolbox) -> Plan[ToolRun]:
    """What comes of *call*, now that it is *decided*."""
    if isinstance(decision, str):
        return refused(call, decision)
    return answered(decision, box, "" if decision is call else noted(call, decision))


def changing(call: ToolCall, made: ToolCall, make_plan: Callable[[], Plan[Any]]) -> Callable[[], Plan[Any]]:
    """What makes the answer to *made* in place of that to *call*, which *make_plan* makes."""
    if isinstance(make_plan, Answering):
        return evolve(make_plan, call=made, note=noted(call, made))
    raise Misuse(f"a layer answers {call.name!r} in place of the tool, so its arguments cannot be changed")
