"""A part that is absent is named, and what needs it never counts as passed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.needs("wire")
def test_that_needs_a_mark(): ...

def test_that_needs_a_fixture(wire): ...

def test_that_needs_nothing(): ...
"""


def ran(folder: Path, *arguments: str, tests: str = TESTS, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest over *tests*, with our conftest and nothing else of ours."""
    shutil.copy2(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_it.py").write_text(tests, "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = needs\n", "utf-8")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("ARSHAI_", "COV_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=ours | environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_a_group_whose_part_is_absent_is_named_as_not_run(tmp_path: Path) -> None:
    done = ran(tmp_path)
    assert done.returncode == 0
    assert "NOT RUN: wire (no folder of recordings: give it by --wire or ARSHAI_WIRE): 2 tests" in done.stdout
    assert "1 passed, 2 skipped" in done.stdout


def test_where_the_part_is_there_the_group_runs(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").touch()
    done = ran(tmp_path, ARSHAI_WIRE=str(tmp_path), ARSHAI_REQUIRE="wire")
    assert "3 passed" in done.stdout
    assert "NOT RUN" not in done.stdout


def test_a_part_alone_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").touch()
    assert "2 passed, 1 deselected" in ran(tmp_path, "--part=wire", f"--wire={tmp_path}").stdout


@pytest.mark.parametrize(
    ("promised", "said"),
    [("wire", "this environment promises parts that are absent: wire"), ("wrie", "no part of ours: wrie")],
)
def test_an_environment_without_what_it_promises_fails(tmp_path: Path, promised: str, said: str) -> None:
    done = ran(tmp_path, ARSHAI_REQUIRE=promised)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_an_unknown_part_is_an_error(tmp_path: Path) -> None:
    done = ran(tmp_path, tests="import pytest\n@pytest.mark.needs('wrie')\ndef test_it(): ...\n")
    assert done.returncode != 0
    assert "needs 'wrie', which tests/conftest.py does not know" in done.stdout + done.stderr
