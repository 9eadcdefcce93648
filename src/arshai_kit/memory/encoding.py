"""Messages as a memory keeps them: compact JSON that says its version, and comes back equal or not at all.

A record is what one append adds: `[1,{"role":"user","text":"Hello"},…]`, the version first. What is plain is written
and read by hand; a message with anything rarer (a picture, a name, a broken call) stands there as `to_plain` writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NoReturn

from arshai_kit._json import dumps, exact, freeze, loads
from arshai_kit._record import draft
from arshai_kit.codec import from_plain, to_plain
from arshai_kit.errors import BadRecord, ForeignFormat, Misuse
from arshai_kit.records import Message, Part, Text, Thinking, ToolCall, ToolResult

__all__ = ["FORMAT", "checked", "decoded", "encoded", "joined", "note_decoded", "note_encoded", "said", "worded"]

FORMAT: Final = 1
"""The version of the records that this package writes."""

_EXACT: Final = "1"
"""The version, written as text: the record holds numbers that only the slower parser reads exactly."""
_ROLES: Final = frozenset(("system", "user", "assistant", "tool"))
_DIGITS: Final = bytes.maketrans(bytes(range(256)), bytes([48 if 48 <= each <= 57 else 32 for each in range(256)]))
_BIG: Final = b"0" * 19


def checked(key: Any) -> str:
    """*key*, if a conversation can be kept under it: text of any characters, at least one.

    >>> checked("")
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: key= says whose conversation it is, so it is no empty text
    """
    if not isinstance(key, str):
        raise Misuse(f"key= says whose conversation it is, as text, not {type(key).__name__}")
    if not key:
        raise Misuse("key= says whose conversation it is, so it is no empty text")
    return str.__str__(key)


def worded(value: Any, what: str) -> str:
    """*value*, if it is text, as *what* is: the id of what is appended, or the name of a note.

    >>> worded(5, "id=")
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: id= is text, not int
    """
    if not isinstance(value, str):
        raise Misuse(f"{what} is text, not {type(value).__name__}")
    return str.__str__(value)


def said(messages: Any) -> tuple[Message, ...]:
    """*messages*, if that is what they are.

    >>> said(["Hello"])
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: a memory keeps messages, as user(…) makes them, not str
    """
    if not isinstance(messages, Iterable):
        raise Misuse(f"a memory keeps a sequence of messages, not {type(messages).__name__}")
    found = tuple(messages)
    for each in found:
        if type(each) is not Message:
            raise Misuse(f"a memory keeps messages, as user(…) makes them, not {type(each).__name__}")
    return found


# Writing


def encoded(messages: Iterable[Message]) -> bytes:
    """*messages* as one record.

    >>> from arshai_kit.records import user
    >>> encoded([user("Hello")])
    b'[1,{"role":"user","text":"Hello"}]'
    """
    return _written([_item(message) for message in said(messages)])


def note_encoded(value: Any) -> bytes:
    """A note's *value*, which is JSON, as one record.

    >>> note_encoded({"name": "Ann"})
    b'[1,{"name":"Ann"}]'
    """
    return _written([value])


def _written(items: list[Any]) -> bytes:
    data = dumps([FORMAT, *items])
    return dumps([_EXACT, *items]) if _BIG in data.translate(_DIGITS) else data


def _item(message: Message) -> dict[str, Any]:
    parts = message.parts
    if message.name or not all(map(_by_hand, parts)):
        return _rare(message)
    if len(parts) == 1 and type(part := parts[0]) is Text and part.state is None:
        return {"role": message.role, "text": part.text}
    return {"role": message.role, "parts": [_part_data(part) for part in parts]}


def _rare(message: Message) -> dict[str, Any]:
    """What `to_plain` makes of *message*; one that would not come back is refused before it is kept."""
    plain = to_plain(message)
    try:
        comes_back = from_plain(exact(dumps(plain).decode())) == message
    except (Misuse, TypeError, ValueError) as error:
        raise Misuse(f"this message cannot be kept, {error}: {message!r:.200}") from error
    if not comes_back:
        raise Misuse(f"this message would not come back as it is: {message!r:.200}")
    return plain


def _by_hand(part: Part) -> bool:
    """Whether *part* is of the kinds that are common, and as they are."""
    match part:
        case Text(text=str()) | Thinking(text=str()):
            return True
        case ToolCall(id=str(), name=str(), broken=None) | ToolResult(id=str(), name=str(), content=str()):
            return True
    return False


def _part_data(part: Part) -> Any:
    """A part: plain words are a string, anything else an object that its first member tells."""
    data: dict[str, Any]
    match part:
        case Text(text=text, state=None):
            return text
        case Text(text=text):
            data = {"text": text}
        case Thinking(text=text):
            data = {"thinking": text}
        case ToolCall():
            data = {"call": part.id, "name": part.name, "arguments": part.arguments}
        case ToolResult():
            data = {"result": part.id, "name": part.name, "content": part.content}
            data |= {"error": True} if part.is_error else {}
    return data if part.state is None else {**data, "state": part.state}


# Reading


def decoded(record: bytes, key: str = "") -> tuple[Message, ...]:
    """The messages of a record that `encoded` made; *key* is whose they are, for who cannot read them.

    >>> decoded(b'[1,{"role":"user","text":"Hello"}]')
    (Message('user', parts=(Text('Hello'),)),)
    """
    return tuple(_messages(_items(record, key)[1:], key))


def note_decoded(record: bytes, key: str = "") -> Any:
    """The value of a record that `note_encoded` made.

    >>> note_decoded(b'[1,{"name":"Ann"}]')
    {'name': 'Ann'}
    """
    items = _items(record, key)
    return items[1] if len(items) == 2 else _bad(key, "it holds no note")


def joined(records: Sequence[bytes], key: str = "") -> tuple[Message, ...]:
    """The messages of several records, in their order: all of them parsed at once.

    >>> len(joined([b'[1,{"role":"user","text":"Hello"}]', b'[1,{"role":"assistant","text":"Hi"}]']))
    2
    """
    try:
        lists = loads(b",".join((b"[0", *records, b"0]")))[1:-1]  # so the bytes are copied once
    except (ValueError, UnicodeDecodeError):
        lists = []
    if len(lists) != len(records):  # one of them is broken, and this tells which
        lists = [_items(record, key) for record in records]
    found: list[Any] = []
    for place, items in enumerate(lists):
        if type(items) is not list or not items or items[0] is not FORMAT:
            items = _items(records[place], key)  # noqa: PLW2901  # it says what is wrong, or reads it by the other parser
        found += items[1:]
    return tuple(_messages(found, key))


def _items(record: bytes, key: str) -> list[Any]:
    """The version of *record*, and what it holds."""
    try:
        items = loads(record)
        if type(items) is list and items and items[0] == _EXACT:
            items = exact(record.decode())
    except (ValueError, UnicodeDecodeError) as error:
        _bad(key, f"it is no JSON, {error}", error)
    version = items[0] if type(items) is list and items else None
    if version == _EXACT or (version == FORMAT and type(version) is int):
        return items  # type: ignore[no-any-return]  # a list
    if type(version) is int and version > FORMAT:
        why = f"a record{_of(key)} is of format {version}, and format {FORMAT} is known here: upgrade arshai_kit"
        raise ForeignFormat(f"{why} to read it; it is left as it is", key=key)
    raise ForeignFormat(
        f"a record{_of(key)} says no format, so another program wrote it: keep the memory in a place of its own",
        key=key,
    )


def _of(key: str) -> str:
    return f" of the conversation {key!r:.80}" if key else ""


def _bad(key: str, why: str, cause: Exception | None = None) -> NoReturn:
    message = f"a record{_of(key)} cannot be read: {why}; forget the conversation, or restore it from a copy"
    raise BadRecord(message, key=key) from cause


# What is read was made by a constructor once, and is checked here
_DraftOfText, _DraftOfMessage = draft(Text), draft(Message)
_DraftOfCall, _DraftOfResult = draft(ToolCall), draft(ToolResult)


def _messages(items: list[Any], key: str) -> list[Message]:
    """The messages that *items* are."""
    found: list[Message] = []
    add, roles = found.append, _ROLES  # most are plain, and read here
    try:
        for item in items:
            if len(item) == 2 and type(text := item.get("text")) is str and (role := item["role"]) in roles:
                part, message = _DraftOfText(), _DraftOfMessage()
                part.text, part.state = text, None
                part.__class__ = Text
                message.role, message.parts, message.name = role, (part,), ""
                message.__class__ = Message
                add(message)
            else:
                add(_rarer(item))
    except BadRecord:
        raise
    except Exception as error:  # noqa: BLE001  # whatever somebody has made of it
        why = str(error) or type(error).__name__
        _bad(key, f"message {len(found) + 1} in it is none of ours, {why}", error)
    return found


def _rarer(item: dict[str, Any]) -> Message:
    """A message with more to it than a text."""
    if "type" in item and type(item.get("text")) is not str:
        return _whole(item)
    if len(item) != 2 or (role := item["role"]) not in _ROLES or "parts" not in item:
        raise TypeError("it is not as we write messages")
    message = _DraftOfMessage()
    message.role, message.parts, message.name = role, tuple(map(_part, _list(item["parts"]))), ""
    message.__class__ = Message
    return message  # type: ignore[no-any-return]  # it is one now


def _whole(item: dict[str, Any]) -> Message:
    """A message as `to_plain` writes it."""
    found = from_plain(item)
    if type(found) is Message:
        return found
    raise TypeError(f"it is a {type(found).__name__}")


def _part(item: Any) -> Part:
    if type(item) is str:
        return Text(item)
    return _READS[next(iter(item), "")](item, item.get("state"))


def _text_part(item: dict[str, Any], state: Any) -> Part:
    return Text(item["text"], state=state) if _fits(item, state, 1, item["text"]) else _strange("text")


def _thinking(item: dict[str, Any], state: Any) -> Part:
    return Thinking(item["thinking"], state=state) if _fits(item, state, 1, item["thinking"]) else _strange("thinking")


def _call(item: dict[str, Any], state: Any) -> Part:
    own, name, arguments = item["call"], item["name"], item["arguments"]
    if type(arguments) is not dict or not _fits(item, state, 3, own, name):
        _strange("call")
    part = _DraftOfCall()
    part.id, part.name, part.arguments, part.broken = own, name, freeze(arguments), None
    part.state, part.__class__ = None if state is None else freeze(state), ToolCall
    return part  # type: ignore[no-any-return]  # it is one now


def _result(item: dict[str, Any], state: Any) -> Part:
    own, name, content, is_error = item["result"], item["name"], item["content"], "error" in item
    if not _fits(item, state, 3 + is_error, own, name, content) or (is_error and item["error"] is not True):
        _strange("result")
    part = _DraftOfResult()
    part.id, part.name, part.content, part.is_error = own, name, content, is_error
    part.state, part.__class__ = None if state is None else freeze(state), ToolResult
    return part  # type: ignore[no-any-return]


def _fits(item: dict[str, Any], state: Any, members: int, own: Any, name: Any = "", content: Any = "") -> bool:
    """Whether these are texts, and *item* has so many *members*, and its state."""
    texts = type(own) is str and type(name) is str and type(content) is str
    return texts and len(item) == (members if state is None else members + 1)


def _strange(kind: str) -> NoReturn:
    raise TypeError(f"its part {kind!r} is not as we write it")


_READS: Final[Mapping[str, Callable[[dict[str, Any], Any], Part]]] = MappingProxyType(
    {"text": _text_part, "thinking": _thinking, "call": _call, "result": _result}
)
"""How the parts that are written by hand are read, by their first member."""


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError("the parts of a message are an array")
    return value
