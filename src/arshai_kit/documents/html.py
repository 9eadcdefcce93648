"""HTML as text with its structure: what a reader of the page sees, in its order, and nothing that runs.

The tree is walked with a list instead of by recursion, so that no depth of it ends the process.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from arshai_kit.documents.building import Builder, fenced, iso, one_line, piped
from arshai_kit.documents.records import Document, Limits
from arshai_kit.errors import need

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

__all__ = ["html"]

_UNSEEN: Final = (
    "script, style, template, noscript, iframe, frame, object, embed, applet, canvas, svg, audio, video, select, "
    "datalist, textarea, button, rp, [hidden]"
)
_HIDDEN: Final = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))\b", re.IGNORECASE)
_ASIDE: Final = "nav, [role=navigation], body > footer, [role=contentinfo]"
_BLOCKS: Final = frozenset(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup hr legend li main menu nav ol p pre search section summary table "
    "tbody td tfoot th thead tr ul".split()
)
_LAYOUT: Final = "table table, table :is(h1, h2, h3, h4, h5, h6, article, section)"
_LOOSE: Final = "table :is(pre, ul, ol, p + p)"
_LISTS: Final = frozenset({"ul", "ol", "menu", "dir"})
_HEADINGS: Final = MappingProxyType({f"h{level}": level for level in range(1, 7)})
_DEEPEST: Final = 12  # of the lists in a list whose indentation is shown
_WIDEST: Final = 500  # columns of a table

_CREATED: Final = ("article:published_time", "datepublished", "date", "dc.date", "dcterms.created", "pubdate")
_MODIFIED: Final = ("article:modified_time", "datemodified", "last-modified", "dcterms.modified", "og:updated_time")
_KEPT: Final = ("description", "keywords", "og:site_name", "generator")


def html(text: str, limits: Limits) -> Document:
    """The HTML in *text* as a document, its headings, lists, tables and code written as Markdown writes them."""
    tree = _parsed(text)
    told = _told(tree)
    unseen, aside = _ids(tree, _UNSEEN) | _styled(tree), _ids(tree, _ASIDE)
    builder = _Walk(tree, unseen | aside, limits).builder
    if not builder.blocks and aside:
        aside = set()
        builder = _Walk(tree, unseen, limits).builder
    left = ((unseen, "what runs or is not shown"), (aside, "ways through the site"))
    builder.notices += [f"left out, in {len(places)} places: {what}" for places, what in left if places]
    title = told.pop("title") or _first_title(builder)
    return builder.document("text/html", title=title, **told)


def _parsed(text: str) -> LexborHTMLParser:
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError:
        need("selectolax", "documents")
    return LexborHTMLParser(text.encode("utf-8", "replace"))


def _ids(tree: LexborHTMLParser, selector: str) -> set[int]:
    return {node.mem_id for node in tree.css(selector)}


def _styled(tree: LexborHTMLParser) -> set[int]:
    return {node.mem_id for node in tree.css("[style]") if _HIDDEN.search(node.attributes.get("style") or "")}


# What a page says of itself


def _told(tree: LexborHTMLParser) -> dict[str, Any]:
    said = _meta(tree)
    heads = [node for node in tree.css("head > title")[:1] if node.text()]
    root = tree.css("html[lang], body[lang]")[:1]
    language = (root[0].attributes.get("lang") or "") if root else ""
    return {
        "title": one_line(heads[0].text())[:1000] if heads else said.get("og:title", ""),
        "author": said.get("author") or said.get("article:author") or said.get("dc.creator", ""),
        "created": next((date for name in _CREATED if (date := iso(said.get(name, "")))), ""),
        "modified": next((date for name in _MODIFIED if (date := iso(said.get(name, "")))), ""),
        "language": language or said.get("content-language", ""),
        "metadata": {name: said[name] for name in _KEPT if said.get(name)},
    }


def _meta(tree: LexborHTMLParser) -> dict[str, str]:
    """What the page's own tags tell, by their names in small letters; the first of a name counts."""
    said: dict[str, str] = {}
    for node in tree.css("meta")[:1000]:
        told = node.attributes
        name = told.get("property") or told.get("name") or told.get("itemprop") or told.get("http-equiv") or ""
        said.setdefault(name.lower(), one_line(told.get("content") or "")[:2000])
    return said


def _first_title(builder: Builder) -> str:
    """The first heading, if it is of the highest level that there is."""
    headings = [block for block in builder.blocks if block.kind == "heading"]
    if not headings or headings[0].level > min(block.level for block in headings):
        return ""
    text = "".join(builder.parts[: builder.blocks.index(headings[0]) + 1])
    return text[headings[0].start : headings[0].end].lstrip("# ")


# What it shows


class _Walk:
    """One walk through the tree: inline text is gathered until a block begins or ends, and is then written."""

    def __init__(self, tree: LexborHTMLParser, skipped: set[int], limits: Limits) -> None:
        self.builder = Builder(limits)
        self.skipped = skipped
        self.layout = _layouts(tree)
        self.words: list[str] = []  # of the block that is open; a line break is "\0"
        self.heading = 0
        self.lists: list[int] = []  # of the lists that are open: the number of the next item, 0 without numbers
        self.marked = False  # whether the item has its mark
        self.items: list[str] = []  # the lines of the list
        self.tables: list[_Table] = []
        self.walk(tree.root)

    def walk(self, root: LexborNode | None) -> None:
        """Enter and leave every node that is shown, in the order of the page."""
        todo: list[tuple[LexborNode, bool]] = [(root, False)] if root is not None else []
        while todo:
            node, leaving = todo.pop()
            if leaving:
                self.leave(str(node.tag))
            elif node.is_text_node:
                self.words.append((node.text_content or "").replace("\0", ""))
            elif node.is_element_node and node.mem_id not in self.skipped and self.enter(node, str(node.tag)):
                todo.append((node, True))
                todo.extend((child, False) for child in reversed(_children(node)))
        self.flush()
        self.end_list()

    def enter(self, node: LexborNode, tag: str) -> bool:
        """Begin what *tag* begins; whether to go on inside of it."""
        if tag == "br":
            self.words.append("\0")
        elif tag == "img":
            self.words.append(f" {node.attributes.get('alt') or ''} ")
        elif tag in _BLOCKS:
            return self.begin(node, tag)
        return tag != "head"

    def begin(self, node: LexborNode, tag: str) -> bool:
        self.flush()
        if tag in _HEADINGS:
            self.heading = _HEADINGS[tag]
        elif tag in _LISTS:
            self.lists.append(_number(node.attributes.get("start")) if tag == "ol" else 0)
        elif tag == "li":
            self.marked = False
        elif tag == "pre" and not self.tables:
            self.code(node)
            return False
        elif tag == "table" and node.mem_id not in self.layout and not self.tables:
            self.end_list()
            self.tables.append(_Table())
        elif self.tables and tag == "tr":
            self.tables[-1].row()
        elif self.tables and tag in ("td", "th"):
            self.tables[-1].cell(node)
        return True

    def leave(self, tag: str) -> None:
        """End what *tag* ends."""
        if tag not in _BLOCKS:
            return
        self.flush()
        if tag in _HEADINGS:
            self.heading = 0
        elif tag in _LISTS and self.lists:
            self.lists.pop()
            self.marked = True
            if not self.lists:
                self.end_list()
        elif self.tables and tag in ("td", "th"):
            self.tables[-1].open = False
        elif self.tables and tag == "table":
            self.builder.add("table", piped(self.tables.pop().rows))

    def flush(self) -> None:
        """Write what has been gathered to where it belongs."""
        if not self.words:
            return
        lines = [line for each in "".join(self.words).split("\0") if (line := one_line(each))]
        self.words.clear()
        if not lines:
            return
        if self.tables and self.tables[-1].open:
            self.tables[-1].write(" ".join(lines))
        elif self.heading:
            self.end_list()
            self.builder.heading(" ".join(lines), self.heading)
        elif self.lists:
            self.item(lines)
        else:
            self.builder.add("paragraph", "\n".join(lines))

    def item(self, lines: list[str]) -> None:
        """Write *lines* to the list, the first of an item after its mark."""
        number = self.lists[-1]
        mark = f"{number}. " if number else "- "
        indent = "  " * min(len(self.lists) - 1, _DEEPEST)
        if self.marked:
            self.items += [f"{indent}{' ' * len(mark)}{line}" for line in lines]
            return
        self.marked = True
        self.lists[-1] += number > 0
        self.items.append(f"{indent}{mark}{lines[0]}")
        self.items += [f"{indent}{' ' * len(mark)}{line}" for line in lines[1:]]

    def end_list(self) -> None:
        """Write the lines of the list, which may go on after what comes between."""
        self.builder.add("list", "\n".join(self.items))
        self.items.clear()

    def code(self, node: LexborNode) -> None:
        """Write what stands in a `pre` as it stands."""
        self.end_list()
        text = (node.text(deep=True) or "").replace("\r\n", "\n")
        if text.strip():
            self.builder.add("code", fenced(text, _language(node)))


class _Table:
    """The cells of a table, spans filled with nothing."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.spans: dict[int, int] = {}  # of columns: how many rows more they are taken by a cell from above
        self.open = False
        self.at = 0

    def row(self) -> None:
        """Begin a row; what the last one has left of cells from above is passed."""
        for place in [each for each in self.spans if self.rows and each >= len(self.rows[-1])]:
            self.passed(place)
        self.rows.append([])

    def passed(self, place: int) -> None:
        """One row less is taken of a column."""
        self.spans[place] -= 1
        if self.spans[place] <= 0:
            del self.spans[place]

    def taken(self) -> None:
        """Leave the places empty that cells from above take."""
        row = self.rows[-1]
        while len(row) in self.spans:
            self.passed(len(row))
            row.append("")

    def cell(self, node: LexborNode) -> None:
        """Begin a cell."""
        if not self.rows:
            self.row()
        self.taken()
        row = self.rows[-1]
        self.open = True
        wide = min(_number(node.attributes.get("colspan")), _WIDEST)
        tall = min(_number(node.attributes.get("rowspan")), 1000)
        for place in range(len(row), min(len(row) + wide, _WIDEST)):
            if tall > 1:
                self.spans[place] = tall - 1
            elif place in self.spans:
                self.passed(place)
        self.at = len(row)
        row.extend([""] * (wide if len(row) + wide <= _WIDEST else 1))

    def write(self, text: str) -> None:
        """Add *text* to the cell that is open."""
        row = self.rows[-1]
        row[self.at] = f"{row[self.at]} {text}" if row[self.at] else text


def _children(node: LexborNode) -> list[LexborNode]:
    found = []
    child = node.child
    while child is not None:
        found.append(child)
        child = child.next
    return found


def _layouts(tree: LexborHTMLParser) -> set[int]:
    """The tables that only lay out a page: they hold headings or further tables; without a head, lists or code too."""
    found = {id_ for node in tree.css(_LAYOUT) if (id_ := _around(node))}
    more = {id_ for node in tree.css(_LOOSE) if (id_ := _around(node))} - found
    headed = {_around(node) for node in tree.css("table :is(th, caption)")} if more else set()
    return found | (more - headed)


def _around(node: LexborNode) -> int:
    """The table that *node* is in; 0, if there is none."""
    above = node.parent
    while above is not None and above.tag != "table":
        above = above.parent
    return 0 if above is None else above.mem_id


def _number(text: str | None) -> int:
    """The number that an attribute gives, from 1."""
    return max(int(text), 1) if text and text.isascii() and text.isdecimal() and len(text) < 7 else 1


def _language(node: LexborNode) -> str:
    """What a `pre`, or the `code` in it, says it is written in: `class="language-python"`."""
    inner = node.css_first("code[class]")
    names = f"{node.attributes.get('class') or ''} {(inner.attributes.get('class') or '') if inner else ''}".split()
    said = next((name for name in names if name.startswith(("language-", "lang-"))), "")
    return "".join(each for each in said.partition("-")[2] if each.isalnum() or each in "+#-_")[:40]
