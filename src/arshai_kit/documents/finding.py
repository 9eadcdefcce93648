"""What documents there are: files in a folder, always in the same order, and none from outside of it."""

from __future__ import annotations

# ruff: noqa: PTH110, PTH112, PTH114, PTH116, PTH118, PTH208 -- a source is the path as it was given; Path changes it
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final, TypeAlias

from arshai_kit.documents.records import Found, Unreadable
from arshai_kit.errors import BadDocument, Misuse

__all__ = ["Source", "find", "inside", "is_single", "logged", "what"]

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Found"
"""A path, an address, a folder, a pattern of paths, the bytes of a document, or what `find` has found."""

_LOG: Final = logging.getLogger("arshai_kit.documents")
_TAKEN: Final = "pass a path, a folder, a pattern such as 'docs/**/*.md', an address with https://, or bytes"


def logged(unreadable: Unreadable) -> None:
    """Log what could not be read; it is not read, and the others are."""
    _LOG.warning("%s", unreadable.error)


def find(source: Source, *, unreadable: Callable[[Unreadable], Any] = logged) -> Iterator[Found]:
    """What documents there are at *source*, one after the other, in the same order each time.

    A folder is searched with all in it, in the order of the names; what is hidden (its name begins with a dot) is left
    out. What there is but cannot be read is given to *unreadable*: a folder that may not be opened, a symbolic link
    that leads out of the folder, what is no file. Where there is nothing to be found, `BadDocument` says so.
    """
    match source:
        case Found():
            return iter((source,))
        case bytes() | bytearray() | memoryview():
            data = bytes(source)
            return iter((Found("", data=data, size=len(data)),))
        case str() | os.PathLike():
            return _named(source, unreadable)
    raise Misuse(f"a {type(source).__name__} is no source of documents: {_TAKEN}")


def is_single(source: Source) -> bool:
    """Whether *source* is one document, so that what is wrong with it is raised."""
    if not isinstance(source, str | os.PathLike):
        return True
    path = os.fspath(source)
    return _is_url(path) or (os.path.lexists(path) and not os.path.isdir(path))


def _is_url(path: str) -> bool:
    return path[:8].lower().startswith(("http://", "https://"))


def _named(source: str | os.PathLike[str], unreadable: Callable[[Unreadable], Any]) -> Iterator[Found]:
    path = os.fspath(source)
    if not isinstance(path, str):
        raise Misuse(f"a path is text, not {type(path).__name__}: {_TAKEN}")
    if _is_url(path):
        return iter((Found(path, url=path),))
    if not path or "\0" in path or "\n" in path:
        raise Misuse(f"{path[:80]!r} is no path: {_TAKEN}; a text itself is cut into chunks by chunk(text)")
    if "://" in path and not os.path.exists(path):
        raise Misuse(f"{path.partition('://')[0][:20]}:// is not taken: {_TAKEN}")
    if os.path.isdir(path):
        return _some(_walked(path, ("**", "*"), unreadable), path, "holds no documents")
    if os.path.lexists(path):
        return iter((Found(_shown(path), path=path, size=_size(path)),))
    if any(each in path for each in "*?["):
        return _some(_walked(*_split(path), unreadable), path, "matches no files")
    raise BadDocument(f"there is no {_shown(path)}", source=_shown(path))


def _size(path: str) -> int | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _some(found: Iterator[Found], path: str, otherwise: str) -> Iterator[Found]:
    """All of *found*; an error where there is none."""
    nothing = True
    for each in found:
        nothing = False
        yield each
    if nothing:
        raise BadDocument(f"{_shown(path)} {otherwise}", source=_shown(path))


def _shown(path: str) -> str:
    """*path* as text that can be written anywhere, also where a name is no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


# Folders


def _split(pattern: str) -> tuple[str, tuple[str, ...]]:
    """The folder in which *pattern* begins to be one, and the names that lead on from there.

    >>> _split("docs/**/*.md"), _split("*.md")
    (('docs/', ('**', '*.md')), ('', ('*.md',)))
    """
    names = pattern.split("/")
    first = next(place for place, name in enumerate(names) if any(each in name for each in "*?["))
    return "".join(f"{name}/" for name in names[:first]), tuple([name for name in names[first:] if name])


def _walked(folder: str, names: tuple[str, ...], unreadable: Callable[[Unreadable], Any]) -> Iterator[Found]:
    """The files below *folder* to which *names* lead, in the order of their names; what is open is kept in a list."""
    within = os.path.realpath(folder or ".")
    todo = [_listed(folder, _ahead({0}, names), unreadable)]
    while todo:
        path, name, places = next(todo[-1], ("", "", frozenset[int]()))
        after = _after(name, places, names)
        if not name:
            todo.pop()
        elif not after:
            continue
        elif os.path.isdir(path) and not os.path.islink(path):
            todo.append(_listed(path, after, unreadable))
        elif len(names) in after and (found := _file(path, within, unreadable)):
            yield found


def _listed(
    folder: str, places: frozenset[int], unreadable: Callable[[Unreadable], Any]
) -> Iterator[tuple[str, str, frozenset[int]]]:
    """The paths and names in *folder*, in their order, each with *places*."""
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError as error:
        unreadable(_unreadable(folder, f"cannot be opened: {error.strerror}"))
        return
    for name in names:
        yield os.path.join(folder, name), name, places


def _ahead(places: Iterable[int], names: tuple[str, ...]) -> frozenset[int]:
    """*places* in the pattern *names*, and those that follow because `**` may stand for nothing."""
    found = set(places)
    for place, name in enumerate(names):
        if place in found and name == "**":
            found.add(place + 1)
    return frozenset(found)


def _after(name: str, places: frozenset[int], names: tuple[str, ...]) -> frozenset[int]:
    """Where in the pattern *names* the *name* leads from *places*: nowhere, if it does not match.

    >>> sorted(_after("a", frozenset({0, 1}), ("**", "*.md")))
    [0, 1]
    >>> sorted(_after("b.md", frozenset({0, 1}), ("**", "*.md")))
    [0, 1, 2]
    """
    on = set()
    for place in places:
        if place < len(names) and (names[place].startswith(".") or not name.startswith(".")):
            if names[place] == "**":
                on.add(place)
            elif fnmatchcase(name, names[place]):
                on.add(place + 1)
    return _ahead(on, names)


def _file(path: str, within: str, unreadable: Callable[[Unreadable], Any]) -> Found | None:
    """The file at *path*, if it is one and lies *within* that folder."""
    try:
        if os.path.islink(path):
            if os.path.isdir(path) and (inside(path, within) or os.path.realpath(path) == within):
                return None  # what is in it is found where it lies
            if not inside(path, within):
                raise BadDocument("is a symbolic link that leads out of the folder")
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise BadDocument(f"is {what(found.st_mode)}")
    except OSError as error:
        unreadable(_unreadable(path, f"cannot be opened: {error.strerror}"))
    except BadDocument as error:
        unreadable(_unreadable(path, str(error)))
    else:
        return Found(_shown(path), path=path, size=found.st_size, within=within)
    return None


def inside(path: str, within: str) -> bool:
    """Whether *path*, once all links are followed, lies in the folder *within*, of which that has been done."""
    real = os.path.realpath(path)
    return real.startswith(within if within.endswith(os.sep) else within + os.sep)


def what(mode: int) -> str:
    """What a thing of this *mode* is that is no file."""
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for is_one, name in kinds if is_one(mode)), "a device")


def _unreadable(path: str, why: str) -> Unreadable:
    source = _shown(path)
    return Unreadable(source, BadDocument(f"{source} {why}", source=source))
