"""How the documentation is built: pages in Markdown, the reference from docstrings; a warning is an error."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import version as installed
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

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
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": True}
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


def home(name: str) -> str:
    """The module that defines a name of the top level, as a link to its page."""
    value = getattr(arshai_kit, name)
    origin = value.__name__ if name == "aio" else getattr(value, "__module__", "")
    return f"[`{origin}`]({origin}.md)" if (HERE / "api" / f"{origin}.md").is_file() else "a type"


def borrowed(module: str, modules: list[str], told: set[str]) -> list[str]:
    """The names that *module* lists and another page tells of; what this page tells of is added to *told*."""
    names = []
    for name in getattr(import_module(module), "__all__", ()):
        origin = getattr(getattr(import_module(module), name), "__module__", module)
        elsewhere = origin in modules and not f"{origin}.".startswith(f"{module}.")
        if elsewhere or f"{origin}.{name}" in told:
            names.append(name)
        told.add(f"{origin}.{name}")
    return names


def page(module: str, left_out: list[str]) -> str:
    """The page of one module."""
    option = f"\n   :exclude-members: {', '.join(left_out)}" if left_out else ""
    return f"# {module}\n\n```{{eval-rst}}\n.. automodule:: {module}{option}\n```\n"


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
    told: set[str] = set()
    for name in modules:
        write(folder / f"{name}.md", page(name, borrowed(name, modules, told)))
    rows = [f"| `{name}` | {home(name)} |" for name in getattr(arshai_kit, "__all__", ())]
    top = "\n".join(["| name | from |", "|---|---|", *rows])
    laws = "\n".join(f"- [`{name}`]({name}.md): {law(name)}" for name in modules)
    tree = "\n".join(["```{toctree}", ":hidden:", "", *modules, "```"])
    write(folder / "index.md", f"# Reference\n\nThe top level:\n\n{top}\n\nThe modules:\n\n{laws}\n\n{tree}\n")


def setup(app: Sphinx) -> None:
    """Write the reference before anything is read."""
    app.connect("builder-inited", reference)
