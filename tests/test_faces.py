"""Both faces show the same names, and each is what it says it is."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import arshai_kit

# A loop or a branch in a list of lines would be a place where the two worlds drift apart.
LOGIC = (
    *(ast.If, ast.IfExp, ast.Match, ast.BoolOp, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda),
)


def source(module: ModuleType) -> str:
    return Path(inspect.getsourcefile(module) or "").read_text("utf-8")


def running(module: ModuleType) -> set[str]:
    """The names of *module* that run: functions that carry the plan they drive."""
    return {name for name in module.__all__ if hasattr(getattr(module, name), "plan")}


def seen_by_type_checkers(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of *body*, and those that only a type checker reads."""
    for node in body:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from node.body
            case _:
                yield node


def imported_names(module: ModuleType) -> set[str]:
    """The public names that the source of *module* brings in or defines at its top level."""
    names: set[str] = set()
    for node in seen_by_type_checkers(ast.parse(source(module)).body):
        match node:
            case ast.ImportFrom(module=origin, names=aliases) if origin not in ("__future__", "typing"):
                names |= {alias.asname or alias.name for alias in aliases}
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


def test_both_faces_have_the_same_names() -> None:
    assert arshai_kit.aio.__all__ == arshai_kit.__all__


def test_what_runs_has_two_faces_and_the_rest_has_one() -> None:
    two = {name for name in arshai_kit.__all__ if getattr(arshai_kit, name) is not getattr(arshai_kit.aio, name)}
    assert two == running(arshai_kit) == running(arshai_kit.aio)
    assert two >= {"complete", "stream", "run_tools", "extract", "run"}


def test_both_faces_drive_the_same_plans() -> None:
    for name in running(arshai_kit):
        assert getattr(arshai_kit, name).plan is getattr(arshai_kit.aio, name).plan, name


def test_both_faces_take_the_same_arguments() -> None:
    for name in running(arshai_kit):
        sync, other = (inspect.signature(getattr(face, name)) for face in (arshai_kit, arshai_kit.aio))
        assert sync.parameters == other.parameters, name


def test_the_top_level_is_complete() -> None:
    """Whatever `__init__` brings in is listed, and whatever is listed is there."""
    assert set(arshai_kit.__all__) == imported_names(arshai_kit) - {"aio"}
    assert [name for name in arshai_kit.__all__ if not hasattr(arshai_kit, name)] == []


def test_the_top_level_is_short() -> None:
    assert len(arshai_kit.__all__) == len(set(arshai_kit.__all__)) <= 60


def test_what_is_public_says_what_it_is() -> None:
    assert [name for name in arshai_kit.__all__ if not inspect.getdoc(getattr(arshai_kit, name))] == []


def test_the_async_face_is_a_thin_list() -> None:
    text = source(arshai_kit.aio)
    assert len(text.splitlines()) <= 150
    assert [ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, LOGIC)] == []
