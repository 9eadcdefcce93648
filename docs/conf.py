"""How the documentation is built: pages in Markdown, the reference from docstrings; a warning is an error."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from importlib.metadata import version as installed
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import arshai_kit

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent

project = "arshai_kit"
author = "The arshai_kit authors"
copyright = author
version = release = installed("arshai-kit")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"arshai_kit {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # docstrings write `name` for what Markdown, too, shows as code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"show-inheritance": True}
python_use_unqualified_type_names = True
maximum_signature_line_length = 100


def public_modules(package: ModuleType = arshai_kit) -> list[str]:
    """The modules that a user imports from; a folder that lists names of its own speaks for its files."""
    names: list[str] = []
    for _, name, is_folder in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not name.rpartition(".")[2].startswith("_"):
            module = import_module(name)
            speaks = not is_folder or hasattr(module, "__all__")
            names += [name] if speaks else [name, *public_modules(module)]
    return names


def law(module: str) -> str:
    """The first line of a module's docstring."""
    return (import_module(module).__doc__ or "").strip().partition("\n")[0]


def owner(name: str, module: str, modules: list[str]) -> str:
    """The public module whose page tells of *name*: the one that defines it, or else the one that lists it."""
    origin = f"{getattr(getattr(import_module(module), name), '__module__', module)}."
    return next((each for each in modules if origin.startswith(f"{each}.")), module)


def own(module: str, modules: list[str], told: set[int]) -> list[str]:
    """The names that *module* lists and no page before tells of; they are added to *told*."""
    listed = getattr(import_module(module), "__all__", ())
    names = [name for name in listed if owner(name, module, modules) == module]
    fresh = [name for name in names if id(getattr(import_module(module), name)) not in told]
    told.update(id(getattr(import_module(module), name)) for name in fresh)
    return fresh


def page(module: str, names: list[str]) -> str:
    """The page of one module; a face is an instance, and shown as the function that it stands for."""
    faces = [name for name in names if is_face(getattr(import_module(module), name))]
    members = ", ".join(name for name in names if name not in faces)
    lines = [f".. automodule:: {module}", *([f"   :members: {members}"] if members else [])]
    lines += [f"\n.. autofunction:: {module}.{name}" for name in faces]
    return "\n".join([f"# {module}", "", "```{eval-rst}", *lines, "```", ""])


def is_face(thing: object) -> bool:
    """Whether *thing* runs: an instance that carries the plan it drives."""
    return hasattr(thing, "plan") and not isinstance(thing, type)


def answered(_app: Sphinx, _what: str, _name: str, thing: object, _options: object, *signature: str) -> Any:
    """A face shows what it returns, not the plan that it drives."""
    if not is_face(thing):
        return None
    arguments, returned = signature
    says = type(thing).__call__.__annotations__["return"]
    plan = re.search(r"Any\], [~.\w]*Any, (.*)\]$", returned or "")
    return arguments, plan[1] if plan and says == "T" else says


def write(path: Path, text: str) -> None:
    """Write only what has changed, so that the builder reads again only what it must."""
    if not path.is_file() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def reference(_app: Sphinx) -> None:
    """Make a page for each public module there is, and one that lists the top level."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    modules = public_modules()
    for stale in set(folder.glob("*.md")) - {folder / f"{name}.md" for name in [*modules, "index"]}:
        stale.unlink()
    told: set[int] = set()
    for name in modules:
        write(folder / f"{name}.md", page(name, own(name, modules, told)))
    homes = {name: owner(name, "arshai_kit", modules) for name in arshai_kit.__all__}
    rows = [f"| `{name}` | [`{home}`]({home}.md) |" for name, home in homes.items()]
    top = "\n".join(["| name | from |", "|---|---|", *rows])
    laws = "\n".join(f"- [`{name}`]({name}.md): {law(name)}" for name in modules)
    tree = "\n".join(["```{toctree}", ":hidden:", "", *modules, "```"])
    write(folder / "index.md", f"# Reference\n\nThe top level:\n\n{top}\n\nThe modules:\n\n{laws}\n\n{tree}\n")


def setup(app: Sphinx) -> None:
    """Write the reference before anything is read, and show faces as functions; a drawing is shown as it is written."""
    app.add_lexer("mermaid", import_module("pygments.lexers.special").TextLexer)  # it ships no types
    app.connect("builder-inited", reference)
    app.connect("autodoc-process-signature", answered)
