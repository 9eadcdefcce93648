"""What somebody at a terminal sees: a spinner, colours, calls of tools, and Ctrl-C that ends it."""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path

import pytest

from tests.cli.server import SOON, Provider
from tests.cli.shell import COLOUR, HIDE, SHOW, terminal, typed
from tests.transport.server import eventually

pytestmark = pytest.mark.needs("cli")

UP, CTRL_C, CTRL_D, ENTER = "\x1b[A", "\x03", "\x04", "\r"


def is_spinning(raw: str) -> bool:
    return any("⠋" <= letter <= "⣿" for letter in raw)


def has_asked(provider: Provider, times: int) -> bool:
    return len(provider.asked) == times


# -- ask --


def test_a_spinner_until_the_first_word_and_no_longer(provider: Provider) -> None:
    with terminal("ask", "-m", provider.model(), "Hello") as seen:
        assert seen.end() == 0
    assert is_spinning(seen.raw)
    assert seen.raw.count(HIDE) == seen.raw.count(SHOW) == 1
    before, _, after = seen.raw.rpartition(SHOW)
    assert "1: Hello" not in before
    assert after.endswith("1: Hello\r\n")
    assert not is_spinning(after)


def test_the_calls_of_tools_are_shown_in_their_place(provider: Provider, folder: Path) -> None:
    with terminal("ask", "-m", provider.model("multiply"), "-t", "mytools:Sums.multiply", "?", cwd=folder) as seen:
        places = [
            seen.until(text)
            for text in (
                "Let me see.\n",
                "→ multiply(a=23, b=17)",
                "… multiply: halfway",
                "← multiply: 391",
                "It is 391.\n",
            )
        ]
        assert seen.end() == 0
    assert places == sorted(places)


def test_where_the_answer_goes_to_a_file_only_the_calls_are_shown(provider: Provider, folder: Path) -> None:
    arguments = ["ask", "-m", provider.model("multiply"), "-t", "mytools:multiply", "?"]
    with (folder / "out").open("wb") as out, terminal(*arguments, cwd=folder, out=out) as seen:
        assert seen.end() == 0
    assert (folder / "out").read_text() == "Let me see.\nIt is 391.\n"
    assert seen.screen == "→ multiply(a=23, b=17)\n← multiply: 391\n"
    assert not is_spinning(seen.raw)


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_errors_are_red_where_that_is_welcome(provider: Provider, environment: dict[str, str], coloured: bool) -> None:
    with terminal("ask", "-m", provider.model("missing"), "?", env=environment) as seen:
        assert seen.end() == 1
    assert "arshai-kit: HTTP 404: no model 'tiny'\n" in seen.screen
    assert bool(COLOUR.search(seen.raw)) == coloured


def test_forced_colours_do_not_get_into_pipes(provider: Provider) -> None:
    done = typed("ask", "-m", provider.model("missing"), "?", env={"FORCE_COLOR": "1"})
    assert done.err == "arshai-kit: HTTP 404: no model 'tiny'\n"


def test_no_words_of_a_model_command_the_terminal(provider: Provider) -> None:
    with terminal("ask", "-m", provider.model("colours"), "?") as seen:
        assert seen.end() == 0
    assert "a␛[31mbc�d" in seen.screen


def test_no_question_at_a_terminal_is_a_mistake_not_a_wait(provider: Provider) -> None:
    with terminal("ask", "-m", provider.model()) as seen:
        assert seen.end() == 2
    assert "there is no question" in seen.screen


@pytest.mark.parametrize(("behaviour", "shown"), [("silent", "⠋"), ("endless", "begun more\nmore\n")])
def test_ctrl_c_ends_it_before_and_amid_the_answer(provider: Provider, behaviour: str, shown: str) -> None:
    with terminal("ask", "-m", provider.model(behaviour), "?") as seen:
        seen.until(shown)
        eventually(lambda: provider.asked)
        assert seen.end(pressing=CTRL_C) == 130
    assert "Traceback" not in seen.screen
    assert seen.raw.count(HIDE) == seen.raw.count(SHOW)
    assert seen.screen.endswith("\n")


# -- chat --


def test_a_chat_keeps_the_conversation_and_ctrl_d_ends_it(provider: Provider) -> None:
    with terminal("chat", "-m", provider.model(), "-s", "You are brief.") as seen:
        seen.prompt()
        assert "tiny (openai-compatible): Ctrl-C stops an answer, Ctrl-D ends the chat" in seen.screen
        seen.press(f"one{ENTER}")
        seen.until("2: one\n")
        seen.prompt()
        seen.press(f"two{ENTER}")
        seen.until("4: two\n")
        seen.prompt()
        seen.press(CTRL_D)
        assert seen.end() == 0
    roles = ["system", "user", "assistant", "user"]
    assert [message["role"] for message in provider.asked[-1]["messages"]] == roles
    assert provider.asked[-1]["messages"][2]["content"] == "2: one"


def test_ctrl_c_stops_the_answer_and_keeps_the_chat(provider: Provider) -> None:
    """What was said of it stays in the conversation."""
    with terminal("chat", "-m", provider.model("first-endless")) as seen:
        seen.prompt()
        seen.press(f"one{ENTER}")
        place = seen.until("begun more\nmore\n")
        seen.press(CTRL_C)
        place = seen.until("stopped\n", place)
        assert provider.gone.wait(SOON)
        seen.prompt()
        seen.press(f"two{ENTER}")
        place = seen.until("3: two\n", place)
        seen.prompt()
        seen.press(CTRL_D)
        assert seen.end() == 0
    assert "Traceback" not in seen.screen
    kept = provider.asked[-1]["messages"]
    assert [message["role"] for message in kept] == ["user", "assistant", "user"]
    assert kept[1]["content"].startswith("begun more\nmore\n")


def test_ctrl_c_before_the_first_word_forgets_the_question(provider: Provider) -> None:
    with terminal("chat", "-m", provider.model("silent")) as seen:
        seen.prompt()
        for number, question in enumerate(("one", "two"), 1):
            place = len(seen.screen)
            seen.press(f"{question}{ENTER}")
            eventually(partial(has_asked, provider, number))
            seen.press(CTRL_C)
            place = seen.until("stopped\n", place)
            seen.prompt()
        seen.press(CTRL_D)
        assert seen.end() == 0
    assert [message["content"] for message in provider.asked[-1]["messages"]] == ["two"]


def test_an_error_keeps_the_chat(provider: Provider) -> None:
    with terminal("chat", "-m", provider.model("first-failing")) as seen:
        seen.prompt()
        seen.press(f"one{ENTER}")
        seen.until("arshai-kit: HTTP 400: not now\n")
        seen.prompt()
        seen.press(f"two{ENTER}")
        seen.until("1: two\n")
        seen.prompt()
        seen.press(CTRL_D)
        assert seen.end() == 0


def test_a_question_that_is_refused_is_forgotten(provider: Provider) -> None:
    with terminal("chat", "-m", provider.model("refusal")) as seen:
        for question in ("one", "two"):
            seen.prompt()
            place = len(seen.screen)
            seen.press(f"{question}{ENTER}")
            seen.until("arshai-kit: the model refuses: I would rather not.\n", place)
        seen.prompt()
        seen.press(CTRL_D)
        assert seen.end() == 0
    assert [message["content"] for message in provider.asked[-1]["messages"]] == ["two"]


def test_ctrl_c_at_the_prompt_clears_the_line_and_says_how_to_leave(provider: Provider) -> None:
    with terminal("chat", "-m", provider.model()) as seen:
        seen.prompt()
        seen.press("never sent")
        place = seen.until("never sent")
        seen.press(CTRL_C)
        place = seen.until("Ctrl-D ends the chat\n", place)
        seen.prompt()
        seen.press(f"  {ENTER}")
        seen.prompt()
        seen.press(f"sent{ENTER}")
        place = seen.until("1: sent\n", place)
        seen.prompt()
        seen.press(CTRL_D)
        assert seen.end() == 0
    assert len(provider.asked) == 1


def test_arrow_up_brings_back_what_was_typed(provider: Provider) -> None:
    with terminal("chat", "-m", provider.model()) as seen:
        seen.prompt()
        seen.press(f"one{ENTER}")
        place = seen.until("1: one\n")
        seen.prompt()
        seen.press(UP)
        seen.until("one", place + 2)
        seen.press(f" more{ENTER}")
        place = seen.until("3: one more\n", place)
        seen.prompt()
        seen.press(CTRL_D)
        assert seen.end() == 0


def test_history_is_kept_where_it_is_told_to_and_nowhere_else(provider: Provider, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    kept = tmp_path / "history"
    for options, question in (((), "secret"), (("--history", str(kept)), "one")):
        with terminal("chat", "-m", provider.model(), *options, env={"HOME": str(home)}) as seen:
            seen.prompt()
            seen.press(f"{question}{ENTER}")
            seen.until(f"1: {question}\n")
            seen.prompt()
            seen.press(CTRL_D)
            assert seen.end() == 0
    assert list(home.iterdir()) == []
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with terminal("chat", "-m", provider.model(), "--history", str(kept)) as seen:
        seen.prompt()
        place = len(seen.screen)
        seen.press(UP)
        seen.until("one", place)
        seen.press(ENTER)
        seen.until("1: one\n", place)
        seen.prompt()
        seen.press(CTRL_D)
        assert seen.end() == 0


def test_a_history_that_cannot_be_kept_is_a_mistake_from_a_pipe_too(provider: Provider) -> None:
    done = typed("chat", "-m", provider.model(), "--history", "/nonexistent/history", given=b"Hello\n")
    assert (done.code, done.out) == (2, "")
    assert done.err == "arshai-kit: --history /nonexistent/history: No such file or directory\n"


def test_a_history_that_cannot_be_kept_is_a_mistake(provider: Provider, tmp_path: Path) -> None:
    with terminal("chat", "-m", provider.model(), "--history", str(tmp_path)) as seen:
        assert seen.end() == 2
    assert f"--history {tmp_path}: Is a directory\n" in seen.screen


def test_answers_that_go_to_a_file_hold_no_prompts(provider: Provider, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as out, terminal("chat", "-m", provider.model(), out=out) as seen:
        seen.prompt()
        seen.press(f"one{ENTER}")
        seen.prompt()
        seen.press(CTRL_D)
        assert seen.end() == 0
    assert path.read_text() == "1: one\n"


# -- chat from a pipe --


def test_a_chat_from_a_pipe_answers_line_by_line(provider: Provider) -> None:
    done = typed("chat", "-m", provider.model(), given="one\n\nGrüße".encode())
    assert (done.code, done.out, done.err) == (0, "1: one\n3: Grüße\n", "")
    assert typed("chat", "-m", provider.model(), given=None).code == 0


def test_a_chat_from_a_pipe_ends_at_the_first_failure(provider: Provider) -> None:
    done = typed("chat", "-m", provider.model("first-failing"), given=b"one\ntwo\n")
    assert (done.code, done.out, done.err) == (1, "", "arshai-kit: HTTP 400: not now\n")
    assert typed("chat", "-m", provider.model("length"), given=b"one\ntwo\n").code == 3
    assert typed("chat", "-m", provider.model(), given=b"\xff\n").code == 2
