"""The provider of the long tests, in a process of its own, and what a process holds."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL
from pathlib import Path
from urllib.request import urlopen

import pytest
from attrs import frozen

from arshai_kit import openai_compatible
from arshai_kit.models import Endpoint


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Their thousands of cases are not even listed where nobody asks for them: each worker would do so anew."""
    return True if "not long" in config.getoption("markexpr") else None


@frozen
class Toy:
    """Where the provider is."""

    port: int

    def model(self, behaviour: str, **options: object) -> Endpoint:
        """A model there that behaves so."""
        base_url = f"http://127.0.0.1:{self.port}/{behaviour}/v1"
        return openai_compatible("toy", base_url=base_url, api_key="sk-long-1234", **options)  # type: ignore[arg-type]

    def counts(self) -> dict[str, int]:
        """What the provider has seen."""
        with urlopen(f"http://127.0.0.1:{self.port}/counts", timeout=30) as reply:
            counts: dict[str, int] = json.loads(reply.read())
        return counts


@contextmanager
def provided() -> Iterator[Toy]:
    """Run a provider that has seen nothing yet."""
    command = [sys.executable, "-m", "tests.long.serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            yield Toy(int(server.stdout.readline()))
        finally:
            server.stdin.close()
            server.wait(30)


@pytest.fixture
def toy() -> Iterator[Toy]:
    """A provider that has seen nothing yet."""
    with provided() as toy:
        yield toy


@frozen
class Held:
    """What this process holds: threads, open files, objects, and bytes of memory."""

    threads: int
    files: int
    objects: int
    memory: int

    @classmethod
    def now(cls) -> Held:
        """What it holds now, all that could be freed being freed."""
        for _ in range(3):
            gc.collect()
        CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            threading.active_count(),
            sum(1 for _ in Path("/proc/self/fd").iterdir()),
            len(gc.get_objects()),
            pages * os.sysconf("SC_PAGE_SIZE"),
        )
