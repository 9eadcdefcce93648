"""A tool by which an agent searches an index: what it may filter by is typed, and among the values that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from inspect import Parameter, Signature
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from attrs import evolve, frozen
from attrs import field as spot

from arshai_kit._record import Record
from arshai_kit.effects import Plan, call
from arshai_kit.errors import Misuse
from arshai_kit.faces import blocking, drive
from arshai_kit.index import EVERYTHING, Filter, Hit, Index, field
from arshai_kit.index.fields import Column, columns
from arshai_kit.index.filters import Everything
from arshai_kit.retrieval.asking import asked, indexed
from arshai_kit.retrieval.citing import passages
from arshai_kit.retrieval.retrieving import retrieve
from arshai_kit.tools import Tool, tool

if TYPE_CHECKING:
    from arshai_kit.embeddings import Embedder

__all__ = ["Searching", "knowledge_tool"]

_MOST: Final = 50
"""So many values are told to the model, which then takes one of them."""
_DESCRIPTION: Final = "Search the knowledge base for passages that answer a question. Cite them by their numbers: [1]."

_ORDERED: Final[Mapping[str, type]] = MappingProxyType(
    {"integer": int, "number": float, "date": date, "time": datetime}
)

Facet: TypeAlias = tuple[Any, int]
Narrowing: TypeAlias = Callable[[Any], Filter]


@blocking
def knowledge_tool(
    index: Index[Any],
    *,
    embedder: Embedder | None = None,
    name: str = "search_knowledge",
    description: str = _DESCRIPTION,
    fields: Iterable[str] = (),
    where: Filter = EVERYTHING,
    limit: int = 5,
    heard: Callable[[str, tuple[Hit[Any], ...]], Any] | None = None,
    **options: Any,
) -> Plan[Tool]:
    """A tool with which a model finds passages of *index*, numbered, each after where it is from.

    The model may narrow its search by *fields*: it is told which values there are now, and may name no others; of
    numbers and dates that have many, it may give the least and the most. It never sees what *where* leaves out. *heard*
    is given each question and its hits, for `check` or a log. Further *options* are those of `retrieve`.
    """
    wanted = tuple(dict.fromkeys(fields))
    kind: type = indexed(index).fields
    known = columns(kind)
    if unknown := [each for each in wanted if each not in known or known[each].kind == "json"]:
        there = ", ".join([each.name for each in known.values() if each.kind != "json"])
        raise Misuse(f"{index.name} has no field {', '.join(unknown)} to filter by; it has {there}")
    facets: Mapping[str, Any] = (yield from asked(index, index.statistics, wanted)).facets if wanted else {}
    ways: list[Way] = []
    for each in wanted:
        ways += _ways(known[each], (yield from _seen(index, where, known[each], facets.get(each, ()))))
    asking = Searching(index, where, _named(ways), {"embedder": embedder, "limit": limit, **options}, heard)
    return tool(asking, name=name, description=description)


@frozen(eq=False, repr=False)
class Way(Record):
    """An argument by which a model narrows a search: its *name*, its *type*, and the filter that a value makes."""

    name: str
    type: Any
    filter: Narrowing


def _seen(index: Index[Any], where: Filter, column: Column, found: Sequence[Facet]) -> Plan[Sequence[Facet]]:
    """Those of the values *found* that an entry has which *where* lets through: the others are not to be seen."""
    told = [each for each in found if each[0] not in (None, "")]
    if isinstance(where, Everything) or column.kind not in ("integer", "text", "texts") or len(told) > _MOST:
        return found
    one, there = field(column.name), []
    for value, often in told:
        has = one.contains(value) if column.kind == "texts" else one == value
        if (yield from asked(index, index.count, where & has)):
            there.append((value, often))
    return there


def _ways(column: Column, found: Sequence[Facet]) -> Iterable[Way]:
    """The arguments for a field of which there are the values *found*, the most frequent first."""
    values, one = tuple([value for value, _ in found if value not in (None, "")]), field(column.name)
    is_this, few = f"only where {column.name} is this", 0 < len(values) <= _MOST
    match column.kind:
        case "boolean":
            yield Way(column.name, Annotated[bool, is_this], one.__eq__)
        case "texts":
            has = f"only where {column.name} has this"
            yield Way(column.name, _among(values, has) if few else Annotated[str, has], one.contains)
        case "integer" | "text" if few:
            yield Way(column.name, _among(values, is_this), one.__eq__)
        case "text":
            about = f"only where {column.name} has this in it, letter by letter"
            yield Way(column.name, Annotated[str, about], one.contains)
        case kind:
            kind_of: Any = _ORDERED[kind]
            least, most = f"only where {column.name} is at least this", f"only where {column.name} is at most this"
            yield Way(f"{column.name}_from", Annotated[kind_of, least], one.__ge__)
            yield Way(f"{column.name}_to", Annotated[kind_of, most], one.__le__)


def _named(ways: Iterable[Way]) -> tuple[Way, ...]:
    """*ways*, each under a name of its own: an index may have a field `question`, which is what is asked."""
    found: dict[str, Way] = {}
    for way in ways:
        name = way.name
        while name in ("self", "question") or name in found:
            name += "_"
        found[name] = evolve(way, name=name)
    return tuple(found.values())


def _among(values: tuple[Any, ...], words: str) -> Any:
    """One of *values*."""
    return Annotated[Literal.__getitem__(tuple(sorted(values))), words]


@frozen(eq=False, repr=False)
class Searching(Record):
    """A search as a model may ask for it: a question, and what narrows it."""

    index: Index[Any]
    where: Filter
    ways: tuple[Way, ...]
    options: Mapping[str, Any] = spot(hash=False)
    heard: Callable[..., Any] | None = None

    @property
    def __name__(self) -> str:
        return "search_knowledge"

    @property
    def __signature__(self) -> Signature:
        """What the model may give."""
        asked_for = Annotated[str, "what to look for, as a whole question or a few words"]
        first = Parameter("question", Parameter.POSITIONAL_OR_KEYWORD, annotation=asked_for)
        more = [
            Parameter(way.name, Parameter.KEYWORD_ONLY, default=None, annotation=way.type | None) for way in self.ways
        ]
        return Signature([first, *more])

    def __call__(self, question: str, **narrowed: Any) -> str:
        """What is found."""
        return drive(self.plan(question, **narrowed))

    def plan(self, question: str, **narrowed: Any) -> Plan[str]:
        """What calling it does, as a plan."""
        wanted = self.where
        for way in self.ways:
            if (value := narrowed.get(way.name)) is not None:
                wanted = wanted & way.filter(value)
        hits = yield from retrieve.plan(self.index, question, where=wanted, **self.options)
        if self.heard is not None:
            yield from call(self.heard, question, hits)
        return passages(hits) if hits else "Nothing was found: ask in other words, or narrow it less."
