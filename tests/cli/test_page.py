"""The page about the command line: every command that it shows is run, and what it says of options is all there is."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cli.server import SOON, Provider
from tests.cli.shell import COMMAND, surroundings, typed
from tests.cli.test_ask import SCHEMA
from tests.test_docs import ROOT, blocks

pytestmark = pytest.mark.needs("cli")

PAGE = ROOT / "docs" / "cli.md"
SERVER = "http://localhost:11434/v1"
SHOWN = [line for block in blocks(PAGE) if block.language == "text" for line in block.text.splitlines()]
LOCAL = "openai-compatible:llama3.2@"


def behaviour(command: str) -> str:
    """How the server is to behave for *command* to make sense."""
    return "typed" if "--schema" in command else "multiply" if "ask --tool" in command else "echo"


@pytest.mark.parametrize("command", SHOWN)
def test_each_command_of_the_page_works(command: str, provider: Provider, folder: Path) -> None:
    """At a server of ours; test_local.py asks the local model."""
    (folder / "notes.txt").write_text("A note.\n")
    (folder / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "report.pdf").write_bytes(b"%PDF-1.7")
    (folder / "person.json").write_text(SCHEMA)
    (folder / "arshai-kit").write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    (folder / "arshai-kit").chmod(0o700)
    url = provider.url(behaviour(command))
    asks = "--model" not in command and re.search(r"arshai-kit (ask|chat)", command)
    model = f" --model {LOCAL}{url}" if asks else ""
    there = re.sub(r"gemini:\S+", f"{LOCAL}{url}", command.replace(SERVER, url))
    script = re.sub(r"(arshai-kit (ask|chat))", rf"\1{model}", there)
    done = subprocess.run(
        ["/bin/sh", "-ec", script],
        input=b"one\ntwo\n",
        capture_output=True,
        cwd=folder,
        env=surroundings(
            {
                "HOME": str(folder),
                "PATH": f"{folder}:{os.environ['PATH']}",
                "OPENAI_API_KEY": "not-a-real-key",
                "OPENAI_BASE_URL": url,
            }
        ),
        timeout=SOON,
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout.strip()
    assert bool(done.stderr) == ("--verbose" in command)
    assert provider.asked or "ask" not in command


@pytest.mark.parametrize("command", ["ask", "chat", "ingest", "search", "models", "doctor"])
def test_the_page_shows_the_options_that_there_are(command: str) -> None:
    """All but those that every model knows by these names."""
    told = set(re.findall(r"--[a-z-]+", typed(command, "--help").out))
    page = set(re.findall(r"--[a-z-]+", PAGE.read_text("utf-8")))
    assert told - page <= {"--help", "--seed", "--max-tokens"}
