"""Every law of the suite again, with many examples, and others each time.

Those of the local model are left out: they are the slowest by far, and its own group draws a hundred each time.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long

TESTS = Path(__file__).parents[1]
LAWS = sorted(
    str(path.relative_to(TESTS))
    for path in TESTS.rglob("test_*.py")
    if path.parent.name not in {"local", "long", "peers"} and re.search("^@given", path.read_text("utf-8"), re.M)
)


@pytest.mark.parametrize("file", LAWS)
def test_laws(file: str, record_property: Callable[[str, Any], None]) -> None:
    only = "hypothesis and not peers and not long"
    command = [sys.executable, "-m", "pytest", "-q", "-m", only, "--hypothesis-profile=long", str(TESTS / file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=TESTS.parent)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    told = re.findall(r"^\d+ passed.*$", done.stdout, re.M)
    record_property("laws", f"{file}: {told[-1]}")
    print(f"{file}: {told[-1]}")


def test_there_are_laws() -> None:
    assert len(LAWS) > 10
