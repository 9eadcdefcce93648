"""Shows answers as they come: plain when piped, with colours and a spinner on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from arshai_kit._json import dumps
from arshai_kit.codec import to_json
from arshai_kit.completion import complete, run_tools
from arshai_kit.completion import stream as streamed
from arshai_kit.errors import ArshaiError
from arshai_kit.models import Model
from arshai_kit.records import (
    BackgroundFailed,
    BackgroundStarted,
    Event,
    Finished,
    Message,
    Response,
    TextDelta,
    ToolCall,
    ToolFailed,
    ToolFinished,
    ToolStarted,
    assistant,
    user,
)
from arshai_kit.records import system as system_message
from arshai_kit.tools import ToolLike

__all__ = ["answer", "chat", "complain"]

_CUT = 3


def complain(error: Exception) -> None:
    """Say what went wrong, on standard error."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[red]arshai-kit:[/red] {escape(str(error))}")


def answer(model: Model, prompt: Message, *, as_json: bool, stream: bool, **options: Any) -> int:
    """Ask once, and print the answer; the exit code."""
    typed = options.get("output") is not None
    if stream and not as_json and not typed:
        response = _shown(streamed(model, prompt, **options))
    else:
        with _spinner():
            response = _whole(model, prompt, options)
        print(to_json(response) if as_json else dumps(response.output).decode() if typed else response.text)
    return _CUT if response.finish_reason in ("length", "content_filter", "error") else 0


def _whole(model: Model, prompt: Message, options: dict[str, Any]) -> Response:
    if options["tools"]:
        return run_tools(model, prompt, **options)
    return complete(model, prompt, system=options["system"], output=options["output"])


def chat(model: Model, system: str | None, tools: Sequence[ToolLike], history: Path | None) -> int:
    """Go on talking until the person has had enough."""
    ask = _reader(history)
    said: list[Message] = [] if system is None else [system_message(system)]
    while True:
        try:
            words = ask()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return 0
        if words.strip():
            said.append(user(words))
            said.extend(_turn(model, said, tools))


def _turn(model: Model, said: Sequence[Message], tools: Sequence[ToolLike]) -> tuple[Message, ...]:
    """The messages that one answer adds; an answer that was stopped or failed is kept as far as it came."""
    heard: list[str] = []
    try:
        return _shown(streamed(model, said, tools=tools), heard).messages
    except KeyboardInterrupt:
        print(" [stopped]")
    except ArshaiError as error:
        print()
        complain(error)
    return (assistant("".join(heard) or "[no answer]"),)


def _reader(history: Path | None) -> Any:
    """What asks the person for the next words."""
    if not sys.stdin.isatty():
        return input
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory() if history is None else FileHistory(str(history))
    )
    return lambda: session.prompt("> ")


def _spinner() -> Any:
    """A sign of life until the first word; nothing where nobody looks."""
    console = Console(stderr=True)
    return console.status("", spinner="dots") if console.is_terminal else Console(quiet=True).status("")


def _shown(events: Iterable[Event], heard: list[str] | None = None) -> Response:
    """Print *events* as they come; the response at their end."""
    spinner, response = _spinner(), Response(())
    aside = Console(stderr=True, soft_wrap=True, highlight=False)
    spinner.start()
    ended = True
    try:
        for event in events:
            if (note := _note(event)) is not None:
                spinner.stop()
                aside.print(f"{'' if ended else chr(10)}[dim]{escape(note)}[/dim]")
                ended = True
            match event:
                case TextDelta(text) if text:
                    spinner.stop()
                    print(text, end="", flush=True)
                    ended = text.endswith("\n")
                    if heard is not None:
                        heard.append(text)
                case Finished(response):
                    pass
    finally:
        spinner.stop()
        close = getattr(events, "close", None)
        if close is not None:
            close()
    if not ended:
        print()
    return response


def _note(event: Event) -> str | None:
    """What is worth a word beside the answer."""
    match event:
        case ToolStarted(call):
            return f"→ {_written(call)}"
        case ToolFinished(call, result):
            return f"← {call.name}: {result if isinstance(result, str) else f'{len(result)} parts'}"
        case ToolFailed(call, error) | BackgroundFailed(call, error):
            return f"× {call.name}: {error}"
        case BackgroundStarted(call):
            return f"→ {_written(call)} in the background"
    return None


def _written(call: ToolCall) -> str:
    """*call* as a programmer writes it.

    >>> _written(ToolCall("1", "add", {"a": 1, "b": 2}))
    'add(a=1, b=2)'
    """
    return f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})"
