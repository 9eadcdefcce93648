"""What README, docs and examples show is what happens.

Every fenced block is dealt with, by its language, in the order of its page:

- `python`: run, `await` at its top level included; the blocks of a page share their names, as a session would.
- `pycon`: run as a doctest in the same names.
- `json`, `toml`: parsed.
- `console`: run by the shell in a copy of the project that has nothing installed; in the README each line by itself,
  in other pages line after line.
- `text`, `mermaid`: shown, never run.

A page may prepare itself where readers do not look: an HTML comment that opens with `<!-- python` is run like a block.
There, `stack.enter_context(…)` keeps something (a scripted model, a server) for the rest of the page, and a line
`# needs: local` names the parts without which the whole page is not run.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, chdir
from contextvars import copy_context
from pathlib import Path
from types import CodeType
from typing import Any
from unittest.mock import patch

import pytest
from attrs import frozen

import arshai_kit
from arshai_kit import errors

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md")))
GENERATED = ROOT / "docs" / "api"

FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[^\n`]*)\n(?P<fenced>.*?)^(?P=indent)(?P=ticks)\s*$"
    r"|^<!-- (?P<hidden>python)\n(?P<comment>.*?)^-->\s*$",
    re.DOTALL | re.MULTILINE,
)
SHOWN = frozenset({"text", "mermaid"})
# Directives of the documentation builder, which checks them itself.
BUILT = re.compile(r"\{(toctree|eval-rst|include|note|warning)\}")


@frozen
class Block:
    """One fenced block: where it stands, in what language, and what it says."""

    page: Path
    line: int
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for match in FENCE.finditer(text):
        language = (match["language"] or match["hidden"] or "").strip()
        body = match["fenced"] if match["comment"] is None else match["comment"]
        yield Block(page, text.count("\n", 0, match.start()) + 2, language, textwrap.dedent(body))


def shown(pages: tuple[Path, ...] = PAGES) -> list[Block]:
    return [block for page in pages if GENERATED not in page.parents for block in blocks(page)]


def commands(page: Path) -> list[str]:
    """The lines that *page* tells to type into a shell."""
    return [line for block in blocks(page) if block.language == "console" for line in block.text.splitlines() if line]


def needs(page: Path) -> list[str]:
    return re.findall(r"^# needs: ([\w-]+)$", page.read_text("utf-8"), re.MULTILINE)


# -- running --


def compiled(block: Block) -> CodeType:
    """The code of *block*, whose tracebacks lead to its line in the page."""
    source = "\n" * (block.line - 1) + block.text
    code: CodeType = compile(source, str(block.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


def run_python(block: Block, names: dict[str, Any], runner: asyncio.Runner) -> None:
    code = compiled(block)
    outcome = eval(code, names)
    if code.co_flags & inspect.CO_COROUTINE:
        runner.run(outcome, context=copy_context())


def run_doctest(block: Block, names: dict[str, Any]) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    test = doctest.DocTestParser().get_doctest(block.text, names, block.page.name, str(block.page), block.line - 1)
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=flags).run(test, out=report.append, clear_globs=False)
    assert result.failed == 0, "".join(report)
    names.update(test.globs)


def run_page(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(page)}
    with patch.dict(os.environ), ExitStack() as stack, asyncio.Runner() as runner:
        names["stack"] = stack
        for block in blocks(page):
            match block.language:
                case "python":
                    run_python(block, names, runner)
                case "pycon":
                    run_doctest(block, names)
                case "json":
                    json.loads(block.text)
                case "toml":
                    tomllib.loads(block.text)


def _pages_that_run() -> list[Any]:
    """A page is a test where it has something to run, and needs what it says."""
    pages = sorted({b.page for b in shown() if b.language in {"python", "pycon", "json", "toml"}})
    return [pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=_marks(page)) for page in pages]


def _marks(page: Path) -> list[pytest.MarkDecorator]:
    return [pytest.mark.needs(*parts)] if (parts := needs(page)) else []


@pytest.mark.parametrize("page", _pages_that_run())
def test_every_block_of_the_page_runs(page: Path, tmp_path: Path) -> None:
    with chdir(tmp_path):
        run_page(page)


def test_no_block_escapes() -> None:
    known = {"python", "pycon", "json", "toml", "console"} | SHOWN
    strange = [b for b in shown() if b.language not in known and not BUILT.match(b.language)]
    assert [f"{b.page.name}:{b.line} {b.language or 'no language'}" for b in strange] == []


def test_a_broken_block_is_noticed(tmp_path: Path) -> None:
    """The machinery fails where a page is wrong: at the line of the page."""
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```python\nfine = 1\n```\n\nProse.\n\n```python\nassert fine == 2\n```\n", "utf-8")
    with pytest.raises(AssertionError) as caught:
        run_page(page)
    assert caught.traceback[-1].lineno == 9  # counted from nought
    page.write_text("```pycon\n>>> 1 + 1\n3\n```\n", "utf-8")
    with pytest.raises(AssertionError, match="Expected"):
        run_page(page)


def test_a_block_may_await_and_a_page_may_prepare_itself(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- python\nimport anyio\nseen = []\nstack.callback(seen.append, 'left')\n-->\n"
        "```python\nawait anyio.sleep(0)\nseen.append('ran')\n```\n```pycon\n>>> seen\n['ran']\n```\n",
        "utf-8",
    )
    run_page(page)


# -- commands --


def copy_of_the_project(to: Path) -> Path:
    """What a clone would hold: no environment, no cache, nothing built."""
    ignored = (line.rstrip("/") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines())
    return Path(shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(".git", *ignored)))


def newcomer(home: Path) -> dict[str, str]:
    """The environment of somebody who has just come: an empty home, and nothing of ours set."""
    ours = {name for name in os.environ if name.startswith(("ARSHAI_", "COV_", "COVERAGE_", "TOX_", "VIRTUAL_ENV"))}
    home.mkdir(exist_ok=True)
    theirs = {name: value for name, value in os.environ.items() if name not in ours}
    return theirs | {"HOME": str(home), "PIP_CACHE_DIR": str(home / "cache")}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One empty home for all of them, so that what one has downloaded serves the others."""
    return tmp_path_factory.mktemp("home")


def typed(script: str, clone: Path, home: Path) -> str:
    """What comes of typing *script* in *clone*."""
    done = subprocess.run(
        ["/bin/sh", "-ec", script], cwd=clone, env=newcomer(home), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_ci_runs_what_the_readme_says() -> None:
    """The README's last command runs all tests."""
    script = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert script[-1] == commands(README)[-1]
    assert script[-1].endswith("tox")


@pytest.mark.needs("fresh")
def test_the_commands_of_the_readme_do_all_their_own_set_up(tmp_path: Path, home: Path) -> None:
    """Each but the last, which runs this test: as typed, in a clone, by somebody with Python and pip."""
    for number, command in enumerate(commands(README)[:-1]):
        assert typed(command, copy_of_the_project(tmp_path / str(number)), home).strip(), command


def _pages_with_commands() -> list[Any]:
    pages = [page for page in PAGES if page != README and commands(page)]
    return [pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=_marks(page)) for page in pages]


@pytest.mark.needs("fresh")
@pytest.mark.parametrize("page", _pages_with_commands())
def test_the_commands_of_the_page_work(page: Path, tmp_path: Path, home: Path) -> None:
    """In their order, in one clone."""
    typed("\n".join(commands(page)), copy_of_the_project(tmp_path / "clone"), home)


# -- examples --


def _examples() -> list[Any]:
    """Each says in a comment, `# needs: local`, what it cannot do without."""
    paths = sorted((ROOT / "examples").glob("*.py"))
    return [pytest.param(path, id=path.name, marks=_marks(path)) for path in paths]


@pytest.mark.parametrize("example", _examples())
def test_the_example_runs_offline(example: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@pytest.mark.needs("local")
def test_the_main_job_does_what_the_readme_shows() -> None:
    """The model calls the function with the numbers of the question, and its answer has the result."""
    example = ROOT / "examples" / "first_tool.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=True, timeout=300)
    *happened, answer = done.stdout.splitlines()
    assert happened == [
        "question: What is 23 times 17?",
        "the model calls multiply(a=23, b=17)",
        "the function multiply answers 391",
    ]
    assert answer.startswith("answer: ")
    assert "391" in answer
    (shown_there,) = [b.text for b in blocks(README) if b.language == "text" and "question:" in b.text]
    assert shown_there.splitlines()[:3] == happened


# -- tables --

VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


def variables_read() -> set[str]:
    """The names of environment variables, as whole strings, in modules that look at the environment or have it done."""
    sources = (path.read_text("utf-8") for path in Path(arshai_kit.__file__).parent.rglob("*.py"))
    looking = (source for source in sources if "os.environ" in source or "chosen_key(" in source)
    nodes = (node for source in looking for node in ast.walk(ast.parse(source)))
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in strings if VARIABLE.fullmatch(text)}


def test_the_table_of_environment_variables_is_complete() -> None:
    table = (ROOT / "docs" / "environment.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([A-Z0-9_]+)` \|", table, re.MULTILINE)) == variables_read()


def test_the_tree_of_errors_is_the_one_in_the_docs() -> None:
    """The page shows the drawing of `errors.py` itself, by reference, so the two cannot differ."""
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    assert "automodule:: arshai_kit.errors" in page
    classes = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert {name for name in classes if name not in (errors.__doc__ or "")} == set()
