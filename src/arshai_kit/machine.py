"""Resumes the plans of a run and answers what needs no world; pure.

A driver calls `turn`, and is told what to do next: `EVENTS` are to be shown to whoever is streaming, `WORK` is a leaf
effect to perform, `IDLE` means that every plan waits for an answer, `OVER` that the run has ended. An answer is given
to `turn` only when every plan waits, one at a time: the sequence of (path, answer) determines the run.

To read on: `effects` says what plans ask for; `_flight` keeps what has been asked of the world and not been answered;
`_drive` calls `turn` and performs it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, ClassVar, Final, TypeAlias
from weakref import WeakSet
from zlib import crc32

from arshai_kit._json import EMPTY, Json
from arshai_kit.effects import (
    Effect,
    Emit,
    Handle,
    Handler,
    Here,
    Join,
    Layer,
    Outcome,
    Owner,
    Plan,
    Start,
    Step,
    Where,
    fresh,
)
from arshai_kit.errors import Misuse
from arshai_kit.records import StepFinished, StepStarted, tagged

__all__ = ["EVENTS", "IDLE", "OVER", "WORK", "Machine", "Task"]

EVENTS: Final = "events"
WORK: Final = "work"
IDLE: Final = "idle"
OVER: Final = "over"

Turn: TypeAlias = tuple[str, Any, Any]
"""What to do, the task it is for, and the events, the effect or the outcome."""

_LONGEST_KEY = 80
_UNNAMED: Final = object()

_IDLE: Turn = (IDLE, None, None)


class Frame:
    """One plan that a task is running: the task's own, a step's, or a handler's."""

    __slots__ = ("counts", "ended", "family", "keeps", "level", "path", "plan", "step", "tag")

    def __init__(
        self, plan: Plan[Any], path: str, tag: str, level: int = 0, keeps: tuple[str, str] | None = None
    ) -> None:
        self.plan = plan
        self.path = path
        self.tag = tag
        self.level = level  # how many layers stand between this plan and the one that the user wrote
        self.keeps = keeps  # the name and the path of the effect that a handler answers, and passes on under
        self.step: Step[Any] | None = None
        self.counts: dict[str, int] | None = None  # none where nothing has been counted, as in most
        self.family: Family | None = None
        self.ended = False


class Family:
    """The plans that belong to a frame, by their keys, and those of them that wait for their turn."""

    __slots__ = ("children", "queued", "running")

    def __init__(self) -> None:
        self.children: dict[Hashable, Handle[Any]] = {}
        self.queued: deque[tuple[int, Task]] = deque()  # each with its limit
        self.running = 0


class Task:
    """A stack of frames that is resumed as one; it asks for one thing at a time, at *path*."""

    __slots__ = ("channels", "context", "error", "frames", "handle", "missing", "owner", "path", "value", "waits")

    def __init__(self, frame: Frame, context: Context, owner: Frame | None, handle: Handle[Any] | None) -> None:
        self.frames = [frame]
        self.context = context
        self.owner = owner
        self.handle = handle
        self.path = ""
        self.value: Any = None
        self.error: BaseException | None = None
        self.waits: tuple[Handle[Any], ...] = ()
        self.missing = 0  # how many of those that it waits for have not ended
        self.channels: list[tuple[Frame, Any]] = []


class Machine:
    """The plans of one run. *layers* stand outermost first; *listening* says that somebody wants the events."""

    def __init__(
        self,
        plan: Plan[Any],
        *,
        layers: Sequence[Layer] = (),
        tags: Mapping[str, Json] = EMPTY,
        listening: bool = False,
        naming: bool = False,
    ) -> None:
        self.root = Task(Frame(fresh(plan), "", ""), copy_context(), None, None)
        self.ready: deque[Task] = deque((self.root,))
        self.dropped: deque[tuple[str, Any]] = deque()
        self.listening = listening
        self.naming = naming
        self.tags = tags
        self.outcome: Outcome[Any] | None = None
        self._given: WeakSet[Plan[Any]] | None = None  # the plans that have been started, once there are any
        self._handlers = _by_kind(layers)
        self._placing = naming or bool(self._handlers)  # whether anybody asks where a step stands

    def turn(self, task: Task | None = None, value: Any = None, error: BaseException | None = None) -> Turn:
        """Deliver the answer to what *task* asked, if one is given, and go on until something is to be done."""
        if task is not None:
            task.value, task.error = value, error
            self.ready.append(task)
        ready = self.ready
        while ready:
            if (told := self._resume(ready.popleft())) is not None:
                return told
        return _IDLE if self.outcome is None else (OVER, None, self.outcome)

    def _resume(self, task: Task) -> Turn | None:
        frame = task.frames[-1]
        value, error = task.value, task.error
        task.value = task.error = None
        try:
            if error is None:
                effect = task.context.run(frame.plan.send, value)
            else:
                effect = task.context.run(frame.plan.throw, error)
        except StopIteration as stop:
            return self._ended(task, frame, stop.value, None)
        except Exception as raised:  # noqa: BLE001  # whatever a plan raises is its outcome
            return self._ended(task, frame, None, raised)
        return self._asked(task, frame, effect)

    def _asked(self, task: Task, frame: Frame, effect: Any) -> Turn | None:
        kind = type(effect)
        try:
            if self._handlers:
                for level, handler in self._handlers.get(kind, ()):
                    if level > frame.level:
                        return self._handle(task, frame, effect, level, handler)
            if (answer := self._ANSWERS.get(kind)) is not None:
                return answer(self, task, frame, effect)
            if not isinstance(effect, Effect):
                raise Misuse(f"a plan yields effects, not {kind.__name__}; is a `yield from` missing?")
        except Exception as raised:  # noqa: BLE001  # what cannot be answered is the fault of the plan that asks
            task.error = raised
            self.ready.appendleft(task)
            return None
        if self.naming:
            task.path = self._named(frame, effect)
        return WORK, task, effect

    def _handle(self, task: Task, frame: Frame, effect: Any, level: int, handler: Handler) -> Turn | None:
        """Let *handler* answer *effect* in a frame of its own."""
        path = self._named(frame, effect)
        plan = fresh(task.context.run(handler, effect, Where(path, self.tags)))
        inner = Frame(plan, f"{path}/layer:{level}", frame.tag, level, (_name(effect), path))
        return self._enter(task, frame, inner, effect)

    def _enter(self, task: Task, frame: Frame, inner: Frame, effect: Any) -> Turn | None:
        """Go on with *inner*; tell that a step has begun, once, whether a layer or its own plan answers it."""
        task.frames.append(inner)
        self.ready.appendleft(task)
        if not self.listening or frame.keeps is not None or type(effect) is not Step or not effect.told:
            return None
        inner.step = effect
        return _told(frame, StepStarted(effect.kind, effect.name))

    def _named(self, frame: Frame, effect: Any) -> str:
        """The path of *effect*: counted in the plan that asks, kept by the handlers that pass it on."""
        name = _name(effect)
        if frame.keeps is None or frame.keeps[0] != name:
            return f"{frame.path}/{name}#{_count(frame, name)}"
        again = _count(frame, "~")
        return f"{frame.keeps[1]}~{again}" if again else frame.keeps[1]

    # What the machine answers itself

    def _emit(self, task: Task, frame: Frame, effect: Emit) -> Turn | None:
        events = effect.events
        if frame.tag and self.listening:
            events = tuple([tagged(event, frame.tag) for event in events])
        self.ready.appendleft(task)
        return (EVENTS, task, events) if events and self.listening else None

    def _step(self, task: Task, frame: Frame, effect: Step[Any]) -> Turn | None:
        path = self._named(frame, effect) if self._placing else ""
        plan = fresh(task.context.run(effect.make_plan))
        tag = _below(frame.tag, effect.name) if effect.kind == "agent" else frame.tag
        return self._enter(task, frame, Frame(plan, path, tag), effect)

    def _here(self, task: Task, _frame: Frame, _effect: Here) -> None:
        task.value = Owner(_plan_frame(task), self.listening, self)
        self.ready.appendleft(task)

    def _start(self, task: Task, _frame: Frame, effect: Start[Any]) -> None:
        owner: Frame = effect.owner.frame if effect.owner is not None else _plan_frame(task)
        if owner.family is None:
            owner.family = Family()
        children = owner.family.children
        key = (_UNNAMED, len(children)) if effect.key is None else effect.key
        handle = children.get(key)
        if handle is None:
            handle = children[key] = self._child(task, owner, owner.family, key, effect)
        elif self._given is None or effect.plan not in self._given:  # else it is the one that runs already
            effect.plan.close()
        task.value = handle
        self.ready.appendleft(task)

    def _child(self, task: Task, owner: Frame, family: Family, key: Hashable, effect: Start[Any]) -> Handle[Any]:
        plan, limit = fresh(effect.plan), effect.limit
        if self._given is None:
            self._given = WeakSet((self.root.frames[0].plan,))
        if plan in self._given:
            raise Misuse("a plan is used once; this one has been started already")
        if owner.ended:
            raise Misuse("a plan cannot be started for an owner that has ended")
        if limit is not None and limit < 1:
            raise Misuse(f"limit= must be at least 1, not {limit}")
        self._given.add(plan)
        name = _key(key)
        again = _count(owner, f"/{name}")
        path = f"{owner.path}/{name}~{again}" if again else f"{owner.path}/{name}"
        handle: Handle[Any] = Handle(path)
        tag = _below(owner.tag, key) if isinstance(key, str) else owner.tag
        child = handle.task = Task(Frame(plan, path, tag), task.context.copy(), owner, handle)
        if limit is not None and (family.queued or family.running >= limit):
            family.queued.append((limit, child))
        else:
            family.running += 1
            self.ready.append(child)
        return handle

    def _join(self, task: Task, _frame: Frame, effect: Join) -> None:
        missing = [handle for handle in effect.handles if handle.outcome is None]
        for handle in missing:
            handle.waiting.append(task)
        task.waits, task.missing = effect.handles, len(missing)
        if not missing:
            self._joined(task)

    # One table for all machines: one that held its own methods would be a cycle, and keep what its run made until the
    # garbage collector comes.
    _ANSWERS: ClassVar[dict[type, Callable[[Any, Task, Frame, Any], Turn | None]]] = {
        Emit: _emit,
        Step: _step,
        Start: _start,
        Join: _join,
        Here: _here,
    }

    def _joined(self, task: Task) -> None:
        """Wake *task*: all that it waits for have ended."""
        task.value, task.waits = tuple([handle.outcome for handle in task.waits]), ()
        self.ready.append(task)

    # How frames, tasks and runs end

    def _ended(self, task: Task, frame: Frame, value: Any, error: Exception | None) -> Turn | None:
        if (broken := self._leave(task, frame)) is not None:
            if not isinstance(broken, Exception):
                raise broken
            value, error = None, broken
        task.frames.pop()
        if not task.frames:
            return self._over(task, Outcome(value, error))
        task.value, task.error = value, error
        self.ready.appendleft(task)
        if frame.step is None:
            return None
        told = "" if error is None else str(error) or type(error).__name__
        return _told(task.frames[-1], StepFinished(frame.step.kind, frame.step.name, told))

    def _over(self, task: Task, outcome: Outcome[Any]) -> Turn | None:
        if task.handle is None or task.owner is None or task.owner.family is None:
            self.outcome = outcome
            self.ready.clear()
            return OVER, None, outcome
        self._settle(task.handle, outcome)
        self._next(task.owner.family)
        return None

    def _settle(self, handle: Handle[Any], outcome: Outcome[Any]) -> None:
        handle.outcome, handle.task = outcome, None
        for task in handle.waiting:
            task.missing -= 1
            if not task.missing and task.frames:
                self._joined(task)
        handle.waiting.clear()

    def _next(self, family: Family) -> None:
        """Let the plans of *family* that wait for their turn begin, first come first served."""
        family.running -= 1
        while family.queued and family.running < family.queued[0][0]:
            family.running += 1
            self.ready.append(family.queued.popleft()[1])

    def _leave(self, task: Task, frame: Frame) -> BaseException | None:
        """Cancel the plans that belong to *frame*, and close what it opened; what went wrong first."""
        frame.ended = True
        broken = None if frame.family is None else self._disband(frame.family)
        while task.channels and task.channels[-1][0] is frame:
            self.dropped.append(("channel", task.channels.pop()[1]))
        return broken

    def _disband(self, family: Family) -> BaseException | None:
        """Cancel those of *family* that have not ended; what went wrong first."""
        family.queued.clear()
        running = [handle.task for handle in family.children.values() if handle.task is not None]
        broken = [error for task in running if (error := self._cancel(task)) is not None]
        return broken[0] if broken else None

    def _cancel(self, task: Task) -> BaseException | None:
        """Close every plan of *task*, innermost first; whatever goes wrong there, all are closed."""
        self.dropped.append(("task", task))
        broken: list[BaseException] = []
        while task.frames:
            ends = self._leave(task, task.frames[-1]), _closed(task, task.frames.pop().plan)
            broken += [error for error in ends if error is not None]
        if task in self.ready:
            self.ready.remove(task)
        if task.handle is not None:
            self._settle(task.handle, Outcome(error=Misuse("the plan was cancelled when what it belonged to ended")))
        return broken[0] if broken else None

    def opened(self, task: Task, channel: Any) -> None:
        """Note that *channel* is closed when the plan that *task* is running ends; a handler's frame does not count."""
        task.channels.append((_plan_frame(task), channel))

    def close(self) -> None:
        """End the run where it stands: close every plan, children first."""
        if self.root.frames and (broken := self._cancel(self.root)) is not None:
            raise broken


def _by_kind(layers: Sequence[Layer]) -> dict[type, tuple[tuple[int, Handler], ...]]:
    """The handlers of each kind of effect with the level of their layer, outermost first."""
    found: dict[type, list[tuple[int, Handler]]] = {}
    for level, layer in enumerate(layers, 1):
        for kind, handler in layer.items():
            found.setdefault(kind, []).append((level, handler))
    return {kind: tuple(handlers) for kind, handlers in found.items()}


def _plan_frame(task: Task) -> Frame:
    """The innermost frame of *task* that is no handler's."""
    return next(frame for frame in reversed(task.frames) if frame.keeps is None)


def _name(effect: Any) -> str:
    kind = type(effect).__name__.lower()
    match kind:
        case "step":
            return f"{effect.kind}:{effect.name}"
        case "call" | "instant":
            return f"call:{effect.name}"
    return kind


def _key(key: Hashable) -> str:
    """*key* as part of a path: short, and the same in every run."""
    match key:
        case str():
            text = key
        case (first, number) if first is _UNNAMED:
            text = f"#{number}"
        case tuple():
            text = "+".join(map(str, key))
        case _:
            text = str(key)
    return text if len(text) <= _LONGEST_KEY else f"{text[:_LONGEST_KEY]}~{crc32(text.encode(errors='replace')):08x}"


def _count(frame: Frame, name: str) -> int:
    """How many times *frame* has asked for *name* before."""
    if frame.counts is None:
        frame.counts = {}
    number = frame.counts.get(name, 0)
    frame.counts[name] = number + 1
    return number


def _closed(task: Task, plan: Plan[Any]) -> BaseException | None:
    """Close *plan*; what went wrong."""
    try:
        task.context.run(plan.close)
    except RuntimeError as error:
        if not getattr(plan, "gi_suspended", False):
            return error
        with suppress(BaseException):  # it asked for something: once more, or its end would be noticed when it is freed
            task.context.run(plan.close)
        return Misuse("a plan asked for something while it was being closed; nothing may be asked in `finally`")
    except BaseException as error:  # noqa: BLE001  # it is raised when all others are closed
        return error
    return None


def _told(frame: Frame, event: Any) -> Turn:
    return EVENTS, None, (tagged(event, frame.tag) if frame.tag else event,)


def _below(tag: str, name: str) -> str:
    return f"{tag}/{name}" if tag and name else tag or name
