"""The types that the library promises are the ones a type checker sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def checked(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.needs("typing")
def test_the_types_of_the_api_are_what_they_should_be() -> None:
    done = checked("tests/typing/api.py")
    assert done.returncode == 0, done.stdout


@pytest.mark.needs("typing")
def test_a_wrong_type_is_noticed(tmp_path: Path) -> None:
    """The check above can fail."""
    (tmp_path / "wrong.py").write_text("from arshai_kit.errors import RateLimited\nRateLimited(stat=1)\n", "utf-8")
    done = checked(str(tmp_path / "wrong.py"))
    assert done.returncode == 1
    assert "call-arg" in done.stdout


def test_the_package_says_that_it_is_typed() -> None:
    import arshai_kit

    assert (Path(arshai_kit.__file__).parent / "py.typed").is_file()
