"""What lies at an address and can only be sent as bytes: fetched, within limits, from public addresses alone.

Of the model that asks for it nothing goes along: no key, no header, no cookie. No error shows the query of an address,
which is where keys and signatures stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final, TypeAlias

from attrs import evolve

from arshai_kit.effects import Now, Plan, Reply, Request, Send, side_by_side, veiled
from arshai_kit.errors import BadReply, Misuse, NotFound, ProviderError, RateLimited, ServerFailed, Unauthorized
from arshai_kit.faces import blocking
from arshai_kit.records import Audio, File, Image, Message, Part, Response, ToolResult
from arshai_kit.records.media import MARKED, sniffed
from arshai_kit.retry import attempts

__all__ = ["MAX_BYTES", "SECONDS", "Media", "MustFetch", "fetch", "fetch_all", "fetched", "replaced"]

Media: TypeAlias = Image | File | Audio

MAX_BYTES: Final = 20 * 1024 * 1024
SECONDS: Final = 30.0
REDIRECTS: Final = 3
RETRIES: Final = 2
AT_A_TIME: Final = 4

_FETCHABLE = ("http://", "https://")
_MOVED = frozenset({301, 302, 303, 307, 308})
_UNTOLD = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/force-download"})


class MustFetch(Misuse):
    """A dialect can send *part* only as bytes, and it has but an address; whoever asks a model fetches it then."""

    def __init__(self, part: Media) -> None:
        super().__init__(f"this model takes no address of {_kind(part)}; it is fetched when the model is asked")
        self.part = part


@blocking
def fetch(part: Media, *, deadline: float = SECONDS, max_body: int = MAX_BYTES) -> Plan[Media]:
    """*part* with the bytes that lie at its address, where it has but an address.

    What is fetched once can be sent often; a model that takes no addresses fetches anew each time it is asked.
    """
    if part.data:
        return part
    began = yield from Now()
    return (yield from _filled(part, began, began + deadline, max_body))


@blocking
def fetch_all(
    prompt: str | Message | Response | Iterable[str | Message | Response],
    *,
    deadline: float = SECONDS,
    max_body: int = MAX_BYTES,
) -> Plan[tuple[str | Message | Response, ...]]:
    """*prompt* with the bytes of all that has an `http:` or `https:` address, each fetched once, a few at a time."""
    items = (prompt,) if isinstance(prompt, str | Message | Response) else tuple(prompt)
    parts = tuple(dict.fromkeys(part for item in items for part in _unfetched(item)))
    began = yield from Now()
    plans = [_filled(part, began, began + deadline, max_body) for part in parts]
    outcomes = yield from side_by_side(plans, limit=AT_A_TIME)
    for part, outcome in zip(parts, outcomes, strict=True):
        items = tuple([_put_in(item, part, outcome.unwrap()) for item in items])
    return items


def fetched(part: Media, until: float) -> Plan[Media]:
    """*part* with the bytes that lie at its address, come before *until* and within `SECONDS`."""
    began = yield from Now()
    return (yield from _filled(part, began, min(until, began + SECONDS), MAX_BYTES))


# Addresses


def _filled(part: Media, began: float, until: float, max_body: int) -> Plan[Media]:
    reply = yield from attempts(RETRIES, partial(_reply, part.url, until, max_body), _shown(part.url), began, until)
    kind = _media_type(part, _header(reply, "content-type"), reply.body)
    if isinstance(part, File):
        return evolve(part, data=reply.body, url="", media_type=kind, name=part.name or _file_name(part.url))
    return evolve(part, data=reply.body, url="", media_type=kind)


def _reply(url: str, until: float, max_body: int) -> Plan[Reply]:
    """What lies at *url*, or where it was moved to: each address is looked at like the first one."""
    here = url
    for _ in range(REDIRECTS + 1):
        _check(here)
        request = Request("GET", here, (("accept", "*/*"),), timeout=SECONDS, max_body=max_body, public=True)
        reply = yield from Send(request, until)
        place = _header(reply, "location")
        if reply.status not in _MOVED or not place:
            return _answer(here, reply)
        here = _moved(here, place)
    raise BadReply(f"{_shown(url)} was moved more than {REDIRECTS} times", status=reply.status)


def _check(url: str) -> None:
    """Refuse an address that nothing is fetched from."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        raise Misuse(f"{_shown(url)} is no address that can be read") from None
    if parts.scheme not in ("http", "https") or not host:
        raise Misuse(f"{_shown(url)} cannot be fetched, only http: and https: addresses can: pass the bytes")
    if "@" in parts.netloc:
        raise Misuse(f"{_shown(url)} holds a user or password, and is not fetched with it: pass the bytes")


def _moved(here: str, place: str) -> str:
    from urllib.parse import urljoin

    try:
        there = urljoin(here, place)
    except ValueError:
        raise BadReply(f"{_shown(here)} was moved to what is no address") from None
    if here.startswith("https:") and there.startswith("http:"):
        raise BadReply(f"{_shown(here)} was moved from https to http, where anybody can change it: pass the bytes")
    return there


def _shown(url: str) -> str:
    """*url* as errors may show it.

    >>> _shown("https://me:secret@example.org/cat.png?X-Signature=1")
    'https://***@example.org/cat.png'
    """
    return veiled(url.partition("?")[0].partition("#")[0])[:200]


def _file_name(url: str) -> str:
    """What a file at *url* is called.

    >>> _file_name("https://example.org/a/the%20report.pdf?v=1"), _file_name("https://example.org/")
    ('the report.pdf', '')
    """
    from urllib.parse import unquote, urlsplit

    name = unquote(urlsplit(url).path.rpartition("/")[2]).replace("\\", "/").rpartition("/")[2]
    return "".join(filter(str.isprintable, name))[:200]


# Replies


def _header(reply: Reply, name: str) -> str:
    return next((value for each, value in reply.headers if each == name), "")


def _answer(url: str, reply: Reply) -> Reply:
    if reply.status == 200 and reply.body:
        return reply
    if reply.status == 200:
        raise BadReply(f"nothing lies at {_shown(url)}: its reply has no body", status=200)
    wait = _header(reply, "retry-after")
    seconds = float(wait) if wait.isdecimal() and len(wait) < 7 else None
    raise _failure(reply.status)(
        f"{_shown(url)} cannot be fetched: its server answers HTTP {reply.status}",
        status=reply.status,
        retry_after=seconds,
    )


def _failure(status: int) -> type[ProviderError]:
    match status:
        case 401 | 403:
            return Unauthorized
        case 404 | 410:
            return NotFound
        case 429:
            return RateLimited
        case _:
            return ServerFailed if status >= 500 else BadReply


def _media_type(part: Media, header: str, data: bytes) -> str:
    """The media type of *data*, fetched for *part*: what its bytes tell, before what was said of them."""
    claimed = header.partition(";")[0].strip().lower()
    said = part.media_type or ("" if claimed in _UNTOLD else claimed)
    told = sniffed(data) or ("text/html" if _is_html(data) else "")
    belies = said in MARKED and told in ("", "text/html")
    if isinstance(part, File):
        found = (told if said in MARKED else said) or told or "application/octet-stream"
    else:
        found = told or said
        belies = belies or not found.startswith(f"{type(part).__name__.lower()}/")
    if belies:
        what = told or ("not what its server says" if said in MARKED else said or "of a type that nobody tells")
        raise BadReply(
            f"{_shown(part.url)} was to be {_kind(part)}, and is {what}: look at what lies there, or pass the bytes "
            "with their media_type=",
            status=200,
        )
    return found


def _is_html(data: bytes) -> bool:
    return data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))


def _kind(part: Media) -> str:
    return {Image: "an image", File: "a file", Audio: "audio"}[type(part)]


# Prompts


def _unfetched(item: str | Message | Response) -> Iterator[Media]:
    """The parts of *item* that have an address and could be fetched."""
    messages = item.messages if isinstance(item, Response) else (item,) if isinstance(item, Message) else ()
    for part in [part for message in messages for part in message.parts]:
        inside = part.content if isinstance(part, ToolResult) and not isinstance(part.content, str) else (part,)
        for each in inside:
            if isinstance(each, Image | File | Audio) and not each.data and each.url.startswith(_FETCHABLE):
                yield each


def _put_in(item: str | Message | Response, old: Media, new: Media) -> str | Message | Response:
    match item:
        case Message():
            return replaced(item, old, new)
        case Response(messages=messages):
            return evolve(item, messages=tuple([replaced(message, old, new) for message in messages]))
    return item


def replaced(message: Message, old: Media, new: Media) -> Message:
    """*message*, with *new* in the place of *old*, also in what tools answered."""
    if all(part != old and type(part) is not ToolResult for part in message.parts):
        return message
    return evolve(message, parts=tuple([_replaced(part, old, new) for part in message.parts]))


def _replaced(part: Part, old: Media, new: Media) -> Part:
    if isinstance(part, ToolResult) and not isinstance(part.content, str):
        return evolve(part, content=tuple([_replaced(each, old, new) for each in part.content]))
    return new if part == old else part
