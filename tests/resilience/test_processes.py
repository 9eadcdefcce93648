"""Many processes share a budget, a circuit and a cache, while Redis is killed in their midst and comes back."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arshai_kit.resilience import Budget, CircuitRules, RedisCircuit, RedisLedger
from tests.resilience.redis_server import RedisServer
from tests.resilience.test_shared import await_files

pytestmark = pytest.mark.needs("redis")

HEAD = """
import os, sys, time
from pathlib import Path
from arshai_kit import complete
from arshai_kit.errors import CircuitOpen, OverBudget, ServerFailed, StoreUnreachable
from arshai_kit.resilience import *
from tests.resilience.fixed import Fixed, said

url, folder = sys.argv[1], Path(sys.argv[2])
me = str(os.getpid())

def tell(what):
    (folder / f"{what}-{me}").touch()

def wait(what):
    while not (folder / what).exists():
        time.sleep(0.002)
"""

SPENDER = """
model = budgeted(Fixed((said("Hello", 21, 100),)), Budget(tokens=5000, ledger=RedisLedger("processes", url)))
answered = 0
while True:
    try:
        answered += complete(model, "Hello").text == "Hello"
    except StoreUnreachable:
        tell("away")
        time.sleep(0.002)
    except OverBudget:
        break
    if answered == 5:
        tell("ready")
        wait("killed")
print(answered)
"""

TRYING = """
def ask():
    tell("asked")
    if not (folder / "well").exists():
        raise ServerFailed("down", status=503)
    mine = folder / f"probing-{me}"
    mine.touch()
    inside = len([*folder.glob("probing-*")])
    time.sleep(0.01)
    mine.unlink()
    if not (folder / "closed").exists():
        print(inside)
        (folder / "closed").touch()

rules = CircuitRules(failures=3, reset=0.2)
model = breaker(Fixed((said("Hello"),), before=ask), RedisCircuit("processes", url, rules))
while True:
    try:
        complete(model, "Hello")
        break
    except CircuitOpen:
        tell("open")
    except StoreUnreachable:
        tell("away")
    except ServerFailed:
        pass
    time.sleep(0.002)
"""

CACHING = """
def ask():
    tell("asked")

cache = RedisCache(url)
model = cached(Fixed((said("Hello"),), before=ask), cache)
seen = set()
while True:
    seen.add(complete(model, "Hello").text)
    tell("answered")
    if (folder / "back").exists():
        (folder / f"asked-{me}").unlink(missing_ok=True)
        for _ in range(5):
            seen.add(complete(model, "Hello").text)
        break
    time.sleep(0.002)
print(seen == {"Hello"}, (folder / f"asked-{me}").exists())
"""


def told_by(
    tmp_path: Path, program: str, act: Callable[[Path, RedisServer, list[Any]], None], check: Callable[[str], None]
) -> list[str]:
    """What four processes that run *program* print, while *act* is done to Redis; it is looked at before that ends."""
    folder = tmp_path / "seen"
    folder.mkdir()
    tmp_path.joinpath("redis").mkdir()
    root = Path(__file__).parents[2]
    with RedisServer(tmp_path / "redis", keeps=True) as server:
        command = [sys.executable, "-c", HEAD + program, server.url, str(folder)]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(4)]
        try:
            act(folder, server, workers)
            told = [worker.communicate(timeout=180)[0] for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
        assert [worker.returncode for worker in workers] == [0] * 4
        check(server.url)
    return told


def test_processes_spend_one_budget_while_redis_is_killed_and_comes_back(tmp_path: Path) -> None:
    spent: list[int] = []

    def crash(folder: Path, server: RedisServer, workers: list[Any]) -> None:
        await_files(folder, "ready-*", 4, workers)
        server.kill()
        folder.joinpath("killed").touch()
        await_files(folder, "away-*", 4, workers)
        server.start()

    def look(url: str) -> None:
        spent.append(Budget(tokens=5000, ledger=RedisLedger("processes", url)).spent().tokens)

    answered = sum(int(each) for each in told_by(tmp_path, SPENDER, crash, look))
    assert answered * 121 <= 5000  # nobody was answered beyond the ceiling
    assert answered >= 20
    assert spent[0] <= 5000
    assert spent[0] >= answered * 121 - 4 * 121  # a settling that Redis did not hear stays reserved, at its worst


def test_processes_leave_a_server_alone_over_a_crash_of_redis_and_one_tries_it(tmp_path: Path) -> None:
    def crash(folder: Path, server: RedisServer, workers: list[Any]) -> None:
        await_files(folder, "open-*", 4, workers)
        server.kill()
        await_files(folder, "away-*", 4, workers)
        server.start()
        folder.joinpath("well").touch()

    def look(url: str) -> None:
        assert RedisCircuit("processes", url, CircuitRules(failures=3, reset=0.2)).enter("one more")[0] == "closed"

    told = [line for each in told_by(tmp_path, TRYING, crash, look) for line in each.split()]
    assert told == ["1"]  # one at a time, and once was enough


def test_processes_find_what_one_of_them_asked_before_redis_was_killed(tmp_path: Path) -> None:
    def crash(folder: Path, server: RedisServer, workers: list[Any]) -> None:
        await_files(folder, "answered-*", 4, workers)
        server.kill()
        for each in folder.glob("asked-*"):
            each.unlink()
        await_files(folder, "asked-*", 4, workers)  # they do without
        server.start()
        threading.Event().wait(0.05)
        folder.joinpath("back").touch()

    assert told_by(tmp_path, CACHING, crash, lambda _: None) == ["True False\n"] * 4
