"""What all streams have in common: words in pieces, turns that interleave, and events as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, TypeVar

from arshai_kit.testing._hypothesis import DrawFn, st

__all__ = ["interleaved", "pieces", "sent"]

T = TypeVar("T")


def pieces(draw: DrawFn, text: str) -> list[str]:
    """*text* in one to four pieces, none of them empty."""
    cuts = draw(st.lists(st.integers(0, len(text)), max_size=3))
    places = sorted({0, *cuts, len(text)})
    return [text[start:end] for start, end in pairwise(places)]


def interleaved(draw: DrawFn, runs: Iterable[list[T]]) -> list[T]:
    """All of *runs* in one: what is in one stays in order, and each has begun before a later one."""
    waiting = list(runs)
    begun: list[list[T]] = []
    told: list[T] = []
    while waiting or begun:
        fresh = bool(waiting) and (not begun or draw(st.booleans()))
        if fresh:
            begun.append(waiting.pop(0))
        run = begun[-1] if fresh else draw(st.sampled_from(begun))
        told.append(run.pop(0))
        begun = [each for each in begun if each]
    return told


def sent(draw: DrawFn, chunks: Iterable[dict[str, Any]], mark: str = "", *, comments: bool = True) -> bytes:
    """*chunks* as server-sent events, named by their type if they have one, and *mark* behind them."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    ascii_only = draw(st.booleans())
    between = draw(st.sampled_from(["", f": ping{end}{end}"])) if comments else ""
    told = [_event(chunk, end, ascii_only=ascii_only) for chunk in chunks]
    return (between + between.join(told) + (f"data: {mark}{end}{end}" if mark else "")).encode()


def _event(chunk: dict[str, Any], end: str, *, ascii_only: bool) -> str:
    name = f"event: {chunk['type']}{end}" if "type" in chunk else ""
    return f"{name}data: {json.dumps(chunk, ensure_ascii=ascii_only)}{end}{end}"
