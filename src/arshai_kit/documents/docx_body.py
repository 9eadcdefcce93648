"""What the text of a DOCX says, told of its XML piece by piece: paragraphs, headings, lists, tables, notes, pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from arshai_kit._record import Record
from arshai_kit.documents.building import Builder, fenced, one_line, piped
from arshai_kit.documents.records import Limits

__all__ = ["Attributes", "Body", "Style", "numbering", "styles"]

Attributes: TypeAlias = Mapping[str, str]
"""The attributes of an element, by their names; those in a namespace have its address before theirs."""

Walk: TypeAlias = Callable[..., None]

_HEADING: Final = re.compile(r"heading ([1-9])$", re.I)
_CODE: Final = frozenset({"html preformatted", "code", "source code", "macro text", "plain text"})
_GONE: Final = frozenset(
    {"w:del", "w:moveFrom", "w:instrText", "w:delText", "w:delInstrText", "2006:Fallback", "w:rPr", "w:pPrChange"}
)
_TEXT: Final = frozenset({"w:t", "math:t"})
_SIGNS: Final = MappingProxyType({"w:tab": "\t", "w:ptab": "\t", "w:br": "\n", "w:cr": "\n", "w:noBreakHyphen": "-"})
_OF_RUN: Final = 2
"""How deep in what is not shown a property of a run stands."""
_PAGE: Final = "\f"
_DEEPEST: Final = 12
_WIDEST: Final = 500


@frozen(eq=False, repr=False)
class Style(Record):
    """What a paragraph is: a heading of a *level*, an item of the *list* of that id at a *depth*, or neither."""

    name: str = ""
    based: str = ""
    level: int = 0
    list: str = ""
    depth: int = 0


def _value(told: Attributes, name: str = "val") -> str:
    return next((value for each, value in told.items() if each.rpartition(" ")[2] == name), "")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0


def styles(pack: Any, name: str) -> Mapping[str, Style]:
    """The styles of paragraphs, by their ids, each with what it takes over from the one that it is based on."""
    found: dict[str, Style] = {}
    here = [""]

    def start(element: str, told: Attributes) -> None:
        if element == "w:style":
            here[0] = _value(told, "styleId")
            found[here[0]] = Style()
        elif here[0] in found and element in _STYLED:
            found[here[0]] = _STYLED[element](found[here[0]], _value(told))

    pack.walk(name, start)
    return {each: _whole(each, found) for each in found}


def _named(style: Style, name: str) -> Style:
    heading = _HEADING.match(name)
    level = int(heading[1]) if heading else 1 if name == "Title" else 0
    return evolve(style, name=name.lower(), level=style.level or level)


def _outlined(style: Style, value: str) -> Style:
    """Levels count from 0, and 9 is no heading."""
    return evolve(style, level=(_number(value) + 1) % 10)


_STYLED: Final[Mapping[str, Callable[[Style, str], Style]]] = MappingProxyType(
    {
        "w:name": _named,
        "w:basedOn": lambda style, value: evolve(style, based=value),
        "w:outlineLvl": _outlined,
        "w:numId": lambda style, value: evolve(style, list=value),
        "w:ilvl": lambda style, value: evolve(style, depth=_number(value)),
    }
)


def _whole(name: str, found: Mapping[str, Style]) -> Style:
    style = found[name]
    above = found.get(style.based)
    for _ in range(20):
        if above is None or (style.level and style.list):
            break
        style = evolve(style, level=style.level or above.level, list=style.list or above.list)
        above = found.get(above.based)
    return style


def numbering(pack: Any, name: str) -> Mapping[tuple[str, int], int]:
    """The numbers of the first items of lists that have any, by the id of the list and the depth."""
    kinds: dict[str, dict[int, bool]] = {}
    firsts: dict[tuple[str, int], int] = {}
    lists: dict[str, str] = {}
    here = {"kind": "", "depth": "", "list": ""}

    def start(element: str, told: Attributes) -> None:
        match element:
            case "w:abstractNum":
                here["kind"] = _value(told, "abstractNumId")
            case "w:lvl" | "w:lvlOverride":
                here["depth"] = _value(told, "ilvl")
            case "w:numFmt":
                kinds.setdefault(here["kind"], {})[_number(here["depth"])] = _value(told) not in ("bullet", "none")
            case "w:start" | "w:startOverride":
                firsts[here["kind"], _number(here["depth"])] = _number(_value(told))
            case "w:num":
                here["list"] = _value(told, "numId")
                here["kind"] = f"/{here['list']}"  # what it overrides of its kind
            case "w:abstractNumId":
                lists[here["list"]] = _value(told)

    pack.walk(name, start)
    return {
        (each, depth): firsts.get((f"/{each}", depth), firsts.get((kind, depth), 1))
        for each, kind in lists.items()
        for depth, numbers in {**kinds.get(kind, {}), **kinds.get(f"/{each}", {})}.items()
        if numbers
    }


class _Table:
    """The cells of a table."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.span = 1

    def write(self, text: str) -> None:
        """Add *text* to the last cell."""
        if self.rows and self.rows[-1]:
            row = self.rows[-1]
            row[-1] = f"{row[-1]} {text}" if row[-1] else text

    def widen(self) -> None:
        """Leave the places of the last cell empty that it takes beside its own."""
        if self.rows:
            self.rows[-1] += [""] * (self.span - 1)
        self.span = 1


class Body:
    """The text as it is told; a text box in a paragraph comes before it."""

    def __init__(self, styles: Mapping[str, Style], numbered: Mapping[tuple[str, int], int], limits: Limits) -> None:
        self.builder = Builder(limits)
        self.styles, self.numbered = styles, numbered
        self.title = ""
        self.gone = 0  # how deep in what is not shown
        self.inside = 0  # how deep in what is text
        self.properties = 0  # how deep in what tells how a paragraph looks
        self.style = Style()
        self.words: list[str] = []
        self.outer: list[tuple[Style, list[str]]] = []  # paragraphs around a text box
        self.tables: list[_Table] = []
        self.lines: list[str] = []  # of the list or the code that is open
        self.kind = self.list = ""
        self.counts: dict[tuple[str, int], int] = {}
        self.note = ""
        self.hidden = self.left_out = False  # what is written so that no reader sees it

    # -- the XML --

    def start(self, name: str, told: Attributes) -> None:
        """An element begins."""
        if self.gone or name in _GONE:
            self.gone += 1
            if name == "w:vanish" and self.gone == _OF_RUN and not self.properties:
                self.hidden = _value(told) not in ("0", "false")
        elif name in _TEXT:
            self.inside += 1
        elif name == "w:pPr":
            self.properties += 1
        elif self.properties:
            self._look(name, told)
        elif name in _SIGNS:
            self.words.append(_SIGNS[name])
        elif name == "w:lastRenderedPageBreak":
            self.words.append(_PAGE)
        else:
            self._begin(name, told)

    def _begin(self, name: str, told: Attributes) -> None:
        match name:
            case "w:r":
                self.hidden = False
            case "w:p":
                self.outer.append((self.style, self.words))
                self.style, self.words = Style(), []
            case "w:tbl":
                self._close_lines()
                self.tables.append(_Table())
            case "w:tr" if self.tables:
                self.tables[-1].rows.append([])
            case "w:tc" if self.tables and self.tables[-1].rows:
                self.tables[-1].rows[-1].append("")
            case "w:gridBefore" if self.tables and self.tables[-1].rows:
                self.tables[-1].rows[-1] += [""] * min(_number(_value(told)), _WIDEST)
            case "w:gridSpan" if self.tables:
                self.tables[-1].span = min(max(_number(_value(told)), 1), _WIDEST)
            case "w:footnoteReference" | "w:endnoteReference":
                self.words.append(f"[^{_value(told, 'id')}]")
            case "w:footnote" | "w:endnote":
                self.note = "" if _value(told, "type") else f"[^{_value(told, 'id')}]: "

    def _look(self, name: str, told: Attributes) -> None:
        """What a paragraph's properties tell of it."""
        if name == "w:pStyle":
            self.style = self.styles.get(_value(told), self.style)
        elif name in ("w:outlineLvl", "w:numId", "w:ilvl"):
            self.style = _STYLED[name](self.style, _value(told))

    def data(self, text: str) -> None:
        """What stands in an element."""
        if self.inside and self.hidden:
            self.left_out = True
        elif self.inside and not self.gone:
            self.words.append(text.replace(_PAGE, " "))

    def end(self, name: str) -> None:
        """An element ends."""
        if self.gone:
            self.gone -= 1
        elif name in _TEXT:
            self.inside -= 1
        elif name == "w:pPr":
            self.properties -= 1
        elif self.properties:
            pass
        elif name == "w:r":
            self.hidden = False
        elif name == "w:p":
            style, words = self.style, self.words
            self.style, self.words = self.outer.pop()
            self._paragraph(style, "".join(words))
        elif name == "w:tc" and self.tables:
            self.tables[-1].widen()
        elif name == "w:tbl" and self.tables:
            self._table(self.tables.pop())

    # -- the text --

    def _paragraph(self, style: Style, text: str) -> None:
        text, self.note = f"{self.note}{text}", ""
        places = _places(text) if _PAGE in text else []
        text = text.replace(_PAGE, "")
        if places and not places[0]:
            self._turn()
            del places[0]
        if self.tables:
            self.tables[-1].write(one_line(text))
        elif text.strip():
            self._write(style, text)
        if places:
            self._turn(places, text)

    def _write(self, style: Style, text: str) -> None:
        kind = "code" if style.name in _CODE else "list" if style.list not in ("", "0") and not style.level else ""
        other = kind == "list" and not style.depth and style.list != self.list
        if kind != self.kind or not kind or other:
            self._close_lines()
        if kind == "code":
            self.kind = kind
            self.lines.append(text)
        elif kind == "list":
            self.kind = kind
            self.list = style.list if not style.depth else self.list
            self._item(style, text)
        elif style.level:
            self.builder.heading(text, style.level)
            self.title = self.title or (one_line(text) if style.level == 1 else "")
        else:
            self.builder.add("paragraph", "\n".join(line.strip() for line in text.strip().split("\n")))

    def _item(self, style: Style, text: str) -> None:
        """Add an item to the list, with its number if it has one."""
        place = (style.list, style.depth)
        mark = "- "
        if (first := self.numbered.get(place)) is not None:
            self.counts[place] = self.counts.get(place, first - 1) + 1
            mark = f"{self.counts[place]}. "
        for deeper in [each for each in self.counts if each[0] == style.list and each[1] > style.depth]:
            del self.counts[deeper]
        self.lines.append(f"{'  ' * min(style.depth, _DEEPEST)}{mark}{one_line(text)}")

    def _table(self, table: _Table) -> None:
        if self.tables:
            self.tables[-1].write(one_line(" ".join(cell for row in table.rows for cell in row)))
        elif max(map(len, table.rows), default=0) == 1:  # a frame around text
            for row in table.rows:
                self.builder.add("paragraph", " ".join(row))
        else:
            self.builder.add("table", piped(table.rows))

    def _close_lines(self) -> None:
        lines, kind, self.kind = self.lines, self.kind, ""
        if lines:
            self.lines = []
            text = "\n".join(lines)
            self.builder.add("code" if kind == "code" else "list", fenced(text) if kind == "code" else text)

    def _turn(self, places: tuple[int, ...] | list[int] = (), text: str = "") -> None:
        """Begin a page: at *places* of the paragraph that was just written, or else with what comes next."""
        self.builder.pages = self.builder.pages or [0]
        block = self.builder.blocks[-1] if self.builder.blocks else None
        if places and block is not None and block.kind == "paragraph" and not self.tables and not self.lines:
            begun = len(text) - len(text.lstrip())
            self.builder.pages += [min(block.start + max(place - begun, 0), block.end) for place in places]
            return
        self._close_lines()
        for _ in places or (0,):
            self.builder.page()

    def close(self) -> None:
        """Write what is left, and tell what was left out."""
        self._close_lines()
        if self.left_out:
            self.builder.notices.append("left out: what is not shown")


def _places(text: str) -> list[int]:
    """Where in *text* pages begin, once the marks are taken out; 0 is before any of it."""
    found: list[int] = []
    before = ""
    for piece in text.split(_PAGE)[:-1]:
        before += piece
        found.append(len(before) if before.strip() else 0)
    return found
