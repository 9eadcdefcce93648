"""Text that is put together block by block, so that what points into it is right by construction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from typing import Any, Final

from arshai_kit.documents.records import Block, BlockKind, Document, Limits
from arshai_kit.errors import DocumentTooLarge

__all__ = ["Builder", "fenced", "few", "iso", "one_line", "piped"]

_GAP: Final = "\n\n"


def few(blocks: Sized, limits: Limits) -> None:
    """Refuse more *blocks* than there may be."""
    if len(blocks) > limits.blocks:
        raise DocumentTooLarge(f"it has more than {limits.blocks:,} blocks: blocks= of Limits")


class Builder:
    """A text that grows by blocks, within *limits*."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.size = limits, 0
        self.parts: list[str] = []
        self.blocks: list[Block] = []
        self.pages: list[int] = []
        self.notices: list[str] = []

    def add(self, kind: BlockKind, text: str, level: int = 0) -> None:
        """Let *text* stand at the end, as a block; nothing, if it is blank."""
        text = text.strip("\n") if kind in ("code", "list") else text.strip()
        if not text or text.isspace():
            return
        gap = _GAP if self.parts else ""
        start = self.size + len(gap)
        self.size = start + len(text)
        if self.size > self.limits.text:
            raise DocumentTooLarge(f"its text has more than {self.limits.text:,} characters: text= of Limits")
        self.parts.append(gap + text)
        self.blocks.append(Block(kind, start, self.size, level))
        few(self.blocks, self.limits)

    def heading(self, text: str, level: int) -> None:
        """Add a heading in the way of Markdown."""
        if text := one_line(text):
            self.add("heading", f"{'#' * level} {text}", level)

    def page(self) -> None:
        """Begin a page with whatever comes next."""
        self.pages.append(self.size + len(_GAP) if self.parts else 0)

    def document(self, media_type: str, **told: Any) -> Document:
        """The whole, with what else it tells of itself."""
        pages = [min(place, self.size) for place in self.pages]
        return Document(
            "".join(self.parts),
            media_type=media_type,
            blocks=self.blocks,
            pages=pages,
            notices=self.notices,
            **told,
        )


def one_line(text: str) -> str:
    r"""*text* on one line, with one space where it had any.

    >>> one_line("  Two\n rivers ")
    'Two rivers'
    """
    return " ".join(text.split())


def fenced(code: str, language: str = "") -> str:
    """*code* between fences that do not occur in it.

    >>> print(fenced("print(1)", "python"))
    ```python
    print(1)
    ```
    """
    ticks = "```"
    while ticks in code:
        ticks += "`"
    return f"{ticks}{language}\n{code.strip(chr(10))}\n{ticks}"


def piped(rows: Iterable[Sequence[str]]) -> str:
    r"""*rows* as a table with pipes, the first of them as its head, without columns in which there is nothing.

    >>> print(piped([["river", "km"], ["Karun", "950"]]))
    | river | km |
    | --- | --- |
    | Karun | 950 |
    """
    kept = [row for row in ([_cell(each) for each in row] for row in rows) if any(row)]
    if not kept:
        return ""
    used = sorted({place for row in kept for place, cell in enumerate(row) if cell})
    lines = ["| " + " | ".join([row[place] if place < len(row) else "" for place in used]) + " |" for row in kept]
    return "\n".join([lines[0], "|" + " --- |" * len(used), *lines[1:]])


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def iso(text: str) -> str:
    """A date or time as ISO 8601 writes it; nothing, if *text* is none.

    >>> iso("2024-05-01T10:00:00Z"), iso("D:20240501100000+02'00'"), iso("1 May 2024"), iso("soon")
    ('2024-05-01T10:00:00+00:00', '2024-05-01T10:00:00+02:00', '2024-05-01', '')
    """
    if not (text := text.strip()[:40]):
        return ""
    from datetime import datetime

    if text.startswith("D:") or (text.isdecimal() and len(text) == 14):
        text = _of_pdf(text.removeprefix("D:"))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return _written(text)
    return found.date().isoformat() if len(text) <= 10 else found.isoformat(timespec="seconds")


def _of_pdf(text: str) -> str:
    """`20240501100000+02'00'` as ISO 8601 has it."""
    date = "-".join(filter(None, (text[:4], text[4:6] or "01", text[6:8] or "01")))
    time = f"T{text[8:10]}:{text[10:12] or '00'}:{text[12:14] or '00'}" if text[8:10].isdecimal() else ""
    zone = text[14:].replace("'", "")
    if zone[:1] in ("+", "-") and zone[1:].isdecimal():
        return f"{date}{time}{zone[:3]}:{zone[3:5] or '00'}"
    return f"{date}{time}{'+00:00' if zone[:1] == 'Z' and time else ''}"


def _written(text: str) -> str:
    """A date with the name of a month in English, or as mail and HTTP write it."""
    from datetime import datetime
    from email.utils import parsedate_to_datetime

    for form in ("%d %B %Y", "%B %d, %Y", "%d %b %Y", "%b %d, %Y", "%Y/%m/%d"):
        try:
            return datetime.strptime(text, form).date().isoformat()  # noqa: DTZ007  # a date has no zone
        except ValueError:
            continue
    try:
        return parsedate_to_datetime(text).isoformat(timespec="seconds")
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""
