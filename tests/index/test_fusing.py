"""Rankings made one: what all agree upon stays in order, what weighs nothing does not count, better is never worse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.errors import Misuse
from arshai_kit.index import Hit, blend, fuse

Fusion = Callable[..., tuple[Hit[Any], ...]]

ids = st.sampled_from("abcdefghij")


def hits(found: Sequence[tuple[str, float]], name: str = "dense") -> list[Hit[Any]]:
    """A ranking: the best first, ties by id, as indexes give it."""
    return [
        Hit(own, own.upper(), score, None, {name: score})
        for own, score in sorted(found, key=lambda each: (-each[1], each[0]))
    ]


scores = st.floats(-5, 5, allow_subnormal=False).map(lambda number: round(number, 3))
rankings = st.dictionaries(ids, scores, max_size=8).map(lambda found: hits(list(found.items())))
weights = st.floats(0.1, 10)
both = pytest.mark.parametrize("fusion", [fuse, blend])


def order(found: Sequence[Hit[Any]]) -> list[str]:
    return [hit.id for hit in found]


@both
@given(rankings=st.lists(rankings, max_size=4))
def test_every_hit_is_there_once_with_what_each_ranking_scored(fusion: Fusion, rankings: list[list[Hit[Any]]]) -> None:
    found = fusion(*rankings)
    assert isinstance(found, tuple)
    assert sorted(order(found)) == sorted({hit.id for ranking in rankings for hit in ranking})
    assert [(-hit.score, hit.id) for hit in found] == sorted((-hit.score, hit.id) for hit in found)
    assert all(hit.scores["hybrid"] == hit.score and "dense" in hit.scores for hit in found)
    assert all(hit.text == hit.id.upper() for hit in found)


@both
@given(ranking=rankings, times=st.integers(1, 3), weights=st.data())
def test_what_all_agree_upon_stays(fusion: Fusion, ranking: list[Hit[Any]], times: int, weights: st.DataObject) -> None:
    heavy = weights.draw(st.lists(st.floats(0.1, 10), min_size=times, max_size=times))
    assert order(fusion(*[ranking] * times, weights=heavy)) == order(ranking)


@both
@given(one=rankings, other=rankings, weight=weights)
def test_a_ranking_of_weight_0_does_not_count(
    fusion: Fusion, one: list[Hit[Any]], other: list[Hit[Any]], weight: float
) -> None:
    assert fusion(one, other, weights=[weight, 0]) == fusion(one, weights=[weight])


@both
@given(given=st.lists(rankings, min_size=2, max_size=4), shuffle=st.randoms(use_true_random=False))
def test_it_does_not_matter_which_ranking_is_first(fusion: Fusion, given: list[list[Hit[Any]]], shuffle: Any) -> None:
    """But for the last digit of a sum."""
    others = list(given)
    shuffle.shuffle(others)
    found, again = ({hit.id: hit.score for hit in fusion(*each)} for each in (given, others))
    assert found == pytest.approx(again)


@both
@given(other=rankings, ranking=rankings.filter(lambda found: len(found) > 1), place=st.data())
def test_who_is_put_higher_is_never_worse(
    fusion: Fusion, other: list[Hit[Any]], ranking: list[Hit[Any]], place: st.DataObject
) -> None:
    """Whoever changes places with the one before it comes no lower among all."""
    at = place.draw(st.integers(1, len(ranking) - 1))
    own, above = ranking[at].id, ranking[at - 1].id
    swapped = list(ranking)
    swapped[at - 1] = Hit(own, "", ranking[at - 1].score, None, {"dense": 0.0})
    swapped[at] = Hit(above, "", ranking[at].score, None, {"dense": 0.0})
    before, after = ({hit.id: hit.score for hit in fusion(other, each)} for each in (ranking, swapped))
    assert after[own] >= before[own]
    assert after[above] <= before[above]


@given(one=rankings, other=rankings, scale=st.floats(0.01, 100))
def test_fuse_asks_nothing_of_the_scores_and_blend_nothing_of_their_unit(
    one: list[Hit[Any]], other: list[Hit[Any]], scale: float
) -> None:
    scaled = [Hit(hit.id, hit.text, hit.score * scale, None, hit.scores) for hit in other]
    assert order(fuse(one, other)) == order(fuse(one, scaled))
    found, again = ({hit.id: hit.score for hit in blend(one, each)} for each in (other, scaled))
    assert found == pytest.approx(again, abs=1e-9)


def test_both_scores_are_kept() -> None:
    found = fuse(hits([("a", 0.9), ("b", 0.5)]), hits([("b", 3.0)], "sparse"))
    assert [(hit.id, dict(hit.scores)) for hit in found] == [
        ("b", {"dense": 0.5, "sparse": 3.0, "hybrid": 1 / 62 + 1 / 61}),
        ("a", {"dense": 0.9, "hybrid": 1 / 61}),
    ]


def test_the_higher_k_the_less_do_the_first_places_matter() -> None:
    """One first place beats two fourth ones only where *k* is small."""
    first = hits([("a", 4.0), ("x", 3.0), ("y", 2.0), ("b", 1.0)])
    second = hits([("p", 4.0), ("q", 3.0), ("r", 2.0), ("b", 1.0)])
    assert order(fuse(first, second, k=0))[0] == "a"
    assert order(fuse(first, second))[0] == "b"


def test_of_a_hit_that_is_there_twice_the_first_place_counts() -> None:
    twice = [*hits([("a", 2.0), ("b", 1.0)]), *hits([("a", 0.5)])]
    assert fuse(twice) == fuse(hits([("a", 2.0), ("b", 1.0)]))


def test_nothing_makes_nothing() -> None:
    assert fuse() == fuse([]) == blend() == blend([], []) == ()


@both
@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [-1, 1], [float("nan"), 1], [float("inf"), 1], ["1", 1]])
def test_weights_that_are_none_are_refused(fusion: Fusion, weights: Any) -> None:
    with pytest.raises(Misuse, match="for each ranking, of which there are 2"):
        fusion([], [], weights=weights)


def test_what_is_no_ranking_is_refused() -> None:
    with pytest.raises(Misuse, match="k= is a number"):
        fuse([], k=-1)
    with pytest.raises(Misuse, match="k= is a number"):
        fuse([], k=True)
    with pytest.raises(Misuse, match="not one of them"):
        fuse(hits([("a", 1.0)])[0])  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="no number"):
        blend([Hit("a", "", float("nan"), None)])
