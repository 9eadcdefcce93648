"""What a message is made of: typed parts, each of which may carry its provider's own state back unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from arshai_kit._json import EMPTY, FrozenDict, Json, freeze
from arshai_kit._record import Record, short
from arshai_kit.errors import Misuse
from arshai_kit.keys import veiled

__all__ = [
    "Audio",
    "File",
    "Image",
    "Message",
    "Opaque",
    "Part",
    "Role",
    "Text",
    "Thinking",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
]

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]

_ROLES = ("system", "user", "assistant", "tool")


def _state() -> Any:
    """Provider state: opaque JSON that goes back with the part it came on."""
    return field(default=None, converter=freeze, kw_only=True)


def _content(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return tuple(value)
    raise Misuse(f"a tool's result is text or parts, not {type(value).__name__}; write it as JSON text")


def _object(value: Any) -> Json:
    frozen_value = freeze(value)
    if type(frozen_value) is not FrozenDict:
        raise Misuse(f"the arguments of a call are a JSON object, not {type(value).__name__}")
    return frozen_value


def _role(value: Any) -> Any:
    if value not in _ROLES:
        raise Misuse(f"a message is from system, user, assistant or tool, not {value!r}")
    return value


def _example(value: Any) -> Any:
    return None if value is None else (value[0], freeze(value[1]))


def _veiled(url: str) -> str:
    """*url*, as far as it may be shown: one that is signed is a key."""
    return short(veiled(url))


@frozen(eq=False, repr=False)
class Text(Record):
    """Words."""

    text: str
    state: Json = _state()


@frozen(eq=False, repr=False)
class Image(Record):
    """A picture: its bytes, or an address where the provider finds it."""

    data: bytes = b""
    url: str = field(default="", repr=_veiled)
    media_type: str = ""
    detail: str = ""
    state: Json = _state()


@frozen(eq=False, repr=False)
class File(Record):
    """A document, such as a PDF: its bytes, or an address where the provider finds it."""

    data: bytes = b""
    url: str = field(default="", repr=_veiled)
    media_type: str = ""
    name: str = ""
    state: Json = _state()


@frozen(eq=False, repr=False)
class Audio(Record):
    """Sound: its bytes, or an address where the provider finds it."""

    data: bytes = b""
    url: str = field(default="", repr=_veiled)
    media_type: str = ""
    state: Json = _state()


@frozen(eq=False, repr=False)
class Thinking(Record):
    """What a model thought before it answered, as far as its provider shows it."""

    text: str = ""
    state: Json = _state()


@frozen(eq=False, repr=False)
class ToolCall(Record):
    """A model asks for a tool: *id* pairs the call with its result, *arguments* is a JSON object.

    *broken* holds the text of arguments that are no JSON object; *arguments* is then empty.
    """

    id: str
    name: str
    arguments: Json = field(default=EMPTY, converter=_object)
    broken: str | None = None
    state: Json = _state()


@frozen(eq=False, repr=False)
class ToolResult(Record):
    """What a tool answered: text, or parts. *id* is that of its call."""

    id: str
    name: str
    content: str | tuple[Part, ...] = field(converter=_content)
    is_error: bool = False
    state: Json = _state()


@frozen(eq=False, repr=False)
class Opaque(Record):
    """Something of the provider's that we do not know: kept, and sent back as it came."""

    kind: str
    value: Json = field(default=None, converter=freeze)
    state: Json = _state()


Part: TypeAlias = Text | Image | File | Audio | Thinking | ToolCall | ToolResult | Opaque


_KINDS = frozenset({Text, Image, File, Audio, Thinking, ToolCall, ToolResult, Opaque})


def _parts(value: Any) -> tuple[Part, ...]:
    if type(value) is tuple and _KINDS.issuperset(map(type, value)):
        return value
    if isinstance(value, str):
        return (Text(value),)
    if isinstance(value, Mapping | bytes) or not isinstance(value, Iterable):
        raise Misuse(f"a message is made of text and parts, not {type(value).__name__}")
    return tuple([_part(each) for each in value])


def _part(value: Any) -> Part:
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, tuple(_KINDS)):
        return value  # type: ignore[return-value]  # it is one of them
    raise Misuse(f"a message is made of text and parts (image(…), file(…), …), not {type(value).__name__}")


@frozen(eq=False, repr=False)
class Message(Record):
    """One turn of a conversation: who speaks, and the parts of what is said.

    >>> Message("user", "Hello")
    Message('user', parts=(Text('Hello'),))
    """

    role: Role = field(converter=_role)
    parts: tuple[Part, ...] = field(default=(), converter=_parts)
    name: str = ""

    @property
    def text(self) -> str:
        """The words of all its text parts."""
        return "".join([part.text for part in self.parts if type(part) is Text])

    @property
    def reasoning(self) -> str:
        """What the model thought, as far as it shows."""
        return "".join([part.text for part in self.parts if type(part) is Thinking])

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools it asks for, in order."""
        return tuple([part for part in self.parts if type(part) is ToolCall])


@frozen(eq=False, repr=False)
class ToolSpec(Record):
    """A tool as a model sees it: *parameters* is the JSON Schema of an object.

    *example* is a question and the arguments that answer it, for models that need to be shown.
    """

    name: str
    description: str = ""
    parameters: Json = field(default=EMPTY, converter=freeze)
    example: tuple[str, Json] | None = field(default=None, converter=_example)
    strict: bool | None = None
