"""Cut where the meaning changes, by an embedder that knows words alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import aio
from arshai_kit.chunking import Chunking, chunk, semantic
from arshai_kit.documents import Document
from arshai_kit.errors import ArshaiError, Misuse
from arshai_kit.testing import hashed_embedder
from tests.chunking.documents import anything, documents, put_together
from tests.chunking.test_laws import hold

RAIN = "Rain falls on the hills. Rain falls on the roofs. Rain falls on the town. "
CAT = "My cat sleeps all day. My cat eats fish all day. My cat plays all day. "


@given(
    source=st.one_of(documents(), anything.map(Document)),
    size=st.integers(1, 60),
    part=st.integers(0, 9),
    breaks=st.floats(0, 1),
)
def test_the_laws_hold_for_it_too(source: Document, size: int, part: int, breaks: float) -> None:
    overlap = size * part // 10
    found = semantic(hashed_embedder(max_batch=4), size=size, overlap=overlap, by=len, breaks=breaks)(source)
    hold(source, found, size, overlap, len)


def test_it_cuts_where_another_thing_is_told() -> None:
    found = semantic(hashed_embedder(), size=200, breaks=0.2)(RAIN + CAT)
    assert [each.text for each in found] == [(RAIN + CAT).strip()]  # too small to be cut
    found = semantic(hashed_embedder(), size=300, by="characters", breaks=0.2)(RAIN + CAT)
    assert [each.text for each in found] == [RAIN.strip(), CAT.strip()]
    assert [each.size for each in semantic(hashed_embedder(), size=40, by="characters")(RAIN)] == [24, 24, 23]


def test_a_heading_stays_with_what_comes_next() -> None:
    source = put_together(
        [("paragraph", RAIN, 0), ("heading", "# Cats", 1), ("paragraph", CAT, 0), ("heading", "# End", 1)]
    )
    found = semantic(hashed_embedder(), size=300, by="characters", breaks=0.2)(source)
    assert [each.text.partition(" ")[2][:4] for each in found] == ["fall", "Cats"]
    assert found[1].section == ("Cats",)


async def test_it_runs_in_plans_on_every_loop(anyio_backend: str) -> None:
    chunker = semantic(hashed_embedder(), size=300, by="characters")
    assert await aio.run(chunker, RAIN + CAT) == chunker(RAIN + CAT)


def test_nothing_is_embedded_of_what_has_nothing_to_compare() -> None:
    class Refusing:
        name, provider, dimensions, max_batch, max_bytes = "none", "none", None, None, None

        def embed(self, texts: Any, *, kind: Any = None) -> Any:
            raise ArshaiError("no")

    assert semantic(Refusing())("Rain falls.")[0].text == "Rain falls."
    assert semantic(Refusing())(" \n") == ()
    with pytest.raises(ArshaiError, match="no"):
        semantic(Refusing())(RAIN)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"embedder": 3}, "takes an embedder"),
        ({"breaks": 2}, "breaks="),
        ({"breaks": True}, "breaks="),
        ({"window": 0}, "window="),
        ({"size": 0}, "size="),
        ({"by": "letters"}, "by="),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(Misuse, match=told):
        semantic(**{"embedder": hashed_embedder(), **arguments})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"size": 0}, "size="),
        ({"size": True}, "size="),
        ({"overlap": 400}, "overlap="),
        ({"overlap": -1}, "overlap="),
        ({"how": "by magic"}, "how="),
        ({"by": "letters"}, "by="),
        ({"by": 3}, "by="),
    ],
)
def test_chunks_of_no_size_are_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(Misuse, match=told):
        chunk("Rain falls.", **arguments)
    with pytest.raises(Misuse, match="not int"):
        Chunking()(3)  # type: ignore[arg-type]
