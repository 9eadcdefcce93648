"""What a run asks of the world and is answered, as JSON that a person can read in a diff."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from arshai_kit._json import dumps, exact
from arshai_kit.effects import Call, Channel, Close, Open, Read, Reply, Request, Secret, Send, Sleep, Spawn, private
from arshai_kit.testing._values import data_of, value_of

__all__ = ["MASK", "answer_data", "answer_of", "ask_data", "difference", "masked", "same", "secrets_of"]

Data = Any

MASK = "***"
_SHORTEST = 4
"""Fewer letters are no secret, and replacing them would make the rest unreadable."""

_SECRET = re.compile(
    r"auth|key|token|secret|cookie|passw|passphrase|pwd|credential|signature|^sig$|jwt|bearer|assertion|bypass", re.I
)
"""Fewer names than `private` has: what they name is taken out wherever it occurs, and nobody misses a header."""
_SECRET_IN_REPLY = re.compile(
    r"authorization|authenticat|cookie|api-key|secret|passw|credential|jwt|bearer|assertion|session", re.I
)


def ask_data(effect: Any) -> Data:
    """What *effect* asks.

    >>> ask_data(Sleep(2.0)), ask_data(Call(len, "abc"))
    ({'effect': 'Sleep', 'seconds': 2.0}, {'effect': 'Call', 'function': 'len', 'args': ['abc']})
    """
    told: dict[str, Data] = {"effect": type(effect).__name__}
    match effect:
        case Send(request=request) | Open(request=request):
            return told | _request(request)
        case Read(channel=channel) | Close(channel=channel):
            return told | {"channel": channel.number}
        case Sleep(seconds=seconds):
            return told | {"seconds": seconds}
        case Spawn(name=name):
            return told | {"name": name}
        case Call():
            args = [data_of(each, wholly=False) for each in effect.args]
            kwargs = {name: data_of(each, wholly=False) for name, each in effect.kwargs.items()}
            told["function"] = effect.name
            return told | ({"args": args} if args else {}) | ({"kwargs": kwargs} if kwargs else {})
    return told


def _request(request: Request) -> Data:
    headers = [[name, value] for name, value in request.headers if isinstance(value, str) and not private(name)]
    return {"method": request.method, "url": request.url, "headers": headers, **_body(request.content)}


def _body(content: bytes) -> dict[str, Data]:
    """*content* as JSON if it is, else as text if it is, else as base64."""
    if not content:
        return {}
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}
    if text[:1] in "{[":
        try:
            return {"json": exact(text)}
        except ValueError:
            pass
    return {"text": text}


def _content(data: dict[str, Data]) -> bytes:
    match data:
        case {"json": value}:
            return dumps(value)
        case {"base64": text}:
            return base64.b64decode(text)
    return str(data.get("text", "")).encode()


def answer_data(effect: Any, value: Any) -> Data:
    """The answer *value* to *effect*.

    >>> answer_data(Read(Channel(1, 200)), b"data: {}"), answer_data(Sleep(1), None)
    ({'text': 'data: {}'}, None)
    """
    match value:
        case Reply() if isinstance(effect, Send):
            return {"status": value.status, "headers": _headers(value.headers), **_body(value.body)}
        case Channel() if isinstance(effect, Open):
            return {"channel": value.number, "status": value.status, "headers": _headers(value.headers)}
        case bytes() if isinstance(effect, Read):
            return _bytes(value)
    return data_of(value)


def _bytes(value: bytes) -> Data:
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:  # cut in the middle of a letter, perhaps
        return {"base64": base64.b64encode(value).decode()}


def _headers(headers: Iterable[tuple[str, str]]) -> list[list[str]]:
    return [[name, value] for name, value in headers if not _SECRET_IN_REPLY.search(name)]


def answer_of(effect: Any, data: Data) -> Any:
    """The answer to *effect* that *data* tells of.

    >>> answer_of(Read(Channel(1, 200)), {"text": "data: {}"})
    b'data: {}'
    """
    match effect:
        case Send():
            return Reply(data["status"], _pairs(data["headers"]), _content(data))
        case Open():
            return Channel(data["channel"], data["status"], _pairs(data["headers"]))
        case Read():
            return _content(data)
    return value_of(data)


def _pairs(headers: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple([(name, value) for name, value in headers])


# Secrets


def secrets_of(effect: Any) -> set[str]:
    """The keys that *effect* takes with it.

    >>> secrets_of(Send(Request("GET", "https://example.org/?key=abcdef&q=x", (("x-api-key", Secret("sk-1234")),))))
    {...}
    """
    match effect:
        case Send(request=request) | Open(request=request):
            pairs: list[tuple[Any, Any]] = [*request.headers, *parse_qsl(urlsplit(request.url).query)]
        case Call():
            pairs = [*enumerate(effect.args), *effect.kwargs.items()]
        case _:
            return set()
    found = {
        value.reveal() if isinstance(value, Secret) else value
        for name, value in pairs
        if isinstance(value, Secret) or (isinstance(value, str) and isinstance(name, str) and _SECRET.search(name))
    }
    words = {word for value in found for word in (value, value.removeprefix("Bearer ").removeprefix("Basic "))}
    return {word for word in words if len(word) >= _SHORTEST}


def masked(data: Data, secrets: Iterable[str]) -> Data:
    """*data*, with every one of *secrets* taken out, wherever it occurs.

    >>> masked({"text": ["my key is sk-123"]}, {"sk-123"})
    {'text': ['my key is ***']}
    """
    longest_first = sorted(secrets, key=lambda each: (-len(each), each))
    return _masked(data, re.compile("|".join(map(re.escape, longest_first)))) if longest_first else data


def _masked(data: Data, pattern: re.Pattern[str]) -> Data:
    match data:
        case str():
            return pattern.sub(MASK, data)
        case list():
            return [_masked(each, pattern) for each in data]
        case dict():
            return {pattern.sub(MASK, key): _masked(each, pattern) for key, each in data.items()}
    return data


# Comparing


def same(recorded: str, asked: str) -> bool:
    """Whether *asked* is what was *recorded*, of which secrets may have been taken out.

    >>> same("key=***&q=1", "key=other&q=1"), same("key=***&q=1", "key=other&q=2")
    (True, False)
    """
    if recorded == asked or MASK not in recorded:
        return recorded == asked
    return re.fullmatch(".*".join(map(re.escape, recorded.split(MASK))), asked, re.DOTALL) is not None


def difference(recorded: Data, asked: Data, where: str = "") -> str:
    """Where *asked* first differs from what was *recorded*, and how; empty when it does not.

    >>> difference({"a": [1, 2]}, {"a": [1, 3]})
    'a[1] is 3, recorded 2'
    """
    match recorded, asked:
        case str(), str():
            return "" if same(recorded, asked) else _unequal(recorded, asked, where)
        case dict(), dict():
            names = [*recorded, *[name for name in asked if name not in recorded]]
            steps = [(f"{where}.{name}" if where else name, name) for name in names]
            return _first(difference(recorded.get(name, _NONE), asked.get(name, _NONE), path) for path, name in steps)
        case list(), list() if len(recorded) == len(asked):
            pairs = enumerate(zip(recorded, asked, strict=True))
            return _first(difference(old, new, f"{where}[{place}]") for place, (old, new) in pairs)
    equal = type(recorded) is type(asked) and recorded == asked
    return "" if equal else _unequal(recorded, asked, where)


def _first(differences: Iterable[str]) -> str:
    return next((each for each in differences if each), "")


def _unequal(recorded: Data, asked: Data, where: str) -> str:
    return f"{where} is {_shown(asked)}, recorded {_shown(recorded)}"


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


_NONE = _Absent()


def _shown(data: Data) -> str:
    if isinstance(data, _Absent):
        return repr(data)
    text = dumps(data).decode()
    return text if len(text) <= 160 else f"{text[:160]}…"
