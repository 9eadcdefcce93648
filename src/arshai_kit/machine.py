"""Resumes the plans of a run and answers what needs no world; pure.

A driver calls `turn`, and is told what to do next: `EVENTS` are to be shown to whoever is streaming, `WORK` is a leaf
effect to perform, `IDLE` means that every plan waits for an answer, `OVER` that the run has ended. An answer is given
to `turn` only when every plan waits, one at a time: the sequence of (path, answer) determines the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextvars import Context, copy_context
from typing import Any, Final, TypeAlias

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

_IDLE: Turn = (IDLE, None, None)


class Frame:
    """One plan that a task is running: the task's own, a step's, or a handler's."""

    __slots__ = ("children", "counts", "keeps", "level", "limit", "path", "plan", "queued", "running", "step", "tag")

    def __init__(self, plan: Plan[Any], path: str, tag: str, level: int = 0, keeps: str | None = None) -> None:
        self.plan = plan
        self.path = path
        self.tag = tag
        self.level = level  # how many layers stand between this plan and the one that the user wrote
        self.keeps = keeps  # the name of the effect that a handler answers, and passes on under
        self.step: Step[Any] | None = None
        self.counts: dict[str, int] = {}
        self.children: dict[Hashable, Handle[Any]] = {}
        self.queued: deque[Task] = deque()
        self.running = 0


class Task:
    """A stack of frames that is resumed as one; *number* tells its effects apart, so that late answers are known."""

    __slots__ = ("channels", "context", "error", "frames", "handle", "number", "owner", "path", "value", "waits")

    def __init__(self, frame: Frame, context: Context, owner: Frame | None, handle: Handle[Any] | None) -> None:
        self.frames = [frame]
        self.context = context
        self.owner = owner
        self.handle = handle
        self.number = 0
        self.path = ""
        self.value: Any = None
        self.error: BaseException | None = None
        self.waits: tuple[Handle[Any], ...] | None = None
        self.channels: list[tuple[Frame, Any]] = []


class Machine:
    """The plans of one run. *layers* stand outermost first; *listening* says that somebody wants the events."""

    __slots__ = (
        "_answers",
        "_handlers",
        "dropped",
        "listening",
        "naming",
        "outcome",
        "ready",
        "root",
        "tags",
    )

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
        self._handlers = _by_kind(layers)
        self._answers: dict[type, Callable[[Task, Frame, Any], Turn | None]] = {
            Emit: self._emit,
            Step: self._step,
            Start: self._start,
            Join: self._join,
            Here: self._here,
        }

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
        if (handlers := self._handlers.get(kind)) is not None:
            for level, handler in handlers:
                if level > frame.level:
                    return self._handle(task, frame, effect, level, handler)
        answer = self._answers.get(kind)
        if answer is not None:
            return answer(task, frame, effect)
        if not isinstance(effect, Effect):
            task.error = Misuse(f"a plan yields effects, not {kind.__name__}; is a `yield from` missing?")
            self.ready.appendleft(task)
            return None
        task.number += 1
        if self.naming:
            task.path = self._named(frame, effect)
        return WORK, task, effect

    def _handle(self, task: Task, frame: Frame, effect: Any, level: int, handler: Handler) -> Turn | None:
        """Let *handler* answer *effect* in a frame of its own."""
        path = self._named(frame, effect)
        self.ready.appendleft(task)
        try:
            plan = fresh(task.context.run(handler, effect, Where(path, self.tags)))
        except Exception as raised:  # noqa: BLE001  # a handler that fails at once fails like one that fails later
            task.error = raised
            return None
        inner = Frame(plan, f"{path}/layer:{level}", frame.tag, level, path)
        task.frames.append(inner)
        return self._begun(frame, inner, effect)

    def _named(self, frame: Frame, effect: Any) -> str:
        """The path of *effect*: counted in the plan that asks, kept by the handlers that pass it on."""
        name = _name(effect)
        if frame.keeps is not None and frame.keeps.rpartition("/")[2].rpartition("#")[0] == name:
            path = frame.keeps
        else:
            number = frame.counts.get(name, 0)
            frame.counts[name] = number + 1
            return f"{frame.path}/{name}#{number}"
        again = frame.counts.get("~", 0)
        frame.counts["~"] = again + 1
        return f"{path}~{again}" if again else path

    # What the machine answers itself

    def _emit(self, task: Task, frame: Frame, effect: Emit) -> Turn | None:
        self.ready.appendleft(task)
        if not self.listening or not effect.events:
            return None
        events = effect.events
        if frame.tag:
            events = tuple([tagged(event, frame.tag) for event in events])
        return EVENTS, task, events

    def _step(self, task: Task, frame: Frame, effect: Step[Any]) -> Turn | None:
        path = self._named(frame, effect)
        self.ready.appendleft(task)
        try:
            plan = fresh(task.context.run(effect.make_plan))
        except Exception as raised:  # noqa: BLE001  # a plan that cannot be made is a step that failed
            task.error = raised
            return None
        inner = Frame(plan, path, _below(frame.tag, effect.name) if effect.kind == "agent" else frame.tag)
        task.frames.append(inner)
        return self._begun(frame, inner, effect)

    def _begun(self, frame: Frame, inner: Frame, effect: Any) -> Turn | None:
        """Tell that a step has begun, once, whether a layer or its own plan answers it."""
        if not self.listening or frame.keeps is not None or type(effect) is not Step:
            return None
        inner.step = effect
        return _told(frame, StepStarted(effect.kind, effect.name))

    def _here(self, task: Task, frame: Frame, effect: Here) -> None:
        task.value = Owner(_plan_frame(task))
        self.ready.appendleft(task)

    def _start(self, task: Task, frame: Frame, effect: Start[Any]) -> None:
        owner = effect.owner.frame if effect.owner is not None else _plan_frame(task)
        key = len(owner.children) if effect.key is None else effect.key
        handle = owner.children.get(key)
        if handle is None:
            handle = owner.children[key] = self._child(task, owner, key, effect)
        else:
            effect.plan.close()
        task.value = handle
        self.ready.appendleft(task)

    def _child(self, task: Task, owner: Frame, key: Hashable, effect: Start[Any]) -> Handle[Any]:
        path = f"{owner.path}/{_key(key)}"
        handle: Handle[Any] = Handle(path)
        tag = _below(owner.tag, key) if isinstance(key, str) else owner.tag
        child = Task(Frame(fresh(effect.plan), path, tag), task.context.copy(), owner, handle)
        handle.task = child
        if effect.limit is not None and owner.running >= effect.limit:
            owner.queued.append(child)
        else:
            owner.running += 1
            self.ready.append(child)
        return handle

    def _join(self, task: Task, frame: Frame, effect: Join) -> None:
        task.waits = effect.handles
        for handle in effect.handles:
            if handle.outcome is None:
                handle.waiting.append(task)
        self._joined(task)

    def _joined(self, task: Task) -> None:
        """Wake *task* if all that it waits for have ended."""
        if task.waits is not None and task.frames and all(handle.outcome is not None for handle in task.waits):
            task.value, task.waits = tuple([handle.outcome for handle in task.waits]), None
            self.ready.append(task)

    # How frames, tasks and runs end

    def _ended(self, task: Task, frame: Frame, value: Any, error: Exception | None) -> Turn | None:
        try:
            self._leave(task, frame)
        except Misuse as broken:
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
        if task.handle is None:
            self.outcome = outcome
            self.ready.clear()
            return OVER, None, outcome
        self._settle(task.handle, outcome)
        if task.owner is not None:
            self._next(task.owner)
        return None

    def _settle(self, handle: Handle[Any], outcome: Outcome[Any]) -> None:
        handle.outcome, handle.task = outcome, None
        for waiting in handle.waiting:
            self._joined(waiting)

    def _next(self, owner: Frame) -> None:
        """Let the next plan of *owner* that waits for its turn begin."""
        if owner.queued:
            self.ready.append(owner.queued.popleft())
        else:
            owner.running -= 1

    def _leave(self, task: Task, frame: Frame) -> None:
        """Cancel the plans that belong to *frame*, and close what it opened."""
        broken: Misuse | None = None
        frame.queued.clear()
        for handle in tuple(frame.children.values()):
            if handle.task is not None:
                try:
                    self._cancel(handle.task)
                except Misuse as error:
                    broken = error
        while task.channels and task.channels[-1][0] is frame:
            self.dropped.append(("channel", task.channels.pop()[1]))
        if broken is not None:
            raise broken

    def _cancel(self, task: Task) -> None:
        """Close every plan of *task*, innermost first."""
        self.dropped.append(("task", task))
        broken: Misuse | None = None
        while task.frames:
            frame = task.frames[-1]
            try:
                self._leave(task, frame)
                task.context.run(frame.plan.close)
            except Misuse as error:
                broken = error
            except RuntimeError as error:
                broken = Misuse(f"a plan did not end when it was closed ({error}); nothing may be asked in `finally`")
            task.frames.pop()
        if task in self.ready:
            self.ready.remove(task)
        if task.handle is not None:
            self._settle(task.handle, Outcome(error=Misuse("the plan was cancelled when what it belonged to ended")))
        if broken is not None:
            raise broken

    def opened(self, task: Task, channel: Any) -> None:
        """Note that *channel* is closed when the plan that *task* is running ends; a handler's frame does not count."""
        task.channels.append((_plan_frame(task), channel))

    def close(self) -> None:
        """End the run where it stands: close every plan, children first."""
        self.ready.clear()
        if self.root.frames:
            self._cancel(self.root)


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
        case "call":
            return f"call:{effect.name}"
    return kind


def _key(key: Hashable) -> str:
    return key if isinstance(key, str) else "+".join(map(str, key)) if isinstance(key, tuple) else f"#{key}"


def _told(frame: Frame, event: Any) -> Turn:
    return EVENTS, None, (tagged(event, frame.tag) if frame.tag else event,)


def _below(tag: str, name: str) -> str:
    return f"{tag}/{name}" if tag else name
