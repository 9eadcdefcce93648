"""The commands and their options; what a command needs is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import click

from arshai_kit import __version__
from arshai_kit.errors import ArshaiError, BadAnswer, Exhausted, Misuse

__all__ = ["app", "run"]

F = TypeVar("F", bound=Callable[..., Any])

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with app.make_context("arshai-kit", given) as context:
            return app.invoke(context) or 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except ArshaiError as error:
        from arshai_kit.cli.screen import complain
        from arshai_kit.cli.talk import blame

        complain(blame(error))
        return _code(error)


def _code(error: ArshaiError) -> int:
    match error:
        case BadAnswer() | Exhausted():
            return 3
        case Misuse():
            return 2
    return 1


def _number(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """*value*, if it is a number that one can count with."""
    if value is not None and not isfinite(value):
        raise click.BadParameter(f"{value} is no number to count with", context, parameter)
    return value


def _asking(command: F) -> F:
    """The options that `ask` and `chat` share."""
    for option in (
        click.option("-v", "--verbose", is_flag=True, help="Show calls of tools even when piped."),
        click.option("--seed", type=int, help="Makes answers repeatable, where the provider can."),
        click.option("--max-tokens", type=click.IntRange(1), help="The longest answer."),
        click.option("--temperature", type=float, callback=_number, help="0 for the likeliest words."),
        click.option(
            "-t", "--tool", "tools", multiple=True, metavar="MODULE:FUNCTION", help="The model may call it; repeatable."
        ),
        click.option("-s", "--system", metavar="TEXT", help="What the model is to be."),
        click.option(
            "-m",
            "--model",
            default="local",
            show_default=True,
            metavar="MODEL",
            help="local, openai:NAME, gemini:NAME, …: `arshai-kit models` says what there is.",
        ),
    ):
        command = option(command)
    return command


def _indexing(command: F) -> F:
    """The options of what has to do with an index."""
    for option in (
        click.option(
            "--embedder",
            default="local",
            show_default=True,
            metavar="EMBEDDER",
            help="local, none (by words alone), openai:NAME, gemini:NAME, …",
        ),
        click.option("--index", type=click.Path(path_type=Path), help="File of the index; else one of your caches."),
    ):
        command = option(command)
    return command


@click.group(context_settings=HELP)
@click.version_option(__version__, message="%(version)s")
def app() -> None:
    """Ask language models from the command line.

    The default model runs on this machine, without key or network. Keys of the others are read from the environment;
    `arshai-kit doctor` says which are set.
    """


@app.command(context_settings=HELP)
@click.argument("words", metavar="[QUESTION]", nargs=-1)
@_asking
@click.option("--image", "images", multiple=True, metavar="PATH|URL", help="A picture to look at; repeatable.")
@click.option("--file", "files", multiple=True, metavar="PATH|URL", help="A document to read; repeatable.")
@click.option("--schema", metavar="JSON|PATH", help="A JSON Schema; the answer is JSON that fits it.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole response as JSON.")
@click.option("--no-stream", is_flag=True, help="Print the answer when it is complete.")
@click.option("--max-rounds", type=click.IntRange(1), default=10, show_default=True, help="The most model requests.")
@click.option("-k", "--knowledge", metavar="DIR", help="Answer out of the documents in this folder, and cite them.")
@_indexing
def ask(
    words: tuple[str, ...],
    *,
    knowledge: str | None,
    index: Path | None,
    embedder: str,
    images: tuple[str, ...],
    files: tuple[str, ...],
    schema: str | None,
    as_json: bool,
    no_stream: bool,
    max_rounds: int,
    **shared: Any,
) -> int:
    """Ask one question. What is piped in is read as its second part, or as all of it."""
    from arshai_kit.cli import choose, talk
    from arshai_kit.records import file, image, user

    output = choose.read_schema(schema)
    if knowledge is not None or index is not None:
        if images or files:
            raise Misuse("--knowledge answers out of documents alone: leave out --image and --file")
        how = {"as_json": as_json, "stream": not no_stream, "output": output, "max_rounds": max_rounds}
        return _knowing(words, knowledge, index, embedder, shared, how)
    model, hear, options = _chosen(**shared)
    prompt = user(choose.question(words), *map(image, images), *map(file, files))
    options |= {"output": output, "max_rounds": max_rounds}
    return talk.answer(model, prompt, hear(), as_json=as_json, stream=not no_stream, **options)


def _knowing(
    words: tuple[str, ...],
    knowledge: str | None,
    index: Path | None,
    embedder: str,
    shared: dict[str, Any],
    how: dict[str, Any],
) -> int:
    """Answer out of documents: by a model that was named, else in their own words."""
    from arshai_kit.cli import choose
    from arshai_kit.cli import knowledge as knowing

    source = click.get_current_context().get_parameter_source("model")
    quoted = source is click.core.ParameterSource.DEFAULT
    if quoted and (how["as_json"] or how["output"] is not None):
        why = "--json and --schema are about the answer of a model, and without one the documents are quoted"
        raise Misuse(f"{why}: name it by --model, or take `arshai-kit search --json` for the passages")
    model, hear, options = (None, lambda: None, {}) if quoted else _chosen(**shared)
    return knowing.answered(model, choose.question(words), hear(), knowledge, index, embedder, **how, **options)


@app.command(context_settings=HELP)
@click.argument("source", metavar="DIR|FILE|URL")
@_indexing
@click.option("--keep", is_flag=True, help="Leave in the index what is no longer there.")
@click.option("--workers", type=click.IntRange(0), default=0, help="Read in so many processes.")
def ingest(source: str, *, index: Path | None, embedder: str, keep: bool, workers: int) -> int:
    """Read the documents of a folder into an index, as far as they have changed since the last time."""
    from arshai_kit.cli import knowledge

    return knowledge.ingested(source, index, embedder, prune=not keep, workers=workers)


@app.command(context_settings=HELP)
@click.argument("words", metavar="QUESTION", nargs=-1)
@click.option(
    "-k", "--knowledge", metavar="DIR", default=".", help="The folder that was ingested, by default this one."
)
@_indexing
@click.option("-n", "--limit", type=click.IntRange(1), default=5, show_default=True, help="The most passages.")
@click.option("--mode", type=click.Choice(["hybrid", "dense", "sparse"]), help="By meaning, by words, or both.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each passage.")
def search(
    words: tuple[str, ...],
    *,
    knowledge: str,
    index: Path | None,
    embedder: str,
    limit: int,
    mode: str | None,
    as_json: bool,
) -> int:
    """Find the passages that answer a question."""
    from arshai_kit.cli import choose
    from arshai_kit.cli import knowledge as knowing

    question = choose.question(words)
    return knowing.searched(question, knowledge, index, embedder, limit=limit, mode=mode or "", as_json=as_json)


@app.command(context_settings=HELP)
@_asking
@click.option(
    "--history", type=click.Path(path_type=Path), help="File to keep what you type in; without it, nothing is kept."
)
def chat(*, history: Path | None, **shared: Any) -> int:
    """Talk with a model. Ctrl-C stops an answer, Ctrl-D ends the chat."""
    from arshai_kit.cli import chat as talking

    model, hear, options = _chosen(**shared)
    return talking.chat(model, history, hear, **options)


@app.command(context_settings=HELP)
@click.option("--url", help="Base URL of an OpenAI-compatible server: list what it has.")
def models(*, url: str | None) -> int:
    """Say what --model takes."""
    from arshai_kit.cli import doctor as examination

    return examination.models(url)


@app.command(context_settings=HELP)
@click.option("--url", help="Base URL of an OpenAI-compatible server to reach.")
@click.option("-m", "--model", metavar="MODEL", help="A model to ask a question of one word, as `ask` takes it.")
def doctor(*, url: str | None, model: str | None) -> int:
    """Say what is installed, what is configured, and what works."""
    from arshai_kit.cli import doctor as examination

    return examination.doctor(url, model)


def _chosen(*, model: str, tools: Sequence[str], system: str | None, verbose: bool, **settings: Any) -> Any:
    """The model, what shows its answers, and how it is asked."""
    from arshai_kit.cli.choose import chosen_model, found_tool
    from arshai_kit.cli.talk import Heard

    found = [found_tool(each) for each in tools]
    return chosen_model(model, **settings), partial(Heard, notes=verbose), {"tools": found, "system": system}
