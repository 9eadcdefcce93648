"""A conversation at the terminal, or line by line from a pipe.

An answer that was stopped or failed is kept as far as it was shown; a question without any answer is forgotten, so
that the conversation never holds words that nobody said.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arshai_kit.cli.choose import MOST, decoded
from arshai_kit.cli.screen import aside, complain, is_watched
from arshai_kit.cli.talk import Heard, blame, shown, verdict
from arshai_kit.completion import stream
from arshai_kit.errors import ArshaiError, Misuse
from arshai_kit.models import Model
from arshai_kit.records import Message, assistant, user

__all__ = ["chat"]

Hear = Callable[[], Heard]
Reader = Callable[[], str]


def chat(model: Model, history: Path | None, hear: Hear, **options: Any) -> int:
    """Go on talking until there is nothing more to read; the exit code."""
    kept = "" if history is None else _private(history)  # a mistake, even where nothing is going to be typed
    if not is_watched(sys.stdin):
        return _line_by_line(model, options, hear)
    read = _reader(kept)
    aside(f"{model.name} ({model.provider}): Ctrl-C stops an answer, Ctrl-D ends the chat")
    said: tuple[Message, ...] = ()
    while True:
        try:
            words = read()
        except KeyboardInterrupt:
            aside("Ctrl-D ends the chat")
            continue
        except EOFError:
            return 0
        if words.strip():
            said = _after(model, said, words, options, hear)


def _after(
    model: Model, said: tuple[Message, ...], words: str, options: dict[str, Any], hear: Hear
) -> tuple[Message, ...]:
    """The conversation after one more question."""
    asked, heard = (*said, user(words)), hear()
    try:
        response = shown(stream(model, asked, **options), heard)
    except KeyboardInterrupt:
        aside("stopped")
    except (ArshaiError, ImportError) as error:
        complain(blame(error))
    else:
        verdict(response, model)
        if response.text and not response.tool_calls:  # a call without its result cannot go back
            return (*asked, *response.messages)
    return (*asked, assistant(heard.text)) if heard.text else said


def _line_by_line(model: Model, options: dict[str, Any], hear: Hear) -> int:
    """Answer each line of standard input; the first failure ends it, and so does the first unusable answer."""
    said: tuple[Message, ...] = ()
    while sys.stdin is not None and (line := sys.stdin.buffer.readline(MOST)):
        if words := decoded(line).strip():
            said = (*said, user(words))
            response = shown(stream(model, said, **options), hear())
            if code := verdict(response, model):
                return code
            said = (*said, *response.messages)
    return 0


def _reader(history: str) -> Reader:
    """What reads a person's next words, with editing and the arrow keys."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.output import create_output

    kept = FileHistory(history) if history else InMemoryHistory()
    # Answers that go to a file or a pipe must not hold the prompts.
    output = None if is_watched(sys.stdout) else create_output(stdout=sys.stderr)
    session: PromptSession[str] = PromptSession(history=kept, output=output)
    return lambda: session.prompt("> ").encode(errors="replace").decode()


def _private(path: Path) -> str:
    """*path*, made if it is not there, for its owner's eyes."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise Misuse(f"--history {path}: {error.strerror}") from error
    return str(path)
