"""Markdown as it stands: its headings, lists, tables and code are found line by line, and nothing is changed.

Every line is looked at once, so that no text, however it is made, takes long.
"""

from __future__ import annotations

import re
from typing import Any, Final

from arshai_kit.documents.building import few, iso, one_line
from arshai_kit.documents.lines import Line, lined
from arshai_kit.documents.records import Block, BlockKind, Document, Limits

__all__ = ["looks_like_markdown", "markdown", "markdown_blocks"]

_HEADING: Final = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")
_UNDERLINE: Final = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE: Final = re.compile(r" {0,3}(?:(`{3,})[^`]*$|(~{3,}))")
_ITEM: Final = re.compile(r"( {0,3})([-+*]|[0-9]{1,9}[.)])(?=[ \t]|$)([ \t]*)")
_RULE: Final = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_COLUMNS: Final = re.compile(r" {0,3}\|?[ \t]*:?-+:?(?:[ \t]*\|[ \t]*:?-+:?)*[ \t]*\|?$")
_RAW: Final = re.compile(r" {0,3}<(?:(!--)|(script|pre|style|textarea)(?=[\s>]|$))", re.I)
_FRONT: Final = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n(?:(?!\1)[^\n]*\n){0,400}?\1[ \t]*(?:\r?\n|\Z)")
_PAIR: Final = re.compile(r"([A-Za-z_][\w .-]{0,60}?)[ \t]*:(?:[ \t]+(.*))?$")
_CELL: Final = re.compile(r"(?<!\\)\|")


def markdown(text: str, limits: Limits) -> Document:
    r"""*text* as a document, with what it says of itself at its beginning.

    >>> document = markdown("---\ntitle: Rivers\n---\n# The Karun\n\nIt is long.", Limits())
    >>> document.title, [each.kind for each in document.blocks]
    ('Rivers', ['code', 'heading', 'paragraph'])
    """
    told, after = _front(text)
    blocks = ([Block("code", 0, len(text[:after].rstrip()))] if after else []) + markdown_blocks(text, after, limits)
    known = {str(name).lower(): value for name, value in told.items()}
    author = known.get("author", known.get("authors", ""))
    return Document(
        text,
        media_type="text/markdown",
        blocks=blocks,
        title=_said(known.get("title")) or _first_title(text, blocks),
        author=", ".join(map(str, author)) if isinstance(author, list) else _said(author),
        created=iso(_said(known.get("date", known.get("created")))),
        modified=iso(_said(known.get("updated", known.get("modified", known.get("lastmod"))))),
        language=_said(known.get("lang", known.get("language"))),
        metadata=told,
    )


def looks_like_markdown(text: str) -> bool:
    """Whether *text*, of which nobody says what it is, has the marks of Markdown: two kinds of them at least."""
    head = text[:20000]
    kinds = {each.kind for each in markdown_blocks(head, 0, Limits())} - {"paragraph"}
    linked = re.search(r"\[[^\]\n]{1,200}\]\([^)\s]{1,500}\)", head)
    return len(kinds) + bool(linked) >= 2 and ("heading" in kinds or "```" in head or bool(linked))


# What a document says of itself


def _front(text: str) -> tuple[dict[str, Any], int]:
    """What stands between the first lines of *text*, and where the text goes on."""
    match = _FRONT.match(text)
    if match is None:
        return {}, 0
    inside = text[len(match[1]) : match.end()].rstrip().removesuffix(match[1])
    told = _toml(inside) if match[1] == "+++" else _yaml(inside)
    return (told, match.end()) if told else ({}, 0)


def _toml(text: str) -> dict[str, Any]:
    import tomllib

    try:
        return {name: _plain(value) for name, value in tomllib.loads(text.replace("\r\n", "\n")).items()}
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _plain(value: Any) -> Any:
    """*value* of TOML as JSON can hold it: what is deep is told as text."""
    if isinstance(value, list):
        return [str(each) for each in value]
    return value if isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**53) else str(value)


def _yaml(text: str) -> dict[str, Any]:
    """The simple part of YAML: names with a text or a list of texts, and no more."""
    told: dict[str, Any] = {}
    name = ""
    for _, _, line in lined(text):
        if (match := _PAIR.match(line)) and not line[0].isspace():
            name = match[1]
            told[name] = _value(match[2] or "")
        elif name and line.lstrip().startswith("- "):
            held = told[name] if isinstance(told[name], list) else []
            told[name] = [*held[:200], _unquoted(line.lstrip()[2:])]
    return told


def _value(text: str) -> str | list[str]:
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return [kept for each in text[1:-1].split(",") if (kept := _unquoted(each))]
    return _unquoted(text)


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _said(value: Any) -> str:
    return one_line(str(value)) if isinstance(value, str | int | float) else ""


def _first_title(text: str, blocks: list[Block]) -> str:
    """The only heading of the first level, or the one that opens the text."""
    tops = [each for each in blocks if each.kind == "heading" and each.level == 1]
    if len(tops) != 1 and not (tops and tops[0] is next(each for each in blocks if each.kind != "code")):
        return ""
    path = Document(text, blocks=tops[:1]).section(tops[0].end)
    return path[0] if path else ""


# Blocks


def markdown_blocks(text: str, start: int, limits: Limits) -> list[Block]:
    """The blocks of *text* from the character at *start* on."""
    reader = _Reader()
    for line in lined(text, start):
        reader.take(line)
        few(reader.blocks, limits)
    reader.end()
    return reader.blocks


class _Reader:
    """Takes lines one by one, and closes a block when the next one begins."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.kind: BlockKind = "paragraph"
        self.begin = self.stop = self.above = -1  # of the open block; *above* is the end of its last line but one
        self.until: re.Pattern[str] | None = None  # what ends the code or HTML that is open
        self.depth = 0  # how far the text of a list's item is indented
        self.blank = False  # whether the line before was
        self.before = ""

    def take(self, line: Line) -> None:
        """Take the next line."""
        start, stop, said = line
        empty = not said or said.isspace()
        if self.until is not None and not (self.kind == "list" and not empty and _indent(said) < self.depth):
            self._raw(stop, said)
        elif empty:
            self.until = None
            if self.kind not in ("list", "code"):
                self.end()
        elif not self._goes_on(stop, said):
            self._opened(start, stop, said)
        self.blank, self.before = empty, said

    def end(self) -> None:
        """Close what is open."""
        if self.begin >= 0:
            self.blocks.append(Block(self.kind, self.begin, self.stop))
        self.begin, self.until = -1, None

    def _opened(self, start: int, stop: int, said: str) -> None:
        """Open the block that begins with this line."""
        if heading := _HEADING.match(said):
            self._open("heading", start, stop, said)
            self.blocks.append(Block("heading", self.begin, self.stop, len(heading[1])))
            self.begin = -1
        elif fence := _FENCE.match(said):
            self._open("code", start, stop, said)
            self.until = _closing(fence)
        elif _RULE.match(said):
            self._open("paragraph", start, stop, said)
            self.end()
        elif item := _ITEM.match(said):
            self._open("list", start, stop, said)
            self._item(item, said)
        else:
            self._open("code" if _indent(said) >= 4 else "paragraph", start, stop, said)
            self.until = _raw_until(said)

    def _open(self, kind: BlockKind, start: int, stop: int, said: str) -> None:
        self.end()
        self.kind = kind
        self.begin = start if kind == "code" else start + len(said) - len(said.lstrip())
        self.stop = self.above = self.begin
        self._more(stop, said)

    def _more(self, stop: int, said: str) -> None:
        self.above, self.stop = self.stop, stop - len(said) + len(said.rstrip())

    def _raw(self, stop: int, said: str) -> None:
        """A line of code, or of HTML, which is shown as it stands."""
        if said.strip():
            self._more(stop, said)
        if self.until is not None and self.until.search(said):
            self.until = None
            if self.kind == "code":
                self.end()

    def _goes_on(self, stop: int, said: str) -> bool:
        """Whether the line belongs to the block that is open; it does then."""
        if self.begin < 0:
            return False
        match self.kind:
            case "code":  # what is indented; what is fenced ends itself
                inside = _indent(said) >= 4
            case "list":
                inside = self._in_list(said)
            case "table":
                inside = not _interrupts(said)
            case _:
                return self._in_paragraph(stop, said)
        if inside:
            self._more(stop, said)
        return inside

    def _in_list(self, said: str) -> bool:
        self.until = None
        if _indent(said) >= self.depth:
            inner = said.lstrip()
            item = _ITEM.match(inner)
            if fence := _FENCE.match(inner[item.end() :] if item else inner):
                self.until = _closing(fence)
            return True
        if (item := _ITEM.match(said)) and not _RULE.match(said):
            self._item(item, said)
            return True
        return not self.blank and not _interrupts(said)

    def _item(self, item: re.Match[str], said: str) -> None:
        self.depth = len(item[1]) + len(item[2]) + 1
        if fence := _FENCE.match(said[item.end() :]):
            self.until = _closing(fence)

    def _in_paragraph(self, stop: int, said: str) -> bool:
        if (under := _UNDERLINE.match(said)) and not self.before.lstrip().startswith(">"):
            self._more(stop, said)
            self.blocks.append(Block("heading", self.begin, self.stop, 1 if under[1][0] == "=" else 2))
            self.begin = -1
            return True
        if _is_head(self.before, said):
            self._to_table(stop, said)
            return True
        item = _ITEM.match(said)
        if _interrupts(said) or (item and said[item.end() :].strip() and item[2] in ("-", "+", "*", "1.", "1)")):
            return False
        self._more(stop, said)
        return True

    def _to_table(self, stop: int, said: str) -> None:
        """The line before was a table's head; what stands above it is a paragraph of its own."""
        if self.above > self.begin:
            self.blocks.append(Block("paragraph", self.begin, self.above))
        self.begin = self.stop - len(self.before.strip())
        self.kind = "table"
        self._more(stop, said)


def _indent(said: str) -> int:
    """How far *said* is indented; a tab leads to the next fourth place."""
    blank = said[: len(said) - len(said.lstrip(" \t"))]
    return len(blank.expandtabs(4)) if "\t" in blank else len(blank)


def _closing(fence: re.Match[str]) -> re.Pattern[str]:
    marks = fence[1] or fence[2]
    return re.compile(rf"^[ \t]*{marks[0]}{{{min(len(marks), 60000)},}}[ \t]*$")


def _raw_until(said: str) -> re.Pattern[str] | None:
    """What ends the HTML that *said* begins and does not end itself, inside which nothing is Markdown."""
    match = _RAW.match(said)
    if match is None:
        return None
    until = re.compile("-->" if match[1] else f"</{match[2]}>", re.I)
    return None if until.search(said) else until


def _interrupts(said: str) -> bool:
    """Whether *said* begins a block also where it follows a text at once."""
    return bool(_HEADING.match(said) or _FENCE.match(said) or _RULE.match(said) or _RAW.match(said))


def _is_head(head: str, under: str) -> bool:
    """Whether *head* is that of a table, and *under* the line that is drawn under it."""
    under = under.rstrip()
    return "|" in head + under and bool(_COLUMNS.match(under)) and _width(head) == _width(under)


def _width(row: str) -> int:
    return len(_CELL.findall(row.strip().removeprefix("|").removesuffix("|"))) + 1
