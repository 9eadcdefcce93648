"""`arshai-kit ask` between pipes: what goes in, what comes out, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from arshai_kit.codec import from_json
from tests.cli.server import SOON, Provider
from tests.cli.shell import COMMAND, Done, surroundings, typed

pytestmark = pytest.mark.needs("cli")

SCHEMA = '{"type": "object", "properties": {"name": {"type": "string"}}}'


def test_a_question_is_answered_on_standard_output_and_nothing_else_is_said(provider: Provider) -> None:
    assert typed("ask", "-m", provider.model(), "Hello", "there") == Done(0, "1: Hello there\n", "")
    assert provider.asked[0]["stream"] is True
    assert provider.keys == [None]


def test_an_answer_is_the_same_streamed_or_not(provider: Provider) -> None:
    streamed = typed("ask", "-m", provider.model(), "Hello")
    assert typed("ask", "--no-stream", "-m", provider.model(), "Hello") == streamed
    assert not provider.asked[1].get("stream")


def test_what_is_piped_in_comes_after_the_question(provider: Provider) -> None:
    done = typed("ask", "-m", provider.model(), "Summarise:", given=b"\xef\xbb\xbfone\n  two\n\n")
    assert done == Done(0, "1: Summarise:\n\none\n  two\n", "")


def test_what_is_piped_in_may_be_the_whole_question(provider: Provider) -> None:
    assert typed("ask", "-m", provider.model(), given="Grüße, 世界".encode()).out == "1: Grüße, 世界\n"


def test_a_question_needs_no_standard_input_at_all(provider: Provider) -> None:
    assert typed("ask", "-m", provider.model(), "Hello", given=None) == Done(0, "1: Hello\n", "")


def test_settings_and_system_reach_the_provider(provider: Provider) -> None:
    settings = ["--temperature", "0.5", "--max-tokens", "7", "--seed", "3", "--system", "You are brief."]
    assert typed("ask", "-m", provider.model(), "Hello", *settings).out == "2: Hello\n"
    (asked,) = provider.asked
    assert asked["messages"][0] == {"role": "system", "content": "You are brief."}
    assert (asked["temperature"], asked["seed"]) == (0.5, 3)
    assert 7 in {asked.get("max_tokens"), asked.get("max_completion_tokens")}


def test_pictures_and_documents_go_along(provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7")
    more = ["--image", "cat.png", "--image", "https://example.org/dog.png", "--file", "report.pdf"]
    assert typed("ask", "-m", provider.model(), "What?", *more, cwd=tmp_path).code == 0
    kinds = [part["type"] for part in provider.asked[0]["messages"][-1]["content"]]
    assert kinds == ["text", "image_url", "image_url", "file"]


@pytest.mark.parametrize("how", [(), ("--no-stream",)])
def test_tools_are_called(provider: Provider, folder: Path, how: tuple[str, ...]) -> None:
    """Piped, the calls are not shown; words before a call are words of the answer."""
    done = typed("ask", "-m", provider.model("multiply"), "-t", "mytools:multiply", "23 × 17?", *how, cwd=folder)
    assert done == Done(0, "Let me see.\nIt is 391.\n", "")
    assert provider.asked[0]["tools"][0]["function"]["description"] == "Multiply two numbers."


@pytest.mark.parametrize("how", [(), ("--no-stream",)])
def test_verbose_shows_the_calls_on_standard_error(provider: Provider, folder: Path, how: tuple[str, ...]) -> None:
    done = typed("ask", "-v", "-m", provider.model("multiply"), "-t", "mytools:multiply", "?", *how, cwd=folder)
    assert done == Done(0, "Let me see.\nIt is 391.\n", "→ multiply(a=23, b=17)\n← multiply: 391\n")


def test_verbose_shows_progress_and_failure(provider: Provider, folder: Path) -> None:
    model = ["-v", "-m", provider.model("multiply")]
    progress = typed("ask", *model, "-t", "mytools:Sums.multiply", "23 × 17?", cwd=folder)
    assert progress.err == "→ multiply(a=23, b=17)\n… multiply: halfway\n… multiply: 391\n← multiply: 391\n"
    failure = typed("ask", *model, "-t", "mytools:failing", "23 × 17?", cwd=folder)
    assert failure.err == "→ multiply(a=23, b=17)\n× multiply: RuntimeError: the abacus is broken\n"
    assert "abacus" in failure.out
    assert failure.code == 0


def test_verbose_shows_what_runs_in_the_background(provider: Provider, folder: Path) -> None:
    done = typed("ask", "-v", "-m", provider.model("multiply"), "-t", "mytools:later", "23 × 17?", cwd=folder)
    assert (done.code, done.err) == (0, "→ multiply(a=23, b=17), in the background\n")


def test_verbose_shows_calls_that_cannot_be_read(provider: Provider, folder: Path) -> None:
    done = typed("ask", "-v", "-m", provider.model("garbled"), "-t", "mytools:multiply", "?", cwd=folder)
    assert done.err.startswith('→ multiply({"a": 23,)\n× multiply: the arguments are no JSON object')
    assert done.code == 0


def test_tools_are_found_in_the_working_directory_by_the_installed_command_too(
    provider: Provider, folder: Path
) -> None:
    """Which, other than `python -m`, does not begin with that directory on its path."""
    asked = ["ask", "-m", provider.model("multiply"), "-t", "mytools:multiply", "?"]
    command = [sys.executable, "-P", *COMMAND[1:], *asked]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        env=surroundings(),
        timeout=SOON,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Let me see.\nIt is 391.\n", b"")


def test_a_call_that_never_ends_in_an_answer_is_exit_code_3(provider: Provider, folder: Path) -> None:
    more = ["-t", "mytools:multiply", "--max-rounds", "1"]
    done = typed("ask", "-m", provider.model("multiply"), "?", *more, cwd=folder)
    assert (done.code, done.err) == (3, "arshai-kit: no final answer in 1 rounds\n")


def test_json_is_the_whole_response(provider: Provider, folder: Path) -> None:
    done = typed("ask", "--json", "-m", provider.model("multiply"), "-t", "mytools:multiply", "?", cwd=folder)
    response = from_json(done.out)
    assert (done.code, done.err, response.text, response.model) == (0, "", "It is 391.", "tiny-1")
    assert [(run.call.name, run.result) for run in response.tool_runs] == [("multiply", "391")]
    assert response.usage.input_tokens == 6


@pytest.mark.parametrize("where", ["inline", "file"])
def test_an_answer_fits_the_schema_and_is_one_line_of_json(provider: Provider, tmp_path: Path, where: str) -> None:
    (tmp_path / "person.json").write_text(SCHEMA, "utf-8")
    schema = SCHEMA if where == "inline" else "person.json"
    done = typed("ask", "--schema", schema, "-m", provider.model("typed"), "I am Ann.", cwd=tmp_path)
    assert done == Done(0, '{"name":"Ann"}\n', "")


def test_json_with_a_schema_is_the_response_with_its_output(provider: Provider) -> None:
    done = typed("ask", "--json", "--schema", SCHEMA, "-m", provider.model("typed"), "I am Ann.")
    assert json.loads(done.out)["output"] == {"name": "Ann"}


@pytest.mark.parametrize(
    ("behaviour", "out", "why"),
    [
        ("length", "Once upon\n", "the answer is cut off: the model can write no more, or its context is full"),
        ("blocked", "Well\n", "the provider blocked the answer"),
        ("refusal", "", "the model refuses: I would rather not."),
        ("empty", "", "the model gave no words (it finished with stop)"),
    ],
)
@pytest.mark.parametrize("how", [(), ("--no-stream",)])
def test_an_answer_of_no_use_is_exit_code_3(
    provider: Provider, behaviour: str, out: str, why: str, how: tuple[str, ...]
) -> None:
    assert typed("ask", "-m", provider.model(behaviour), "?", *how) == Done(3, out, f"arshai-kit: {why}\n")


@pytest.mark.parametrize(
    ("most", "why"),
    [("2", "it reached the most tokens (--max-tokens)"), ("3", "the model can write no more, or its context is full")],
)
def test_the_limit_is_blamed_where_it_was_reached(provider: Provider, most: str, why: str) -> None:
    """The server counts two tokens of every whole answer, and in streams none."""
    whole = typed("ask", "-m", provider.model("length"), "--no-stream", "--max-tokens", most, "?")
    assert whole == Done(3, "Once upon\n", f"arshai-kit: the answer is cut off: {why}\n")
    streamed = typed("ask", "-m", provider.model("length"), "--max-tokens", most, "?")
    assert streamed.err == "arshai-kit: the answer is cut off: it reached the most tokens (--max-tokens)\n"


def test_an_answer_that_does_not_fit_the_schema_is_exit_code_3(provider: Provider) -> None:
    done = typed("ask", "--schema", SCHEMA, "-m", provider.model("nonsense"), "?")
    assert (done.code, done.out) == (3, "")
    assert "the model said: 'no JSON'" in done.err


def test_thoughts_are_no_part_of_the_answer(provider: Provider) -> None:
    assert typed("ask", "-m", provider.model("thinking"), "?") == Done(0, "So.\n", "")


def test_between_pipes_the_words_stay_as_they_are(provider: Provider) -> None:
    """But for a terminal they are made harmless: see test_terminal.py."""
    assert typed("ask", "-m", provider.model("colours"), "?").out == "a\x1b[31mb\rc\u009bd\n"


def test_words_that_the_output_cannot_write_are_replaced(provider: Provider) -> None:
    assert typed("ask", "-m", provider.model("surrogate"), "?").out == "a?b\n"
    assert typed("ask", "-m", provider.model(), "Grüße", env={"PYTHONIOENCODING": "ascii"}).out == "1: Gr??e\n"
