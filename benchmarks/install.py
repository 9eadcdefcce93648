"""How large a base install is: a fresh environment, filled by pip, and counted."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from attrs import frozen

DISTRIBUTIONS, MEGABYTES = 15, 8.0
PYTHONS = ("bin/python", "Scripts/python.exe")
NOT_OURS = ("pip", "setuptools", "wheel")


@frozen
class Size:
    """What a base install brings: distributions, and bytes without byte code; *binary* of these are shared objects."""

    distributions: tuple[str, ...]
    size: int
    binary: int


def measured() -> Size:
    """Install this project without extras into a fresh environment, and count; needs a package index."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True, symlinks=True)
        python = next(str(found) for place in PYTHONS if (found := Path(folder, place)).exists())
        project = str(Path(__file__).parent.parent)
        command = [python, "-m", "pip", "install", "--quiet", "--no-compile", project]
        subprocess.run(command, check=True)  # noqa: S603  # all of it is ours
        return counted(next(Path(folder).rglob("site-packages")))


def counted(packages: Path) -> Size:
    """The size of what is installed in *packages*, the installer itself left out."""
    infos = [info for info in sorted(packages.glob("*.dist-info")) if info.name.split("-")[0] not in NOT_OURS]
    files = [file for file in packages.rglob("*") if file.is_file() and not foreign(file.relative_to(packages))]
    binary = sum(file.stat().st_size for file in files if file.suffix in (".so", ".pyd", ".dylib"))
    names = tuple(info.name.removesuffix(".dist-info") for info in infos)
    return Size(names, sum(file.stat().st_size for file in files), binary)


def foreign(file: Path) -> bool:
    """Whether *file* belongs to the installer, or is byte code.

    >>> foreign(Path("pip/__init__.py")), foreign(Path("attr/__pycache__/a.pyc")), foreign(Path("attr/a.py"))
    (True, True, False)
    """
    first = file.parts[0].split("-")[0]
    return first in NOT_OURS or first in ("_distutils_hack", "pkg_resources") or file.suffix == ".pyc"


def told(size: Size) -> str:
    """The size, in a sentence."""
    return (
        f"Base install: {len(size.distributions)} distributions (at most {DISTRIBUTIONS}), "
        f"{size.size / 1e6:.1f} MB without byte code (at most {MEGABYTES:g}), of which {size.binary / 1e6:.1f} MB are "
        f"shared objects: {', '.join(size.distributions)}."
    )


if __name__ == "__main__":
    print(told(measured()), file=sys.stdout)
