"""Let tox find the interpreters that pyenv keeps, whichever of them is switched on.

pyenv's `python3.12` is a shim that answers only while that version is selected; the interpreter behind it always works.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tox.plugin import impl

if TYPE_CHECKING:
    from tox.config.sets import ConfigSet
    from tox.session.state import State


@impl
def tox_add_core_config(core_conf: ConfigSet, state: State) -> None:  # noqa: ARG001  # tox passes both by name
    """Offer pyenv's interpreters to tox's search; one that fits none of its environments is passed over."""
    found = {each for root in roots() for each in root.glob("versions/3.*/bin/python3.[1-9][0-9]")}
    state.conf.options.discover.extend(str(each) for each in sorted(found))


def roots() -> list[Path]:
    """Where pyenv may keep its interpreters: where it is told to, at home, or beside its own command."""
    command = shutil.which("pyenv")
    told = [Path(os.environ["PYENV_ROOT"])] if "PYENV_ROOT" in os.environ else []
    return [*told, Path.home() / ".pyenv", *([Path(command).resolve().parents[1]] if command else [])]
