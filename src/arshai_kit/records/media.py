"""Messages and parts made from what people have at hand: words, paths, bytes, addresses.

A path is read when the function is called, so that a record holds bytes or a URL and never a path.
"""

from __future__ import annotations

import base64
import binascii
import os

from arshai_kit.errors import Misuse
from arshai_kit.records.parts import Audio, File, Image, Message, Part, Text, ToolCall, ToolResult

__all__ = ["MARKED", "assistant", "audio", "file", "image", "sniffed", "system", "tool_result", "user"]

Source = str | bytes | bytearray | memoryview | os.PathLike[str]

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_BRANDS = {b"avif": "image/avif", b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif"} | {
    b"M4A ": "audio/mp4",
}

_TAKEN = "pass a path, bytes, a data: URL, or an address with http://, https://, gs:// or s3:// in small letters"

MARKED = frozenset(
    ("image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "audio/wav", "audio/ogg", "audio/flac")
)
"""Types that no bytes have without the mark of the type at their beginning."""


def system(text: str) -> Message:
    """What the model is to be.

    >>> system("You are brief.")
    Message('system', parts=(Text('You are brief.'),))
    """
    if not isinstance(text, str):
        raise Misuse(f"a system message is text, not {type(text).__name__}")
    return Message("system", (Text(text),))


def user(*parts: str | Part) -> Message:
    """What a person says: words, pictures, files.

    >>> user("What is this?", image(b"GIF89a"))
    Message('user', parts=(Text('What is this?'), Image(<6 bytes>, media_type='image/gif')))
    """
    return Message("user", parts)


def assistant(*parts: str | Part) -> Message:
    """What the model said.

    >>> assistant("Hello!").text
    'Hello!'
    """
    return Message("assistant", parts)


def tool_result(
    call: ToolCall | str, content: str | tuple[Part, ...], *, name: str = "", is_error: bool = False
) -> Message:
    """What a tool answered to *call* (or to the call with that id).

    >>> tool_result(ToolCall("c1", "add", {"a": 1, "b": 2}), "3").parts[0].name
    'add'
    """
    match call:
        case ToolCall(id=key, name=called):
            return Message("tool", (ToolResult(key, name or called, content, is_error),))
        case _:
            return Message("tool", (ToolResult(call, name, content, is_error),))


def image(source: Source, *, media_type: str = "", detail: str = "") -> Image:
    """A picture from a path, bytes, a `data:` URL or an `https:` address.

    >>> image("https://example.org/cat.png")
    Image(url='https://example.org/cat.png')
    """
    data, url, kind, _ = _read(source, media_type)
    return Image(data, url, _known(kind, url, "image/png", ("image",)), detail)


def file(source: Source, *, media_type: str = "", name: str = "") -> File:
    """A document from a path, bytes, a `data:` URL or an `https:` address.

    >>> file(b"%PDF-1.7", name="report.pdf")
    File(<8 bytes>, media_type='application/pdf', name='report.pdf')
    """
    data, url, kind, found = _read(source, media_type)
    return File(data, url, kind or (data and "application/octet-stream") or "", name or found)


def audio(source: Source, *, media_type: str = "") -> Audio:
    """Sound from a path, bytes, a `data:` URL or an `https:` address.

    >>> audio(b"OggS").media_type
    'audio/ogg'
    """
    data, url, kind, _ = _read(source, media_type)
    return Audio(data, url, _known(kind, url, "audio/wav", ("audio", "video")))


def _known(kind: str, url: str, example: str, kinds: tuple[str, ...]) -> str:
    """The media type *kind*, one of *kinds*, which only what lies elsewhere may keep to itself."""
    if not kind and not url:
        raise Misuse(f"neither the bytes nor a file name tell what this is: pass media_type={example!r} or what it is")
    if kind and kind.partition("/")[0] not in kinds:
        raise Misuse(f"{kind} is no {kinds[0]}: pass it by file(…), or media_type={example!r} if it is one after all")
    return kind


def _read(source: Source, media_type: str) -> tuple[bytes, str, str, str]:
    """The bytes, address, media type and file name of *source*."""
    match source:
        case bytes() | bytearray() | memoryview():
            return _some(bytes(source), "the bytes"), "", media_type or sniffed(bytes(source)), ""
        case str() if source.startswith("data:"):
            data, kind = _data_url(source)
            return _some(data, "the data: URL"), "", media_type or kind or sniffed(data), ""
        case str() if source.startswith(("http://", "https://", "gs://", "s3://")):
            return b"", source, media_type, ""
    if not isinstance(source, str | os.PathLike):
        raise Misuse(f"a {type(source).__name__} is not taken: {_TAKEN}")
    from pathlib import Path  # a tenth of the time that importing this package takes: only when a path is read

    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        scheme, colon, _ = str(source).partition("://")
        if colon and len(scheme) > 1 and scheme.isalnum():  # what stands there may be a secret
            raise Misuse(f"{scheme[:20]}:// is not taken: {_TAKEN}") from None
        raise Misuse(f"{str(source)[:200]!r} cannot be read: {error.strerror}") from error
    return _some(data, path.name), "", media_type or sniffed(data) or _named(path.name), path.name


def _some(data: bytes, where: str) -> bytes:
    if not data:
        raise Misuse(f"there is nothing in {where}: it is empty")
    return data


def _data_url(url: str) -> tuple[bytes, str]:
    head, _, body = url[5:].partition(",")
    kind, *options = head.split(";")
    from urllib.parse import unquote_to_bytes

    try:
        data = base64.b64decode(body, validate=True) if "base64" in options else unquote_to_bytes(body)
    except binascii.Error as error:
        raise Misuse(f"the data: URL does not hold base64: {error}") from error
    return data, kind


def sniffed(data: bytes) -> str:
    """The media type that the first bytes tell, empty when they do not.

    >>> sniffed(b"%PDF-1.7"), sniffed(b"BMW makes cars")
    ('application/pdf', '')
    """
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], "")
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "")
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        return "image/bmp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), "")


def _named(name: str) -> str:
    import mimetypes  # reads the system's tables: only when the bytes do not tell

    return mimetypes.guess_type(name)[0] or ""
