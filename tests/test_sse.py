"""Where the network cuts a stream of events is nobody's business, and no line that matters is lost."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.errors import BadReply
from arshai_kit.sse import ServerSent, Splitter, events

LIMIT = 1 << 20

names = st.sampled_from(["", "ping", "error", "response.created"])
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
noise = st.sampled_from(["", ": a comment", ":", "id: 7", "id", "retry: 100", "retry", "unknown: field", "<html>"])
ends = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[ServerSent]]:
    """A stream as a server may write it, and the events that it holds."""
    end, told, lines = draw(ends), list[ServerSent](), list[str]()
    for _ in range(draw(st.integers(0, 5))):
        name = draw(names)
        data = json.dumps(draw(documents), ensure_ascii=False, indent=draw(st.sampled_from([None, 1])))
        lines += draw(st.lists(noise, max_size=2))
        lines += [f"event: {name}"] if name else []
        lines += [draw(st.sampled_from(["data: ", "data:"])) + line for line in data.split("\n")]
        lines += [draw(noise.filter(bool)), ""]
        told.append(ServerSent(name, data.encode()))
    mark = draw(st.sampled_from(["", "\ufeff"]))
    return (mark + "".join(line + end for line in lines)).encode(), told


def fed(pieces: Iterable[bytes], limit: int = LIMIT) -> list[ServerSent]:
    split = Splitter(limit)
    return [event for piece in (*(each for each in pieces if each), b"") for event in split.feed(piece)]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(marks)]


def _spaced(told: list[ServerSent]) -> list[ServerSent]:
    """Events without indentation: of a space before a line the format lets one go."""
    return [ServerSent(name, b"\n".join(line.lstrip(b" ") for line in data.split(b"\n"))) for name, data in told]


@given(stream=streams(), places=st.lists(st.integers(0), max_size=12))
def test_any_split_of_bytes_gives_the_events_that_were_written(
    stream: tuple[bytes, list[ServerSent]], places: list[int]
) -> None:
    data, told = stream
    assert _spaced(fed(cut(data, places))) == _spaced(told)


@given(stream=streams())
def test_a_byte_at_a_time_is_a_split_like_any_other(stream: tuple[bytes, list[ServerSent]]) -> None:
    data, _ = stream
    assert fed([data[place : place + 1] for place in range(len(data))]) == fed([data])


@given(data=st.binary(max_size=200), places=st.lists(st.integers(0), max_size=12))
def test_whatever_comes_is_split_the_same_however_it_is_cut(data: bytes, places: list[int]) -> None:
    assert fed(cut(data, places)) == fed([data])


@given(
    data=st.text(alphabet='data: event:error{}["]\n\r\ufeff', max_size=80),
    places=st.lists(st.integers(0), max_size=12),
)
def test_what_looks_like_a_stream_is_split_the_same_however_it_is_cut(data: str, places: list[int]) -> None:
    assert fed(cut(data.encode(), places)) == fed([data.encode()])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"data: 1\n\n", [("", b"1")]),
        (b"data:1\r\n\r\ndata: 2\r\r", [("", b"1"), ("", b"2")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("", b"1")]),
        (b"\n\n\ndata: 1\n\n\n\ndata: 2\n\n", [("", b"1"), ("", b"2")]),
        (b"event: ping\ndata: {}\nid: 3\nretry: 5\n\n", [("ping", b"{}")]),
        (b"data: a\ndata: b\n\n", [("", b"a\nb")]),
        (b"data\n\nevent: quiet\n\n: only a comment\n\n", []),
        (b"event: \xff\ndata: 1\n\n", [("\ufffd", b"1")]),
    ],
)
def test_every_form_of_the_format(data: bytes, told: list[tuple[str, bytes]]) -> None:
    assert fed([data]) == told


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'error: {"message": "no memory"}\n\n', [("error", b'{"message": "no memory"}')]),
        (b'data: 1\n\nerror:{"a":1}\ndata: 2\n\n', [("", b"1"), ("error", b'{"a":1}'), ("", b"2")]),
        (b'data: 1\n\n{"error": "bare"}\n\n', [("", b"1"), ("", b'{"error": "bare"}')]),
        (b'data: 1\n\n{"error": "bare"}\ndata: [DONE]\n\n', [("", b"1"), ("", b'{"error": "bare"}'), ("", b"[DONE]")]),
        (b'{\n  "error": {\n    "code": 1\n  }\n}\n', [("", b'{\n  "error": {\n    "code": 1\n  }\n}\n')]),
        (b"event: error\n\n", [("error", b"")]),
    ],
)
def test_errors_that_are_told_outside_the_format_are_not_lost(data: bytes, told: list[tuple[str, bytes]]) -> None:
    assert fed([data]) == told


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"data: [DONE]", [("", b"[DONE]")]),
        (b'data: {"a":1}\n', [("", b'{"a":1}')]),
        (b'data: {"a":1}\r', [("", b'{"a":1}')]),
        (b'data: {"a":', []),
        (b'data: {"a":\n', []),
        (b"data: [DON", []),
        (b"event: error\ndata: it broke", [("error", b"it broke")]),
        (b"event: oth", []),
        (b"", []),
    ],
)
def test_at_the_end_the_last_event_counts_if_it_is_whole(data: bytes, told: list[tuple[str, bytes]]) -> None:
    assert fed([data]) == told


def test_an_event_of_any_size_is_bounded() -> None:
    split = Splitter(100)
    assert split.feed(b"data: " + b"x" * 90) == []
    with pytest.raises(BadReply, match="100 bytes"):
        split.feed(b"x" * 9)


def test_the_bound_is_for_one_event_not_for_the_stream() -> None:
    assert len(fed([b"data: 1\n\ndata", b": 2\n\n"] * 500, limit=20)) == 1000


def test_a_long_event_in_many_pieces_is_not_copied_for_each() -> None:
    pieces = [b"data: ", *[b"x" * 1000] * 3000, b"\n\n"]
    split = Splitter(1 << 30)
    tracemalloc.start()
    told = [event for piece in pieces for event in split.feed(piece)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [len(event.data) for event in told] == [3_000_000]
    assert peak < 5 * 3_000_000


def test_a_block_without_lines_holds_no_event() -> None:
    assert events(b"") == []


LINES = [b"event: a\n", b"event: error\n", b"event: \n", b"data: x\n", b"data: \n", b"data:y\n", b": c\n", b"id: 3\n"]
ODD = [b"\n", b"\n", b"\n", b"error: {}\n", b"{\n", b"event:\n"]


@given(st.lists(st.sampled_from([*LINES, *ODD])).map(b"".join))
def test_what_is_split_quickly_is_what_is_read_line_by_line(data: bytes) -> None:
    blocks = data.split(b"\n\n")[:-1]
    assert [*Splitter(1000).feed(data)] == [event for block in blocks for event in events(block)]


@given(st.lists(st.sampled_from([*LINES, *ODD])).map(b"".join), st.booleans())
def test_a_read_that_is_one_event_is_like_any_other(data: bytes, windows: bool) -> None:  # drawn
    """However quickly a read alone is dealt with, the splitter goes on as if it had come with the rest."""
    data = data.replace(b"\n", b"\r\n") if windows else data
    end = b"\r\n\r\n" if windows else b"\n\n"
    reads = [block + end for block in data.split(end)]
    alone, whole = Splitter(1000), Splitter(1000)
    assert [event for read in reads for event in alone.feed(read)] == [*whole.feed(b"".join(reads))]
