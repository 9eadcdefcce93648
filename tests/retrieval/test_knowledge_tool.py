"""The tool by which agents search: what they may filter by, what they are told, and what they never see."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from attrs import evolve, frozen

from arshai_kit import ToolCall, aio, openai_compatible, run_tools, testing
from arshai_kit._json import dumps, loads
from arshai_kit.completion import run
from arshai_kit.errors import Misuse
from arshai_kit.index import Entry, Index, Passage, Statistics, in_memory_index, where
from arshai_kit.retrieval import check, knowledge_tool
from arshai_kit.tools import Tool, answered, toolbox
from tests.core.worlds import World, everywhere

MODEL = openai_compatible("tiny", base_url="http://localhost/v1", api_key="")


@frozen(kw_only=True)
class Note(Passage):
    """Fields of every kind."""

    category: str = ""
    year: int | None = None
    weight: float = 0.0
    public: bool = True
    tags: tuple[str, ...] = ()
    day: date = date(2020, 1, 1)
    moment: datetime = datetime(2020, 1, 1, tzinfo=UTC)


FIELDS = ("category", "year", "weight", "public", "tags", "day", "moment")


def filled(count: int = 6) -> Index[Note]:
    index = in_memory_index(Note)
    index.upsert(
        [
            Entry(
                str(number),
                f"Rain falls on day {number}.",
                None,
                Note(
                    source=f"{number}.md",
                    title=f"Day {number}",
                    category=("wet", 'dr"y')[number % 2],
                    year=2000 + number,
                    weight=number / 2,
                    public=number % 3 > 0,
                    tags=("a", "b")[: number % 3],
                    day=date(2020, 1, 1 + number % 28),
                    moment=datetime(2020, 1, 1 + number % 28, tzinfo=UTC),
                ),
            )
            for number in range(count)
        ]
    )
    return index


def made(index: Index[Any], **options: Any) -> Tool:
    return knowledge_tool(index, mode="sparse", **{"fields": FIELDS, **options})


def told(tool: Tool, **arguments: Any) -> str:
    """What the model is told when it calls *tool*."""
    call = ToolCall("1", tool.name, arguments)
    result = run(_Answered(call, tool)).result
    assert isinstance(result, str)
    return result


@frozen
class _Answered:
    call: ToolCall
    tool: Tool

    def plan(self) -> Any:
        return (yield from answered(self.call, toolbox([self.tool])))

    def __call__(self) -> Any: ...


def days(text: str) -> list[int]:
    return sorted([number for number in range(100) if f"Rain falls on day {number}." in text])


def test_its_schema_names_the_values_that_there_are() -> None:
    schema = made(filled()).spec.parameters
    jsonschema.Draft202012Validator.check_schema(loads(dumps(schema)))
    properties = schema["properties"]
    assert list(properties) == [
        *("question", "category", "year", "weight_from", "weight_to", "public", "tags"),
        *("day_from", "day_to", "moment_from", "moment_to"),
    ]
    assert list(schema["required"]) == ["question"]
    assert str(('dr"y', "wet")) in str(properties["category"])
    assert "2005" in str(properties["year"])


def test_with_many_values_it_takes_any() -> None:
    properties = made(filled(60)).spec.parameters["properties"]
    assert {"year_from", "year_to"} <= set(properties)
    assert "enum" not in str(knowledge_tool(filled(60), fields=["source"]).spec.parameters)


@pytest.mark.parametrize(
    ("narrowed", "found"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"category": "wet"}, [0, 2, 4]),
        ({"category": 'dr"y', "year": 2003}, [3]),
        ({"weight_from": 1.0, "weight_to": 2}, [2, 3, 4]),
        ({"public": False}, [0, 3]),
        ({"tags": "b"}, [2, 5]),
        ({"day_from": "2020-01-05"}, [4, 5]),
        ({"moment_to": "2020-01-02T00:00:00Z"}, [0, 1]),
        ({"category": None}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_each_filter_is_typed_and_does_what_it_says(narrowed: dict[str, Any], found: list[int]) -> None:
    assert days(told(made(filled(), limit=10), question="rain", **narrowed)) == found


@pytest.mark.parametrize(
    "narrowed",
    [
        {"category": "no such"},
        {"category": "wet' OR '1'='1"},
        {"category": ["wet"]},
        {"year": "2003; drop table entries"},
        {"year": {"$gt": 0}},
        {"source": "0.md"},
        {"day_from": "yesterday"},
    ],
)
def test_what_is_no_value_is_told_to_the_model_and_nothing_is_searched(narrowed: dict[str, Any]) -> None:
    searched: list[str] = []
    answer = told(made(filled(), heard=lambda question, _: searched.append(question)), question="rain", **narrowed)
    assert days(answer) == []
    assert "do not fit" in answer or "category" in answer
    assert searched == []


def test_text_of_many_values_is_looked_for_as_it_is() -> None:
    tool = made(filled(60), fields=["title"], limit=60)
    assert days(told(tool, question="rain", title="%")) == []
    assert days(told(tool, question="rain", title="Day 5")) == [5, *range(50, 60)]


def test_what_it_is_not_to_see_it_never_sees() -> None:
    tool = made(filled(), where=where(category="wet"), limit=10)
    assert days(told(tool, question="rain")) == [0, 2, 4]
    assert days(told(tool, question="rain", category='dr"y')) == []
    assert "dr" not in str(tool.spec.parameters["properties"]["category"])
    assert "(2000, 2002, 2004)" in str(tool.spec.parameters["properties"]["year"])
    tags = made(filled(), where=where(year=2001), fields=["tags", "source"]).spec.parameters["properties"]
    assert ("'a'" in str(tags["tags"]), "'b'" in str(tags["tags"])) == (True, False)
    assert ("1.md" in str(tags["source"]), "2.md" in str(tags["source"])) == (True, False)


def test_nothing_found_is_said() -> None:
    assert told(made(filled()), question="snow").startswith("Nothing was found")


@everywhere
def test_an_agent_finds_cites_and_is_checked(world: World) -> None:
    heard: list[Any] = []
    tool = world.run(
        lambda: knowledge_tool.plan(filled(), mode="sparse", limit=2, heard=lambda _, hits: heard.extend(hits))
    )
    call = ToolCall("1", "search_knowledge", {"question": "When does rain fall on day 3?"})
    with testing.scripted(call, "Rain falls on day 3 [1].") as script:
        answer = world.run(lambda: run_tools.plan(MODEL, "When does rain fall?", [tool]))
    result = script.asked[1].messages[-1].parts[0]
    assert 'number="1" title="Day 3" source="3.md"' in str(result.content if hasattr(result, "content") else result)
    assert check(answer, heard).cited == (1,)


async def test_it_is_made_of_an_async_index(anyio_backend: str) -> None:
    assert anyio_backend
    tool = await aio.run(knowledge_tool, filled(), fields=["category"], mode="sparse", name="rain")
    assert tool.name == "rain"
    assert "wet" in str(tool.spec.parameters)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fields": ["colour"]}, "no field colour to filter by; it has source"),
        ({"name": "no name"}, "no model can"),
    ],
)
def test_what_cannot_work_says_what_to_pass(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        made(filled(), **options)


def test_a_field_may_be_called_as_what_it_is_asked() -> None:
    """Questions and their answers are a usual thing to search."""

    @frozen(kw_only=True)
    class Pair(Passage):
        question: str = ""
        year: int | None = None
        year_to: int | None = None

    index = in_memory_index(Pair)
    index.upsert(
        [Entry(str(year), f"Rain in {year}.", None, Pair(question=f"{year}?", year=year)) for year in range(60)]
    )
    found = made(index, fields=["question", "year", "year_to", "year"])
    assert {"question", "question_", "year_from", "year_to", "year_to_from"} <= {*found.spec.parameters["properties"]}
    assert told(found, question="rain", question_="17?").count("Rain in") == 1


def test_an_index_that_counts_no_values_is_narrowed_by_any() -> None:
    index = evolve(filled(), statistics=lambda _facets=(): Statistics())
    properties = made(index, fields=["category", "year"]).spec.parameters["properties"]
    assert list(properties) == ["question", "category", "year_from", "year_to"]
