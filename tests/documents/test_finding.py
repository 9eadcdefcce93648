"""What there is, always in the same order, and nothing from outside of the folder."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.documents import Found, Unreadable, find, load, read
from arshai_kit.documents.finding import _after, _ahead
from arshai_kit.errors import BadDocument, Misuse


def laid(folder: Path, *names: str) -> Path:
    """*folder*, with files of these *names*, each of which says its name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def names(folder: Path | str, **options: Any) -> list[str]:
    return [os.path.relpath(each.path, str(folder)) for each in find(folder, **options)]


def test_a_folder_is_walked_in_the_order_of_its_names(tmp_path: Path) -> None:
    laid(tmp_path, "b/2.txt", "b/1.txt", "a.txt", "c.txt", "b.txt", ".hidden", ".git/config", "b/.x/y", "B.txt")
    assert names(tmp_path) == ["B.txt", "a.txt", "b/1.txt", "b/2.txt", "b.txt", "c.txt"]
    first = next(iter(find(tmp_path)))
    assert first == Found(f"{tmp_path}/B.txt", path=f"{tmp_path}/B.txt", size=5, within=os.path.realpath(tmp_path))
    assert [each.text for each in load(tmp_path)] == names(tmp_path)
    assert [each.source for each in load(tmp_path)] == [each.source for each in find(tmp_path)]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.md", ["a.md"]),
        ("**/*.md", ["a.md", "d/b.md", "d/e/c.md"]),
        ("**", ["a.md", "d/b.md", "d/b.txt", "d/e/c.md"]),
        ("d/**/[bc].*", ["d/b.md", "d/b.txt", "d/e/c.md"]),
        ("*/e/*", ["d/e/c.md"]),
        ("d/b.?d", ["d/b.md"]),
        (".h/*", [".h/x.md"]),
        ("**/.*", [".z"]),
        ("./d/*.txt", ["d/b.txt"]),
    ],
)
def test_a_pattern_finds_what_it_says(
    pattern: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(laid(tmp_path, "a.md", "d/b.md", "d/b.txt", "d/e/c.md", ".h/x.md", ".z"))
    assert [os.path.normpath(each.source) for each in find(pattern)] == found
    assert [os.path.relpath(each.source, tmp_path) for each in find(f"{tmp_path}/{pattern}")] == found


@given(st.lists(st.sampled_from(["a", "b", ".c", "ab"]), min_size=1, max_size=5))
def test_two_stars_are_any_folders_and_hide_what_is_hidden(path: list[str]) -> None:
    def leads(*pattern: str) -> bool:
        places = _ahead({0}, pattern)
        for name in path:
            places = _after(name, places, pattern)
        return len(pattern) in places

    assert leads("**", "*") == all(not name.startswith(".") for name in path)
    assert leads("**", "b") == (path[-1] == "b" and ".c" not in path)
    assert leads("a", "**", "b") == (len(path) > 1 and path[0] == "a" and path[-1] == "b" and ".c" not in path)


def test_one_document_may_be_anything(tmp_path: Path) -> None:
    laid(tmp_path, "a.txt", "[b].txt")
    assert list(find(b"bytes")) == [Found("", data=b"bytes", size=5)]
    assert list(find(memoryview(b"bytes"))) == list(find(bytearray(b"bytes"))) == list(find(b"bytes"))
    assert list(find("https://example.org/a")) == [Found("https://example.org/a", url="https://example.org/a")]
    assert [each.size for each in find(tmp_path / "a.txt")] == [5]
    assert [each.text for each in load(f"{tmp_path}/[b].txt")] == ["[b].txt"]
    assert read(next(iter(find(tmp_path)))).text == "[b].txt"
    assert list(find(Found("x", data=b"y"))) == [Found("x", data=b"y")]
    (tmp_path / "broken").symlink_to("nowhere")
    assert [each.size for each in find(tmp_path / "broken")] == [None]
    assert repr(Found("x", data=b"secret")) == "Found('x', data=<6 bytes>)"
    assert [each.size for each in find("/dev/null")] == [None]


# -- what is not there, or is not to be read --


def test_what_leads_out_or_is_no_file_is_told_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inside = laid(tmp_path / "inside", "a.txt", "d/b.txt")
    laid(tmp_path, "out/secret.txt")
    (inside / "away").symlink_to(tmp_path / "out")
    (inside / "away.txt").symlink_to(tmp_path / "out/secret.txt")
    (inside / "broken").symlink_to("nowhere")
    (inside / "loop").symlink_to("loop")
    (inside / "same").symlink_to("d")
    (inside / "also.txt").symlink_to("d/b.txt")
    (inside / "up").symlink_to("..")
    os.mkfifo(inside / "pipe")
    with socket.socket(socket.AF_UNIX) as place:
        place.bind(str(inside / "sock"))
        told: list[Unreadable] = []
        assert [each.text for each in load(inside, unreadable=told.append)] == ["a.txt", "d/b.txt", "d/b.txt"]
    why = {Path(each.source).name: str(each.error).partition(each.source)[2] for each in told}
    assert why == {
        "away": " is a symbolic link that leads out of the folder",
        "away.txt": " is a symbolic link that leads out of the folder",
        "broken": " cannot be opened: No such file or directory",
        "loop": " cannot be opened: Too many levels of symbolic links",
        "pipe": " is a pipe",
        "sock": " is a socket",
        "up": " is a symbolic link that leads out of the folder",
    }
    with caplog.at_level(logging.WARNING, "arshai_kit.documents"):
        assert len(list(load(inside))) == 3
    assert len(caplog.messages) == 7


def test_a_link_that_is_turned_after_it_was_found_is_not_followed(tmp_path: Path) -> None:
    inside = laid(tmp_path / "inside", "a.txt")
    laid(tmp_path, "secret.txt")
    (found,) = find(inside)
    (inside / "a.txt").unlink()
    (inside / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(BadDocument, match="has become a symbolic link"):
        read(found)


def test_a_folder_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    laid(tmp_path, "a.txt", "gone/b.txt")
    told: list[Unreadable] = []
    found = find(tmp_path / "gone", unreadable=told.append)
    (tmp_path / "gone/b.txt").unlink()
    (tmp_path / "gone").rmdir()
    with pytest.raises(BadDocument, match="holds no documents"):
        list(found)
    assert [str(each.error) for each in told] == [f"{tmp_path}/gone cannot be opened: No such file or directory"]


def test_a_file_that_goes_away_is_told(tmp_path: Path) -> None:
    laid(tmp_path, "a.txt", "b.txt", "c.txt")
    told: list[Unreadable] = []
    documents = load(tmp_path, unreadable=told.append)
    assert next(documents).text == "a.txt"
    (tmp_path / "b.txt").unlink()
    assert [each.text for each in documents] == ["c.txt"]
    assert [each.source for each in told] == [f"{tmp_path}/b.txt"]
    found = list(find(tmp_path))
    (tmp_path / "c.txt").unlink()
    with pytest.raises(BadDocument, match="cannot be opened: No such file"):
        read(found[1])


def test_a_name_that_is_no_text_is_read_all_the_same(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.txt"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system takes no such names")
    (document,) = load(tmp_path)
    assert document.source == f"{tmp_path}/\\xff.txt"


@pytest.mark.parametrize(
    ("source", "error", "why"),
    [
        ("nowhere", BadDocument, "there is no nowhere"),
        ("nowhere/*.md", BadDocument, "matches no files"),
        ("empty", BadDocument, "holds no documents"),
        ("", Misuse, "no path"),
        ("a\nb", Misuse, "no path"),
        ("a\0b", Misuse, "no path"),
        ("ftp://example.org/a", Misuse, "ftp:// is not taken"),
        (b"a".hex, Misuse, "no source"),
        (None, Misuse, "no source"),
    ],
)
def test_where_nothing_is_that_is_said(
    source: Any, error: type[Exception], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty/.git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=why):
        list(find(source))
    with pytest.raises(error, match=why):
        list(load(source, unreadable=lambda _: None))


def test_one_is_wanted_where_there_may_be_several(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="is not one document"):
        read(tmp_path)
    with pytest.raises(Misuse, match="unreadable= is a function"):
        load(tmp_path, unreadable=None)  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="a path is text"):
        list(find(_Bytes()))


class _Bytes(os.PathLike[Any]):
    def __fspath__(self) -> bytes:
        return b"name"


def test_a_link_to_the_folder_itself_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.md").write_text("It rains.")
    (tmp_path / "inner" / "up").symlink_to("..")
    told = list[Unreadable]()
    assert [Path(each.source).name for each in find(tmp_path, unreadable=told.append)] == ["a.md"]
    assert told == []
