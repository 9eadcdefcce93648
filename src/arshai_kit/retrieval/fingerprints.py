"""What tells one state of a document from another: its bytes, and how they are cut and embedded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

from arshai_kit._record import Record

__all__ = ["entry_ids", "how_of", "mark", "mark_of", "named", "parts_of"]


def mark(*texts: str, length: int = 24) -> str:
    """A short name of *texts*, which tells them from any others.

    >>> mark("a", "b") == mark("a", "b") != mark("ab")
    True
    """
    data = b"".join([b"%d:%b" % (len(each), each) for each in (t.encode("utf-8", "surrogatepass") for t in texts)])
    return sha256(data).hexdigest()[:length]


def mark_of(source: str, content: str, how: str) -> str:
    """The fingerprint of a document, without how many chunks it has.

    >>> mark_of("a.md", "2cf2", "0123456789ab")
    '74ba7c202162728e-9adcfe8b100ed86a1bb48f6d-0123456789ab'
    """
    return f"{mark(source, length=16)}-{mark(content)}-{how}"


def how_of(*values: Any) -> str:
    """A short name of the chunker, the embedder, and whatever else makes entries of documents."""
    return mark(*[named(each) for each in values], length=12)


def parts_of(fingerprint: str) -> tuple[str, str, int]:
    """What `mark_of` gave, how it was made, and how many chunks there are: nothing where it is not one of ours.

    >>> parts_of("5e5f-d3e4-0123-12"), parts_of("what somebody else wrote")
    (('5e5f-d3e4-0123', '0123', 12), ('', '', 0))
    """
    made, _, count = fingerprint.rpartition("-")
    parts = made.split("-")
    return (made, parts[-1], int(count)) if len(parts) == 3 and count.isdecimal() else ("", "", 0)


def entry_ids(source: str, texts: Iterable[str]) -> Iterator[str]:
    """The ids of a document's chunks: by its source, their text, and which among equals each is.

    >>> one, two, three = entry_ids("a.md", ["x", "y", "x"])
    >>> [*entry_ids("a.md", ["x", "y"])] == [one, two], one == three
    (True, False)
    """
    seen: Counter[str] = Counter()
    for text in texts:
        seen[text] += 1
        yield mark(source, text, str(seen[text]), length=32)


def named(value: Any) -> str:
    """*value* as text that is the same in every process: functions by their names, records by what they hold.

    >>> named(partial(sorted, reverse=True))
    'builtins.sorted(reverse=True)'
    """
    match value:
        case partial():
            inner = [named(each) for each in value.args]
            inner += [f"{name}={named(each)}" for name, each in sorted(value.keywords.items())]
            return f"{named(value.func)}({', '.join(inner)})"
        case None | bool() | int() | float() | str() | bytes():
            return repr(value)
        case tuple() | list():
            return f"({', '.join(map(named, value))})"
        case set() | frozenset():
            return f"{{{', '.join(sorted(map(named, value)))}}}"
        case Mapping():
            return f"{{{', '.join(sorted([f'{named(key)}: {named(each)}' for key, each in value.items()]))}}}"
    return _of_object(value)


def _of_object(value: Any) -> str:
    kind = type(value)
    if hasattr(value, "embed") and hasattr(value, "provider"):
        further = named(value.keyed("document")) if hasattr(value, "keyed") else ""
        return f"{value.provider}/{value.name}#{getattr(value, 'dimensions', None)}{further}"
    if isinstance(value, Record):
        held = [(spot.name, getattr(value, spot.name)) for spot in getattr(kind, "__attrs_attrs__", ()) if spot.eq]
        return f"{kind.__qualname__}({', '.join([f'{name}={named(each)}' for name, each in held])})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}{_inside(value)}"
    return f"{kind.__module__}.{kind.__qualname__}"


def _inside(function: Any) -> str:
    """What a function made by another one holds, and what a lambda is made of: their names are those of others too."""
    held = [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _filled(cell)]
    if function.__qualname__.endswith("<lambda>"):
        held += [*function.__code__.co_names, *function.__code__.co_consts]
    held = [each for each in held if each is not function]
    return f"[{', '.join(map(named, held))}]" if held else ""


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
