"""From bytes to text: by their mark, as UTF-8 if they are, as they say, and else as they look."""

from __future__ import annotations

import codecs
import re
from typing import Final

from arshai_kit.errors import BadDocument

__all__ = ["decoded"]

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAID: Final = re.compile(
    rb"""<(?:meta[^>]{0,200}?charset|\?xml[^>]{0,80}?encoding)\s*=\s*["']?\s*([A-Za-z0-9_:.-]{2,40})""", re.I
)
_LIKELY: Final = (
    "cp1252 cp1251 cp1250 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 cp874 koi8_r koi8_u cp866 "
    "cp932 euc_jp iso2022_jp gb18030 big5 cp949 mac_roman"
).split()
_LATIN: Final = ("cp1252", "cp1250", "cp1254", "cp1257", "cp1258")
_CLOSE: Final = 0.1
_HIGH: Final = bytes(range(128, 256))
_SAMPLE: Final = 16 * 1024
_SAFE: Final = frozenset(_LIKELY) | {
    "utf_8",
    "utf_16",
    "ascii",
    "shift_jis",
    "euc_kr",
    "gbk",
    "gb2312",
    "johab",
    "big5hkscs",
}
_STRANGE: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decoded(data: bytes) -> tuple[str, tuple[str, ...]]:
    r"""The text of *data*, and what has to be said of it.

    >>> decoded("Süß".encode()), decoded("\ufeffSüß".encode("utf-16-le"))
    (('Süß', ()), ('Süß', ()))
    """
    text, notices = _read(data)
    head = text[:65536]
    if len(_STRANGE.findall(head)) * 50 > len(head):
        raise BadDocument("it is no text, and no kind of document that is read: save it as UTF-8, if it is one")
    return text, notices


def _read(data: bytes) -> tuple[str, tuple[str, ...]]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _with(data[len(mark) :], encoding)
    if wide := _wide(data[:4096]):
        return _with(data, wide)
    said = _said(data[:4096])
    if said.startswith("iso2022") and b"\x1b" in data:
        return _with(data, said)
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError:
        pass
    if _mostly_utf_8(data[:_SAMPLE]):
        return _with(data, "utf-8")
    return _with(data, said) if said not in ("", "utf_8", "utf_16") else _guessed(data)


def _with(data: bytes, encoding: str) -> tuple[str, tuple[str, ...]]:
    try:
        return data.decode(encoding), ()
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
        return text, (f"some of its bytes are not {_name(encoding)}, and stand as \N{REPLACEMENT CHARACTER}",)


def _name(encoding: str) -> str:
    return encoding.replace("_", "-").upper()


def _wide(head: bytes) -> str:
    """UTF-16, if every second byte of *head* is mostly nothing, as in Latin text of that encoding."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if half < 2 or max(even, odd) * 5 < half * 2 or min(even, odd) * 20 > half:
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _said(head: bytes) -> str:
    """The encoding that HTML or XML says it has, in Python's name; nothing, if it has said none that is known."""
    found = _SAID.search(head)
    try:
        name = codecs.lookup(found[1].decode("ascii")).name.replace("-", "_") if found else ""
    except LookupError:
        return ""
    name = {"iso8859_1": "cp1252", "iso8859_9": "cp1254", "ascii": "cp1252"}.get(name, name)  # as browsers take them
    return name if name in _SAFE or name.startswith(("cp", "iso8859", "iso2022", "mac", "koi8")) else ""


def _mostly_utf_8(head: bytes) -> bool:
    """Whether *head* is UTF-8 with a little damage: far more of it reads so than not."""
    text = head.decode("utf-8", "replace")
    wrong = text.count("\N{REPLACEMENT CHARACTER}")
    return sum(each > "\x7f" for each in text) - wrong > 10 * wrong


def _guessed(data: bytes) -> tuple[str, tuple[str, ...]]:
    """*data* in the encoding that it most looks like."""
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        text, told = _with(data, "cp1252")
        return text, (
            "its encoding is taken for WINDOWS-1252: charset-normalizer, of the extra documents, tells",
            *told,
        )
    sample = _sample(data)
    found = from_bytes(sample, cp_isolation=_likely(sample))
    best = found.best()
    for each in found:  # of what little tells apart, the one that most are written in
        if each.encoding == "cp1252" and best is not None and best.encoding in _LATIN:
            best = each if each.coherence >= best.coherence and each.chaos < best.chaos + _CLOSE else best
    encoding = "cp1252" if best is None else best.encoding
    text, told = _with(data, encoding)
    return text, (f"its encoding is not told, and taken for {_name(encoding)}", *told)


def _likely(sample: bytes) -> list[str]:
    """The encodings that *sample* may have: where few of its letters are not ASCII, they are Latin with accents."""
    high = len(sample) - len(sample.translate(None, _HIGH))
    return list(_LIKELY) if high * 5 > len(sample) else ["cp1252"] if high * 33 < len(sample) else list(_LATIN)


def _sample(data: bytes) -> bytes:
    """The beginning of *data*, up to the end of a line if there is one, so that no character is cut."""
    head = data[:_SAMPLE]
    end = head.rfind(b"\n") if len(data) > _SAMPLE else -1
    return head[: end + 1] if end > 0 else head
