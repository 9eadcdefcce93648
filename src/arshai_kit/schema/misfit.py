"""The one error of values: what did not fit, where, and what would."""

from __future__ import annotations

from typing import Any

__all__ = ["Misfit", "at", "joined", "seen", "unfit"]


class Misfit(ValueError):
    """A value that does not fit: *path* leads to it (`items[3].price`), *message* is in words a model can act on.

    >>> str(Misfit("items[3].price", "expected a number, got null"))
    'items[3].price: expected a number, got null'
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def at(path: str, step: Any) -> str:
    """*path*, one step further: a name, the index of an item, or another key.

    >>> at(at(at("", "items"), 3), "price"), at("", "unit price")
    ('items[3].price', "['unit price']")
    """
    if isinstance(step, str) and step.isidentifier():
        return f"{path}.{step}" if path else step
    return f"{path}[{step!r}]"


def joined(path: str, rest: str) -> str:
    """*path*, further by *rest*.

    >>> joined("answer", "items[3]"), joined("answer", "[3]"), joined("", "items")
    ('answer.items[3]', 'answer[3]', 'items')
    """
    return f"{path}{'.' if path and rest and not rest.startswith('[') else ''}{rest}"


def seen(value: Any) -> str:
    """What *value* is, in the words of JSON.

    >>> seen("abc"), seen(3), seen(None), seen([1])
    ("the string 'abc'", 'the integer 3', 'null', 'an array')
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the string {value if len(value) <= 60 else value[:57] + '...'!r}"
        case int():
            return f"the integer {value}" if abs(value) < 10**30 else "a very large integer"
        case float():
            return f"the number {value!r}"
        case list() | tuple():
            return "an array"
        case dict():
            return "an object"
    return f"a {type(value).__name__}"


def unfit(expected: str, value: Any) -> Misfit:
    """The misfit of *value* where something else was *expected*.

    >>> unfit("an integer", "abc").message
    "expected an integer, got the string 'abc'"
    """
    return Misfit("", f"expected {expected}, got {seen(value)}")
