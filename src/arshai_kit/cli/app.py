"""The commands and their options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from arshai_kit import __version__
from arshai_kit.cli import doctor as examination
from arshai_kit.cli import talk
from arshai_kit.cli.choose import chosen_model, found_tool, read_schema
from arshai_kit.errors import ArshaiError, BadAnswer, Exhausted, Misuse
from arshai_kit.models import Model, evolve
from arshai_kit.records import Part, user
from arshai_kit.records.media import file as file_part
from arshai_kit.records.media import image as image_part

__all__ = ["app", "run"]

app = typer.Typer(
    name="arshai-kit",
    help="Ask language models from the command line. The default model runs on this machine, without key or network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="local, local:PATH.gguf, or openai-compatible:NAME@URL", show_default=True)
]
SystemOption = Annotated[str | None, typer.Option("--system", "-s", help="What the model is to be")]
ToolOption = Annotated[
    list[str] | None, typer.Option("--tool", "-t", help="module:function that the model may call; repeatable")
]
TemperatureOption = Annotated[float | None, typer.Option(help="0 for the likeliest words")]
MaxTokensOption = Annotated[int | None, typer.Option(help="The longest answer")]
SeedOption = Annotated[int | None, typer.Option(help="The same seed, the same answer, where the provider can")]


def run(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        return app(arguments, standalone_mode=False) or 0
    except (KeyboardInterrupt, click.exceptions.Abort):
        return 130
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (ArshaiError, ImportError) as error:
        talk.complain(error)
        return _code(error)


def _code(error: Exception) -> int:
    match error:
        case BadAnswer() | Exhausted():
            return 3
        case Misuse() | ImportError():
            return 2
    return 1


@app.command()
def ask(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION", help="What to ask; or on standard input")
    ] = None,
    *,
    model: ModelOption = "local",
    system: SystemOption = None,
    tool: ToolOption = None,
    image: Annotated[list[str] | None, typer.Option(help="Path or URL of a picture; repeatable")] = None,
    file: Annotated[list[str] | None, typer.Option(help="Path or URL of a document; repeatable")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole response as JSON")] = False,
    schema: Annotated[str | None, typer.Option(help="A JSON Schema (or its file) that the answer must fit")] = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is complete")] = False,
    max_rounds: Annotated[int, typer.Option(help="The most requests to the model")] = 10,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
) -> int:
    """Ask one question. What is piped in is read after the question."""
    asked = _set(chosen_model(model), temperature=temperature, max_tokens=max_tokens, seed=seed)
    options: dict[str, Any] = {"system": system, "tools": [found_tool(each) for each in tool or ()]}
    options |= {"output": read_schema(schema), "max_rounds": max_rounds}
    prompt = user(*_question(words or []), *map(image_part, image or ()), *map(file_part, file or ()))
    return talk.answer(asked, prompt, as_json=as_json, stream=not no_stream, **options)


@app.command()
def chat(
    *,
    model: ModelOption = "local",
    system: SystemOption = None,
    tool: ToolOption = None,
    history: Annotated[Path | None, typer.Option(help="Where to keep what you typed")] = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
) -> int:
    """Talk with a model. Ctrl-C stops an answer, Ctrl-D ends the chat."""
    asked = _set(chosen_model(model), temperature=temperature, max_tokens=max_tokens, seed=seed)
    return talk.chat(asked, system, [found_tool(each) for each in tool or ()], history)


@app.command()
def models(
    url: Annotated[
        str | None, typer.Option(help="Base URL of an OpenAI-compatible server, to list what it serves")
    ] = None,
) -> int:
    """Say which models can be named, and list those that a server has."""
    return examination.models(url)


@app.command()
def doctor(
    url: Annotated[str | None, typer.Option(help="Base URL of an OpenAI-compatible server to reach")] = None,
) -> int:
    """Say what is installed, what is configured, and whether a server can be reached."""
    return examination.doctor(url)


@app.callback(invoke_without_command=True)
def version(*, version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    """Ask language models from the command line. The default model runs on this machine, without key or network."""
    if version:
        print(__version__)
        raise typer.Exit


def _question(words: list[str]) -> list[str | Part]:
    """The question, and what is piped in after it."""
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read().strip()
    parts: list[str | Part] = [text for text in (" ".join(words), f"\n\n{piped}" if words and piped else piped) if text]
    if not parts:
        raise Misuse("there is no question: arshai-kit ask 'What is the capital of France?'")
    return parts


def _set(model: Model, **settings: Any) -> Model:
    given = {name: value for name, value in settings.items() if value is not None}
    return evolve(model, **given) if given else model
