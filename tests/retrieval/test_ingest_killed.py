"""Whenever an ingest is killed, and whoever ingests at the same time: the next one that ends gives what one gives."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")


def nursery(folder: Path, kind: str, trials: int) -> str:
    """What the nursery prints."""
    seed = random.randrange(10**6)
    command = [sys.executable, "-m", "tests.retrieval.nursery", str(folder), kind, str(seed), str(trials)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert done.returncode == 0, f"seed {seed}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_killed_at_any_moment_and_run_again_is_one_clean_run(tmp_path: Path) -> None:
    """By SIGKILL, some of them in the middle of a write; vectors and all fields are compared."""
    found = re.search(r"killed (\d+)", nursery(tmp_path, "kills", settings().max_examples // 4))
    assert found is not None
    assert int(found[1]) > 0


def test_two_at_once_end_in_the_state_of_one(tmp_path: Path) -> None:
    nursery(tmp_path, "rivals", max(1, settings().max_examples // 60))


def test_a_full_disk_ends_it_and_the_next_one_heals(tmp_path: Path) -> None:
    nursery(tmp_path, "full", 1)
