"""Where documents come from: what there is, and which sources of an index would be among it if they still were."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from stat import S_ISDIR
from typing import Any, Final, TypeAlias

from arshai_kit.documents import Document, Found, Unreadable, find
from arshai_kit.errors import BadDocument, Misuse

__all__ = ["Source", "Within", "found", "is_gone", "listable", "within"]

Source: TypeAlias = "str | os.PathLike[str] | bytes | Document | Found | Iterable[Any]"
Within: TypeAlias = Callable[[str], bool]
"""Whether a source is one that a place, if it were read now, might hold."""

_ADDRESS: Final = re.compile("https?://", re.IGNORECASE)
_MAGIC: Final = re.compile(r"[*?\[]")
_PARTS: Final = re.compile(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", re.DOTALL)


def found(
    source: Any, unreadable: Callable[[Unreadable], Any], may_be_empty: Callable[[Within], bool]
) -> Iterator[Found | Document]:
    """The documents of *source*, one after the other; paths are absolute, so that they name one thing wherever one is.

    What cannot be listed is told to *unreadable*. Where nothing is, an error says so, unless it *may be empty*.
    """
    if isinstance(source, Document | Found):
        if not source.source:
            raise Misuse("a document that is ingested says where it is from: its source is empty")
        yield source
    elif isinstance(source, bytes):
        raise Misuse("bytes have no name: ingest a Document of them, as parse(data, 'a.md') gives it")
    elif isinstance(source, str | os.PathLike):
        try:
            yield from find(_absolute(source), unreadable=unreadable)
        except BadDocument:
            if not may_be_empty(within(source)):
                raise
    elif isinstance(source, Iterable) and not isinstance(source, Mapping):
        for each in source:
            yield from found(each, unreadable, may_be_empty)
    else:
        kind = type(source).__name__
        raise Misuse(f"ingest takes a folder, a path, a pattern, a URL, documents, or several of these, not {kind}")


def listable(source: Any) -> bool:
    """Whether *source* can be listed at once: places, and what is in memory; anything else comes as it comes."""
    return isinstance(source, str | os.PathLike | list | tuple | Document | Found)


def _absolute(source: str | os.PathLike[str]) -> str:
    """*source* as a path that is one wherever one is; what is none is left for `find` to refuse."""
    text = os.fspath(source)
    no_path = not text or ("://" in text and not Path(text).exists())
    return text if no_path or _ADDRESS.match(text) else os.path.normpath(Path(text).absolute())


def within(source: Any) -> Within:
    """Whether a path lies in a folder, or fits a pattern, that *source* is or holds; one file holds no other.

    >>> inside = within("/docs/**/*.md")
    >>> inside("/docs/a/b.md"), inside("/docs/b.md"), inside("/docs/b.txt"), inside("/other/b.md")
    (True, True, False, False)
    """
    if isinstance(source, list | tuple):
        several = [within(each) for each in source]
        return lambda path: any(inside(path) for inside in several)
    if not isinstance(source, str | os.PathLike):
        return _nothing
    place = _absolute(source)
    if _ADDRESS.match(place):
        return _nothing
    if Path(place).is_dir():
        folder = place.rstrip(os.sep) + os.sep
        return lambda path: path.startswith(folder)
    if not _MAGIC.search(place) or Path(place).exists():
        return _nothing
    pattern = re.compile("".join([_translated(part) for part in _PARTS.findall(place)]), re.DOTALL)
    return lambda path: pattern.fullmatch(path) is not None


def _nothing(_: str) -> bool:
    return False


def _translated(part: str) -> str:
    """A part of a pattern for paths, as one for texts."""
    match part:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    if part.startswith("[") and len(part) > 1:
        return f"[{'^' if part[1] == '!' else ''}{re.escape(part[1:-1].lstrip('!'))}]".replace(r"\-", "-")
    return re.escape(part)


def is_gone(path: str) -> bool:
    """Whether there is no file at *path* any more; one that cannot be looked at may be there."""
    try:
        return S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
