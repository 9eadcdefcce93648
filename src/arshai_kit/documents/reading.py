"""Documents read: a file, an address, bytes, or all that is found, one after the other, within limits."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from arshai_kit.documents.finding import Source, find, inside, is_single, logged, what
from arshai_kit.documents.isolating import isolated
from arshai_kit.documents.parsing import extracted, parsed
from arshai_kit.documents.records import Document, Found, Limits, Unreadable
from arshai_kit.effects import Call, Plan
from arshai_kit.errors import ArshaiError, BadDocument, DocumentTooLarge, Misuse
from arshai_kit.faces import blocking
from arshai_kit.fetching import fetch
from arshai_kit.records import File

__all__ = ["content", "load", "read"]

_LIMITS: Final = Limits()
_TRIES: Final = 3
_STEP: Final = 8 * 1024 * 1024


def load(
    source: Source,
    *,
    limits: Limits = _LIMITS,
    unreadable: Callable[[Unreadable], Any] = logged,
) -> Iterator[Document]:
    """The documents at *source*, each read when it is asked for.

    *source* is a path, an address (`https://…`), a folder, a pattern (`"docs/**/*.md"`), or bytes. What is wrong with
    one document is raised; in a folder, or where a pattern matches, it is given to *unreadable*, which logs it, and the
    others go on.
    """
    if not callable(unreadable):
        raise Misuse(f"unreadable= is a function of an Unreadable, not {type(unreadable).__name__}")
    found = find(source, unreadable=unreadable)
    return (read(each, limits=limits) for each in found) if is_single(source) else _all(found, limits, unreadable)


def _all(found: Iterator[Found], limits: Limits, unreadable: Callable[[Unreadable], Any]) -> Iterator[Document]:
    for each in found:
        try:
            document = read(each, limits=limits)
        except (ArshaiError, ImportError) as error:
            unreadable(Unreadable(each.source, error))
        else:
            yield document


@blocking
def read(source: Source, *, limits: Limits = _LIMITS) -> Plan[Document]:
    """The one document at *source*: a path, an address, bytes, or what `find` has found.

    What lies at an address is fetched as `arshai_kit.fetching.fetch` does: from public addresses alone, within the
    size and the seconds of *limits*, and nothing of yours goes along.
    """
    found = _one(source)
    if found.url:
        part = yield from fetch.plan(File(b"", found.url), deadline=limits.seconds, max_body=limits.size)
        return (yield from Call(_parsed, part.data, found.source, part.media_type, limits))
    if found.path:
        return (yield from Call(_read, found, limits))
    return (yield from Call(_parsed, found.data, found.source, "", limits))


def _one(source: Source) -> Found:
    found = find(source)
    if not is_single(source):
        raise Misuse(f"{source!r} is not one document: load(…) gives all that there are")
    return next(found)


def _parsed(data: bytes, source: str, media_type: str, limits: Limits) -> Document:
    return parsed(data, source, media_type, limits, isolated if limits.isolated else extracted)


def content(found: Found, *, limits: Limits = _LIMITS) -> bytes:
    """The bytes of what `find` has found, which is no address: they tell whether it has changed, before it is read."""
    if not found.path:
        return found.data
    try:
        return _bytes(found, limits)
    except OSError as error:
        raise _error(found, f"cannot be opened: {error.strerror}") from None


def _read(found: Found, limits: Limits) -> Document:
    """The document in a file, which is read first: nothing else has it open when it is looked into."""
    return _parsed(content(found, limits=limits), found.source, "", limits)


def _bytes(found: Found, limits: Limits) -> bytes:
    """All bytes of a file, as they stood there at one time."""
    for _ in range(_TRIES):
        # Not waited for: a pipe without a writer would be for ever.
        file = os.open(found.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            before = os.fstat(file)
            _check(found, before, limits)
            data = _contents(file, before.st_size, limits.size)
            if len(data) > limits.size:
                raise _large(found, len(data), limits)
            if _mark(os.fstat(file)) == _mark(before):
                return data
        finally:
            os.close(file)
    raise _error(found, "changes while it is read")


def _check(found: Found, it: os.stat_result, limits: Limits) -> None:
    """Refuse what is no file, is too large, or is not where it was found."""
    if not stat.S_ISREG(it.st_mode):
        raise _error(found, f"is {what(it.st_mode)}, and no file")
    if it.st_size > limits.size:
        raise _large(found, it.st_size, limits)
    if found.within and not (inside(found.path, found.within) and os.path.samestat(Path(found.path).stat(), it)):
        raise _error(found, "has become a symbolic link that leads out of the folder")


def _contents(file: int, size: int, most: int) -> bytes:
    """What is in *file*, up to one byte more than *most*."""
    pieces = []
    left = min(most, size) + 1
    while left > 0 and (piece := os.read(file, min(left, _STEP))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _mark(it: os.stat_result) -> tuple[int, int]:
    """What changes where a file does."""
    return it.st_size, it.st_mtime_ns


def _large(found: Found, size: int, limits: Limits) -> DocumentTooLarge:
    why = f"it has {size:,} bytes or more, and at most {limits.size:,} are read: size= of Limits"
    return DocumentTooLarge(f"{found.source} cannot be read: {why}", source=found.source)


def _error(found: Found, why: str) -> BadDocument:
    return BadDocument(f"{found.source} {why}", source=found.source)
