"""What a docstring says of a function or class, and of each of its parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docstring_parser import Docstring

__all__ = ["told"]

# Without one of these there is nothing to take apart, and the parser need not be imported.
_SECTION = re.compile(r"^\s*(:\w|[A-Z]\w+.*:\s*$|-{3,}\s*$)", re.MULTILINE)
_ENUM = "An enumeration."  # what Python itself writes where nothing was written


def told(thing: Any, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """What the docstring of *thing* says of it, and of those of its parameters that are in *names*.

    Google, NumPy and Sphinx styles are read; sections on results and errors are left out.
    """
    text = _own(thing)
    if not _SECTION.search(text):
        return text, {}
    known = frozenset(names)
    best = max(_read(text), key=lambda read: (sum(name in known for name, _ in _params(read)), len(read.meta)))
    if not best.meta:
        return text, {}
    about = "\n\n".join(part for part in (best.short_description, best.long_description) if part)
    return about, {name: text for name, text in _params(best) if name in known}


def _own(thing: Any) -> str:
    """The docstring that someone wrote for *thing* itself."""
    text = vars(thing).get("__doc__") if isinstance(thing, type) else getattr(thing, "__doc__", None)
    if not isinstance(text, str) or text == _ENUM:
        return ""
    if isinstance(thing, type) and text.startswith(f"{thing.__name__}("):  # as dataclasses and named tuples do
        return ""
    return inspect.cleandoc(text)


def _read(text: str) -> Iterator[Docstring]:
    from docstring_parser import DocstringStyle, ParseError, parse

    for style in (DocstringStyle.GOOGLE, DocstringStyle.NUMPYDOC, DocstringStyle.REST):
        try:
            yield parse(text, style=style)
        except ParseError:  # not written in this style
            continue


def _params(read: Docstring) -> Iterator[tuple[str, str]]:
    for param in read.params:
        for name in param.arg_name.split(","):
            yield name.strip(" *"), " ".join((param.description or "").split())
