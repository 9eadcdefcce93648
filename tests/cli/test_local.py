"""The local model from the command line: the default, with a tool, with a schema, in a chat that is interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.shell import terminal, typed
from tests.cli.test_terminal import CTRL_C, CTRL_D, ENTER

pytestmark = [pytest.mark.needs("cli"), pytest.mark.needs("local")]


def test_the_default_model_calls_a_tool_and_uses_its_result(folder: Path) -> None:
    done = typed("ask", "-v", "--temperature", "0", "-t", "mytools:shown", "What is 23 times 17?", cwd=folder)
    assert done.code == 0
    assert done.err == "→ multiply(a=23, b=17)\n← multiply: 391\n"
    assert "391" in done.out


def test_an_answer_of_the_local_model_fits_the_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    done = typed("ask", "--schema", json.dumps(schema), "Alice is 42 years old.")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert isinstance(found["name"], str)
    assert isinstance(found["age"], int)


def test_its_answers_can_be_repeated_and_cut() -> None:
    one = typed("ask", "--seed", "7", "--max-tokens", "5", "Tell me a story.")
    assert one.code == 3
    assert one.err == "arshai-kit: the answer is cut off: it reached the most tokens (--max-tokens)\n"
    assert typed("ask", "--seed", "7", "--max-tokens", "5", "Tell me a story.") == one


def test_what_it_cannot_do_is_said(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = typed("ask", "--image", "cat.png", "What is this?", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(" takes no images: take another model\n")


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_text("no model")
    for name in ("no.gguf", "missing.gguf"):
        done = typed("ask", "-m", f"local:{name}", "Hello", cwd=tmp_path)
        assert (done.code, done.out) == (2, "")
        assert name in done.err


def test_ctrl_c_stops_its_answer_and_keeps_the_chat() -> None:
    with terminal("chat", "--seed", "1") as seen:
        seen.prompt()
        seen.press(f"Tell me a very long story about the sea.{ENTER}")
        place = seen.until("\n", seen.until("sea.\n"))
        seen.until(" ", place)
        seen.press(CTRL_C)
        place = seen.until("stopped", place)
        seen.prompt()
        seen.press(CTRL_D)
        assert seen.end() == 0
    assert "Traceback" not in seen.screen
