"""Reranking: a model as the judge, functions that score, and what happens when they do not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import openai_compatible, testing
from arshai_kit.errors import BadAnswer, Misuse, OverBudget, ScriptError, Unauthorized
from arshai_kit.index import Hit
from arshai_kit.records import Notice
from arshai_kit.rerank import by_scores, flashrank, judge, reranked
from tests.core.worlds import World, everywhere, listening

MODEL = openai_compatible("tiny", base_url="http://localhost/v1", api_key="", retry=None)
HITS = tuple(
    [Hit(own, f"Passage {own}.", 1.0 - place / 10, None, {"hybrid": 0.5}) for place, own in enumerate("abcde")]
)


@given(st.lists(st.floats(-5, 5), max_size=6))
def test_the_best_come_first_equal_ones_as_they_were_and_scores_are_kept(scores: list[float]) -> None:
    hits = tuple([Hit(str(place), "", 0.0, None, {"dense": 0.1}) for place in range(len(scores))])
    found = reranked(hits, scores)
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    assert [int(hit.id) for hit in found] == order
    assert all(hit.score == hit.scores["rerank"] == scores[int(hit.id)] for hit in found)
    assert all(hit.scores["dense"] == 0.1 for hit in found)


@pytest.mark.parametrize("scores", [[1.0], [1.0] * 6, [float("nan")] * 5, [float("inf")] * 5])
def test_what_is_no_score_for_each_is_refused(scores: list[float]) -> None:
    with pytest.raises(BadAnswer):
        reranked(HITS, scores)


@everywhere
def test_a_model_judges_in_batches(world: World) -> None:
    with testing.scripted('{"scores": [1, 9]}', '{"scores": [3, 10]}', '{"scores": [5]}') as script:
        found = world.run(lambda: judge(MODEL, batch=2, side_by_side=1).plan("which?", HITS))
    assert [hit.id for hit in found] == ["d", "b", "e", "c", "a"]
    assert found[0].scores == {"hybrid": 0.5, "rerank": 10.0}
    asked = [request.messages[-1].text for request in script.asked]
    assert len(asked) == 3
    assert '"passage":"Passage a."' in asked[0]
    assert "Passage c." not in asked[0]


def test_it_reads_the_beginning_of_a_passage_and_nothing_of_no_passages() -> None:
    with testing.scripted('{"scores": [1]}') as script:
        judge(MODEL, longest=5)("which?", [Hit("a", "Long passage", 1.0, None)])
        assert judge(MODEL)("which?", []) == ()
    assert '"passage":"Long "' in script.asked[0].messages[-1].text


@listening
@pytest.mark.parametrize(
    "answers",
    [
        ("no idea", "still none"),
        ('{"scores": [1, 2]}',),
        ('{"scores": [1, 2, 3, 4, 11]}',),
        (Unauthorized("away"),),
    ],
    ids=["no-json", "too-few", "too-high", "away"],
)
def test_a_judge_that_fails_leaves_the_order_and_says_so(world: World, answers: Sequence[Any]) -> None:
    found: list[Any] = []

    def plan() -> Any:
        found.append((yield from judge(MODEL).plan("which?", HITS)))

    with testing.scripted(*answers):
        events = world.events(plan)
    assert found == [HITS]
    (told,) = [event for event in events if isinstance(event, Notice) and event.kind == "not_reranked"]
    assert told.name == "tiny"
    assert told.text


@pytest.mark.parametrize("error", [OverBudget("spent"), ScriptError("over")])
def test_what_ends_a_run_ends_it(error: Exception) -> None:
    with testing.scripted(error), pytest.raises(type(error)):
        judge(MODEL)("which?", HITS)


def test_a_fault_in_a_function_of_yours_is_raised() -> None:
    def broken(question: str, texts: list[str]) -> list[float]:
        raise ZeroDivisionError(question, len(texts))

    with pytest.raises(ZeroDivisionError):
        by_scores(broken)("which?", HITS)


@everywhere
def test_a_function_that_scores_may_be_async(world: World) -> None:
    async def later(_: str, texts: list[str]) -> list[float]:
        return [float(-ord(text[8])) for text in texts]

    assert [hit.id for hit in world.run(lambda: by_scores(later).plan("which?", HITS[::-1]))] == list("abcde")
    assert by_scores(later)("which?", ()) == ()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: judge("tiny"), "judge takes a model"),
        (lambda: judge(MODEL, batch=0), "batch="),
        (lambda: judge(MODEL, longest=True), "longest="),
        (lambda: by_scores(3), "by_scores takes a function"),  # type: ignore[arg-type]
        (lambda: flashrank("/nowhere"), "is no folder"),
    ],
)
def test_what_cannot_work_says_what_to_pass(make: Any, told: str) -> None:
    with pytest.raises(Misuse, match=told):
        make()


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flashrank", None)
    with pytest.raises(ImportError, match=r"flashrank is not installed: pip install 'arshai-kit\[flashrank\]'"):
        flashrank(tmp_path)


@frozen
class Told:
    """What the cross-encoder was given."""

    query: str
    passages: list[dict[str, Any]]


@pytest.mark.needs("flashrank")
def test_a_cross_encoder_scores_and_leaves_logging_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything of the package but its weights, which are not in it."""
    import flashrank as package

    made: list[tuple[str, str, int]] = []

    class Ranker:
        def __init__(self, name: str, *, cache_dir: str, max_length: int) -> None:
            logging.basicConfig(level=logging.DEBUG)
            made.append((name, cache_dir, max_length))

        def rerank(self, request: Any) -> list[dict[str, Any]]:
            scored = [{**each, "score": float(each["text"][8] == "c")} for each in request.passages]
            return sorted(scored, key=lambda each: -each["score"])

    monkeypatch.setattr(package, "Ranker", Ranker)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    folder = tmp_path / "ms-marco-TinyBERT-L-2-v2"
    folder.mkdir()
    rerank = flashrank(folder, max_length=128)
    assert (root.handlers[:], root.level) == before
    assert made == [(folder.name, str(tmp_path), 128)]
    assert [hit.id for hit in rerank("which?", HITS)] == list("cabde")
    (tmp_path / "unheard-of").mkdir()
    with pytest.raises(Misuse, match="knows no model 'unheard-of'"):
        flashrank(tmp_path / "unheard-of")
