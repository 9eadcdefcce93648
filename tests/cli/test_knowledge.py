"""A folder at the command line: ingested, searched and asked, with links to what the answer is from."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from tests.cli.server import Provider
from tests.cli.shell import Done, terminal, typed

pytestmark = pytest.mark.needs("cli")

RENT = "# Rent\n\n## Roof\n\nThe owner mends.\n"  # too short to ask for its language, which takes a second
LEAVE = "# Leave\n\n28 days a year.\n"
WORDS = ("--embedder", "none")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of documents, and a home beside it."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "rent.md").write_text(RENT, "utf-8")
    (tmp_path / "docs" / "leave.md").write_text(LEAVE, "utf-8")
    return tmp_path


def run(place: Path, *arguments: str, given: bytes = b"") -> Done:
    return typed(*arguments, given=given, cwd=place, env=home(place))


def home(place: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(place / "cache"), "HOME": str(place)}


def test_a_folder_is_ingested_as_far_as_it_has_changed(place: Path) -> None:
    done = run(place, "ingest", "docs", *WORDS)
    assert (done.code, done.out[: done.out.index(" written")]) == (0, "2 documents: 2 new; 2 chunks")
    (file,) = (place / "cache").rglob("docs-*.sqlite")
    assert done.err == f"in {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (place / "docs" / "leave.md").unlink()
    (place / "docs" / "new.md").write_text("Something new.")
    assert run(place, "ingest", "docs", "--keep", *WORDS).out.startswith("2 documents: 1 new, 1 unchanged; 1 chunk")
    assert run(place, "ingest", "docs/../docs", *WORDS).out.startswith("2 documents: 2 unchanged, 1 gone; 0 chunks")


def test_what_cannot_be_read_is_said_and_the_others_go_on(place: Path) -> None:
    (place / "docs" / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    done = run(place, "ingest", "docs", *WORDS)
    assert (done.code, done.out.startswith("3 documents: 2 new, 1 unreadable;")) == (0, True)
    assert done.err.startswith("arshai-kit: docs/broken.pdf: ")
    assert run(place, "ingest", "docs/broken.pdf", *WORDS).code == 1


def test_a_search_tells_where_each_passage_is(place: Path) -> None:
    assert run(place, "ingest", "docs", *WORDS).code == 0
    done = run(place, "search", "-k", "docs", *WORDS, "-n", "1", "who", "repairs", "the", "roof?")
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first == "[1] docs/rent.md § Rent > Roof"
    assert second.startswith("    ")
    assert "The owner mends." in second
    (line,) = run(place, "search", "-k", "docs", *WORDS, "--json", "roof").out.splitlines()
    found = json.loads(line)
    assert found["source"] == os.path.realpath(place / "docs" / "rent.md")
    assert (found["page"], found["section"]) == (None, ["Rent", "Roof"])


def test_a_search_without_an_index_or_a_hit(place: Path) -> None:
    done = run(place, "search", *WORDS, "roof")
    assert (done.code, done.out) == (2, "")
    assert "there is no index yet" in done.err
    assert run(place, "ingest", "nowhere", *WORDS).code == 1
    done = run(place, "search", "-k", "nowhere", *WORDS, "roof")
    assert (done.code, "the index is empty" in done.err, "ingest DIR fills it" in done.err) == (2, True, True)
    assert run(place, "ingest", "docs", "--index", "own.sqlite", *WORDS).code == 0
    assert run(place, "search", "--index", "own.sqlite", *WORDS, "elephant") == Done(
        1, "", "arshai-kit: nothing was found\n"
    )


def test_without_a_model_the_documents_answer_in_their_own_words(place: Path) -> None:
    done = run(place, "ask", "-k", "docs", *WORDS, "Who repairs the roof?")
    assert (done.code, done.err) == (0, "")
    assert "The owner mends." in done.out
    assert done.out.splitlines()[-1] == "[1] docs/rent.md § Rent > Roof"
    assert run(place, "ask", "--index", *map(str, (place / "cache").rglob("*.sqlite")), *WORDS, "roof?").code == 0


def test_a_model_answers_and_what_no_passage_bears_is_named(place: Path, provider: Provider) -> None:
    model = ["-m", provider.model("citing")]
    done = run(place, "ask", "-k", "docs", *WORDS, *model, "Who repairs the roof?")
    assert done.code == 0
    assert done.out == (
        "The owner repairs the roof [1]. Elephants fly to Mars at noon.\n\n[1] docs/rent.md § Rent > Roof\n"
    )
    assert done.err == "no passage bears this: Elephants fly to Mars at noon.\n"
    system, asked = provider.asked[0]["messages"]
    assert "numbered passages" in system["content"]
    assert 'source="' in asked["content"]
    whole = run(place, "ask", "-k", "docs", *WORDS, *model, "--json", "Who repairs the roof?")
    assert json.loads(whole.out)
    assert whole.err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask", "-k", "docs", "--image", "cat.png", "?"], "leave out --image and --file"),
        (["ask", "-k", "docs", "--embedder", "openai", "?"], "--embedder openai: it takes local, none, openai:NAME"),
        (["ingest", "nowhere", *WORDS], "there is no "),
        (["ask", "-k", "docs", *WORDS], "there is no question"),
        (["ask", "-k", "docs", "--json", *WORDS, "?"], "name it by --model, or take `arshai-kit search --json`"),
        (["ask", "-k", "docs", "--schema", '{"type": "object"}', *WORDS, "?"], "name it by --model"),
        (["search", "-k", "docs", "--mode", "dense", *WORDS, "?"], "--embedder none knows no meaning"),
    ],
)
def test_what_a_user_can_do_wrong_is_said_in_a_line(place: Path, arguments: list[str], said: str) -> None:
    done = run(place, *arguments)
    assert (done.code in (1, 2), done.out) == (True, "")
    assert said in done.err
    assert "Traceback" not in done.err


def test_who_reads_beside_us_is_not_interrupted_by_itself() -> None:
    """Ctrl-C reaches every process of a terminal; those of a pool would each show a traceback."""
    from arshai_kit.cli.knowledge import _executor

    with _executor(1) as executor:
        assert executor.submit(signal.getsignal, signal.SIGINT).result() is signal.SIG_IGN
    with _executor(0) as none:
        assert none is None


def test_nothing_to_say_to_a_question_is_no_answer(place: Path) -> None:
    done = run(place, "ask", "-k", "docs", *WORDS, "zebra")
    assert (done.code, done.out) == (3, "")
    assert "nothing in docs has to do with this" in done.err


def test_a_terminal_gets_a_bar_and_links(place: Path) -> None:
    with terminal("ask", "-k", "docs", *WORDS, "Who repairs the roof?", cwd=place, env=home(place)) as seen:
        assert seen.end() == 0
    assert "reading" in seen.raw
    target = f"file://{os.path.realpath(place / 'docs' / 'rent.md')}#roof"
    assert f";{target}\x1b\\" in seen.raw
    assert "[1] docs/rent.md § Rent > Roof" in seen.screen.replace("\x1b", "")


@pytest.mark.needs("local-embeddings")
def test_it_finds_by_meaning_offline_without_a_word_in_common(place: Path) -> None:
    (place / "docs" / "leave.md").write_text("# Leave\n\nEverybody has 28 days of leave in a year.\n")
    done = run(place, "ask", "-k", "docs", "How much holiday do I get?")
    assert done.code == 0
    assert done.out.startswith("# Leave Everybody has 28 days of leave in a year. [1]")
