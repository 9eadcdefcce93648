"""Recordings of runs: what the world answered, in order; a replay is a driver that reads it instead of acting."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Final

from arshai_kit._json import dumps, exact
from arshai_kit.codec import from_plain, to_plain
from arshai_kit.effects import Halt, Outcome
from arshai_kit.errors import Diverged, Misuse
from arshai_kit.machine import EVENTS, IDLE, WORK, Machine, Task
from arshai_kit.records import Event, Finished
from arshai_kit.scope import Scope
from arshai_kit.testing._asks import answer_data, answer_of, ask_data, difference, masked, same, secrets_of
from arshai_kit.testing._block import Block
from arshai_kit.testing._values import data_of, value_of
from arshai_kit.testing.errors import error_data, error_of

__all__ = ["recorded", "replayed"]

_VERSION: Final = 1
_Source = str | os.PathLike[str]
_Entry = dict[str, Any]
_Replay = Generator[tuple[Event, ...], None, Outcome[Any]]


class recorded(Block):  # noqa: N801  # reads as the statement that it makes: `with recorded(path):`
    """Write down what the world answers to the runs inside the block, for `replayed`.

    The recording is a file of JSON lines, one an answer, written when the block ends. It replaces an older one at
    *path*, as a whole and only when the block does not fail; where there is none yet, what led to the failure is kept.
    Keys are not in it: headers that carry them are left out, and where else they occur they are replaced by `***`. The
    runs that a tool starts itself are part of that tool's answer.

    >>> import tempfile
    >>> from random import random
    >>> from arshai_kit import run
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with recorded(f"{folder}/run.jsonl"):
    ...         first = run(random)
    ...     with replayed(f"{folder}/run.jsonl"):
    ...         run(random) == first
    True
    """

    def __init__(self, path: _Source) -> None:
        super().__init__()
        self._path = Path(path)
        self._lock = Lock()
        self._runs = 0
        self._entries: list[_Entry] = []
        self._secrets: set[str] = set()

    def _changes(self, outer: Scope) -> dict[str, Any]:  # noqa: ARG002  # every block is given it
        if not self._path.parent.is_dir():
            raise Misuse(f"there is no folder {str(self._path.parent)!r} to put the recording in")
        return {"world": self}

    def recorder(self) -> Callable[[str, Any, Any, BaseException | None], None]:
        """What notes the answers of one run, the next."""
        with self._lock:
            self._runs += 1
            return partial(self._note, self._runs)

    def replay(self, _machine: Machine) -> None:
        """Nothing is replayed here: the run is driven by the real world."""

    def _note(self, run: int, path: str, effect: Any, value: Any, error: BaseException | None) -> None:
        if effect is None:
            self._entries.append({"run": run, "told": [to_plain(event) for event in value]})
            return
        told = {"error": error_data(error, data_of)} if isinstance(error, Exception) else {}
        entry = {"run": run, "at": path, "asks": ask_data(effect)}
        self._entries.append(entry | (told or {"answer": answer_data(effect, value)}))
        self._secrets |= secrets_of(effect)

    def _end(self, *, failed: bool) -> None:
        if failed and self._path.exists():
            return
        lines = [{"recording": "arshai_kit", "v": _VERSION, "runs": self._runs}, *masked(self._entries, self._secrets)]
        _write(self._path, b"".join([dumps(line) + b"\n" for line in lines]))


def _write(path: Path, data: bytes) -> None:
    """Put *data* in place at once: who reads finds the old file or the new one, whole."""
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}")  # `tempfile` makes files that only we can read
    try:
        with beside.open("xb") as file:
            file.write(data)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


class replayed(Block):  # noqa: N801  # reads as the statement that it makes: `with replayed(path):`
    """Let the runs inside the block, in their order, be answered by what `recorded` wrote; nothing is performed.

    Results and events come as they were recorded. A run that asks for something else, or for more or less, ends with
    `Diverged`, which no plan can catch; so does a block that leaves answers over.

    >>> import tempfile
    >>> from arshai_kit import run
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with recorded(f"{folder}/run.jsonl"):
    ...         run(len, "recorded")
    ...     with replayed(f"{folder}/run.jsonl"):
    ...         run(len, "another")
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Diverged: run 1 asks otherwise at /call:len#0: args[0] is "another", recorded "recorded"
    """

    def __init__(self, path: _Source) -> None:
        super().__init__()
        self._path = Path(path)
        self._lock = Lock()
        self._begun = 0
        self._runs: dict[int, deque[_Entry]] = {}
        self._diverged: Diverged | None = None

    def _changes(self, outer: Scope) -> dict[str, Any]:  # noqa: ARG002  # every block is given it
        self._runs = _read(self._path)
        return {"world": self}

    def recorder(self) -> None:
        """Nothing is recorded here."""

    def replay(self, machine: Machine) -> _Replay:
        """The events of the next run, whose answers are those of *machine*'s questions in the recording."""
        with self._lock:
            self._begun += 1
            number = self._begun
        return self._watched(_replay(machine, number, self._runs.get(number), len(self._runs)))

    def _watched(self, events: _Replay) -> _Replay:
        try:
            return (yield from events)
        except Halt as halt:
            if isinstance(halt.error, Diverged):
                self._diverged = halt.error
            raise

    def _end(self, *, failed: bool) -> None:
        if failed:
            return
        if self._diverged is not None:
            raise self._diverged
        for number, left in self._runs.items():
            if left:
                raise Diverged(f"{len(left)} answers of run {number} are left over in {self._path}: {_next(left)}")
        if self._begun < len(self._runs):
            raise Diverged(f"{self._path} holds {len(self._runs)} runs, and {self._begun} have begun")


def _read(path: Path) -> dict[int, deque[_Entry]]:
    """The answers of each run that the recording at *path* holds."""
    try:
        lines = path.read_text("utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise Misuse(f"there is no recording {str(path)!r}: run this inside testing.recorded(…) first") from None
    header, *entries = [_line(path, number, line) for number, line in enumerate(lines, 1)]
    if header.get("recording") != "arshai_kit":
        raise Misuse(f"{str(path)!r} is no recording: its first line does not say so")
    if header.get("v") != _VERSION:
        raise Misuse(f"{str(path)!r} is of format {header.get('v')!r}, known is {_VERSION}: record anew, or upgrade")
    runs: dict[int, deque[_Entry]] = {number: deque() for number in range(1, header.get("runs", 0) + 1)}
    for entry in entries:
        runs.setdefault(entry["run"], deque()).append(entry)
    return runs


def _line(path: Path, number: int, text: str) -> _Entry:
    try:
        entry = exact(text)
    except ValueError as error:
        raise Misuse(f"line {number} of {str(path)!r} is no JSON: {error}") from error
    if not isinstance(entry, dict) or (number > 1 and not ("run" in entry and ("told" in entry or "at" in entry))):
        raise Misuse(f"line {number} of {str(path)!r} is no answer of a run")
    return entry


# The driver


def _replay(machine: Machine, number: int, entries: deque[_Entry] | None, runs: int) -> _Replay:
    if entries is None:
        raise _diverged(f"the recording holds {runs} runs, and this is run {number}")
    waiting: dict[str, tuple[Task, Any]] = {}
    what, task, payload = machine.turn()
    while True:
        _forget(machine, waiting)
        if what is WORK:
            waiting[task.path] = task, payload
            what, task, payload = machine.turn()
        elif what is EVENTS:
            if type(payload[-1]) is Finished:
                yield from _told(entries)
            yield payload
            what, task, payload = machine.turn()
        elif what is IDLE:
            yield from _told(entries)
            what, task, payload = machine.turn(*_answer(number, entries, waiting))
        elif entries:
            raise _diverged(f"run {number} has ended, and the recording goes on: {_next(entries)}", payload.error)
        else:
            return payload  # type: ignore[no-any-return]  # the machine ends with an Outcome


def _forget(machine: Machine, waiting: dict[str, tuple[Task, Any]]) -> None:
    """Nobody waits for what the machine has cancelled."""
    while machine.dropped:
        _, dropped = machine.dropped.popleft()
        for path in [path for path, (task, _) in waiting.items() if task is dropped]:
            del waiting[path]


def _told(entries: deque[_Entry]) -> Generator[tuple[Event, ...], None, None]:
    """What the background told at this place."""
    while entries and "told" in entries[0]:
        yield tuple([from_plain(event) for event in entries.popleft()["told"]])


def _answer(
    number: int, entries: deque[_Entry], waiting: dict[str, tuple[Task, Any]]
) -> tuple[Task, Any, Exception | None]:
    """The task that is answered next, with its value or its error."""
    asked = "; ".join([f"{path} ({_asked(effect)})" for path, (_, effect) in waiting.items()]) or "nothing"
    if not entries:
        raise _diverged(f"the recording of run {number} ends here, and the run asks: {asked}")
    at = entries[0]["at"]
    path = next((path for path in waiting if same(at, path)), None)
    if path is None:
        raise _diverged(f"run {number} asks: {asked}; the recording goes on with {_next(entries)}")
    entry = entries.popleft()
    task, effect = waiting.pop(path)
    if found := _different(entry["asks"], ask_data(effect)):
        raise _diverged(f"run {number} asks otherwise at {path}: {found}")
    try:
        if "error" in entry:
            return task, None, error_of(entry["error"], value_of)
        return task, answer_of(effect, entry["answer"]), None
    except (LookupError, TypeError, ValueError) as error:
        raise Halt(Misuse(f"the recording of run {number} is broken at {path}: {error!r}")) from error


def _different(recorded: _Entry, asked: _Entry) -> str:
    """How *asked* differs; headers do not count: they tell of versions and machines."""
    ignored = {"headers"}
    old, new = ({name: each for name, each in data.items() if name not in ignored} for data in (recorded, asked))
    return difference(old, new)


def _asked(effect: Any) -> str:
    data = ask_data(effect)
    return " ".join([str(data[name]) for name in ("effect", "method", "url", "function", "seconds") if name in data])


def _next(entries: deque[_Entry]) -> str:
    entry = entries[0]
    return f"{entry['at']} ({entry['asks'].get('effect')})" if "at" in entry else "what the background told"


def _diverged(message: str, cause: BaseException | None = None) -> Halt:
    error = Diverged(message)
    error.__cause__ = cause
    return Halt(error)
