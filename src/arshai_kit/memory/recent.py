"""What has just been read need not be read again: a conversation only grows, so what is new in it stands at its end."""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from typing import Final

from arshai_kit.memory.encoding import joined
from arshai_kit.records import Message
from arshai_kit.resilience.forks import wait_in_forks

__all__ = ["Recent"]

_MOST: Final = 8 * 1024 * 1024
"""So many bytes of records are held at most; their messages take about three times as much."""
_EACH: Final = 1000


class Recent:
    """The messages of the conversations that were read last, and the records that they were read from.

    What is held is used only as far as its records are those that were found now, byte for byte: it is never wrong.
    """

    def __init__(self, most: int = _MOST) -> None:
        self.most, self.bytes = most, 0
        self._held: OrderedDict[str, tuple[list[bytes], tuple[Message, ...], int]] = OrderedDict()
        self.forked()
        wait_in_forks(self)

    def forked(self) -> None:
        """Have a lock that nobody holds."""
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._held)

    def joined(self, records: list[bytes], key: str) -> tuple[Message, ...]:
        """The messages of *records*, which were found under *key*.

        >>> Recent().joined([b'[1,{"role":"user","text":"Hello"}]'], "ann")
        (Message('user', parts=(Text('Hello'),)),)
        """
        with self._lock:
            known, messages, _ = self._held.get(key, _NOTHING)
        if known and records[: len(known)] == known:
            if len(records) > len(known):
                messages += joined(records[len(known) :], key)
        else:
            messages = joined(records, key)
        self._hold(key, records, messages)
        return messages

    def drop(self, key: str) -> None:
        """Hold nothing of *key*."""
        with self._lock:
            self.bytes -= self._held.pop(key, _NOTHING)[2]

    def _hold(self, key: str, records: list[bytes], messages: tuple[Message, ...]) -> None:
        size = sum(map(len, records)) + _EACH
        with self._lock:
            self.drop(key)
            if size > self.most // 2 or not records:
                return
            self._held[key] = records, messages, size
            self.bytes += size
            while self.bytes > self.most:
                self.drop(next(iter(self._held)))


_NOTHING: Final[tuple[list[bytes], tuple[Message, ...], int]] = [], (), 0
