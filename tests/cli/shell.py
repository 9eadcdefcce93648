"""The command line as a user has it: in a process of its own, between pipes or at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

from attrs import define, frozen

from tests.cli.server import SOON

# A connection that is kept for the next call is open when the process ends, and Python says so of any such.
STRICT = ("-W", "error", "-W", "ignore::ResourceWarning")
COMMAND = (sys.executable, *STRICT, "-m", "arshai_kit.cli")
ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>])")
COLOUR = re.compile(r"\x1b\[(\d+;)*(3\d|4\d|9\d|10\d)[;m]")
NOTHING: Mapping[str, str] = MappingProxyType({})
HIDE, SHOW, PASTE = "\x1b[?25l", "\x1b[?25h", "\x1b[?2004h"
TOOLS = '''
"""Tools that the tests name."""
import time
from arshai_kit import background, tool

def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b

later = background(multiply)
shown = tool(multiply, example=("What is 12 times 5?", {"a": 12, "b": 5}))

class Sums:
    @staticmethod
    def multiply(a: int, b: int) -> int:
        """Multiply two numbers, slowly."""
        yield "halfway"
        yield a * b

def fails(a: int, b: int) -> int:
    """Multiply two numbers, or try."""
    raise RuntimeError("the abacus is broken")

failing = tool(fails, name="multiply")
pi = 3.14

def unclear(x: "Nowhere") -> str: ...
'''


def surroundings(more: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """The environment of a command: no key, no proxy, nothing that changes how it looks; *more* on top."""
    changing = re.compile(
        r"(?i).*(_proxy|_api_key)$|(OPENAI|AZURE_OPENAI|GOOGLE|OPENROUTER)_.*|NO_COLOR|FORCE_COLOR|ARSHAI_.*|COLUMNS|LINES|PYTHON(?!PATH|SAFE).*"
    )
    kept = {name: value for name, value in os.environ.items() if not changing.fullmatch(name)}
    return kept | {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **more}


@frozen
class Done:
    """What came of a command."""

    code: int
    out: str
    err: str


def typed(
    *arguments: str, given: bytes | None = b"", cwd: Path | None = None, env: Mapping[str, str] = NOTHING
) -> Done:
    """Run `arshai-kit` between pipes; *given* is what is piped in, `None` where standard input is closed."""
    if given is None:
        command = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, *arguments]
    else:
        command = [*COMMAND, *arguments]
    done = subprocess.run(
        command,
        input=given or b"",
        capture_output=True,
        cwd=cwd,
        env=surroundings(env),
        timeout=SOON,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@define
class Terminal:
    """A command at a terminal: what it shows, and a keyboard."""

    process: subprocess.Popen[bytes]
    keyboard: int
    raw: str = ""
    prompts: int = 0

    @property
    def screen(self) -> str:
        """What was shown, without the commands to the terminal."""
        return ESCAPE.sub("", self.raw).replace("\r", "")

    def until(self, text: str, after: int = 0) -> int:
        """Wait until *text* was shown (behind place *after* of the screen); the place behind it."""
        deadline = monotonic() + SOON
        while (found := self.screen.find(text, after)) < 0:
            assert monotonic() < deadline, f"{text!r} was never shown: {self.raw!r}"
            assert self._more(0.1) is not False, f"{text!r} was not shown before the end: {self.raw!r}"
        return found + len(text)

    def prompt(self) -> None:
        """Wait until the next prompt can be typed at: pasting is announced, and then the cursor is shown."""
        self.prompts += 1
        deadline = monotonic() + SOON
        while SHOW not in "".join(self.raw.split(PASTE)[self.prompts :]):
            assert monotonic() < deadline, f"there is no prompt: {self.raw!r}"
            assert self._more(0.1) is not False, f"it ended before the prompt: {self.raw!r}"

    def press(self, keys: str) -> None:
        """Press *keys*."""
        os.write(self.keyboard, keys.encode())

    def end(self, pressing: str = "") -> int:
        """Wait for the end, *pressing* keys until it comes; the exit code, as a shell tells it.

        A signal that comes just before Python waits for the network is noticed only when that ends: people press again.
        """
        deadline, again = monotonic() + SOON, 0.0
        while self._more(0.1) is not False:
            assert monotonic() < deadline, f"it does not end: {self.raw!r}"
            if pressing and monotonic() > again:
                again = monotonic() + 2
                self.press(pressing)
        code = self.process.wait(SOON)
        return code if code >= 0 else 128 - code

    def _more(self, patience: float) -> bool | None:
        """Read what there is; `False` at the end, `None` where nothing came."""
        if not select.select([self.keyboard], [], [], patience)[0]:
            return None
        try:
            data = os.read(self.keyboard, 65536)
        except OSError:  # Linux says so when the last who had the terminal open is gone
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)


@contextmanager
def terminal(
    *arguments: str,
    cwd: Path | None = None,
    out: Any = None,
    env: Mapping[str, str] = NOTHING,
    command: Sequence[str] = COMMAND,
) -> Iterator[Terminal]:
    """Run `arshai-kit` (or *command*) at a terminal; *out* is where standard output goes instead."""
    keyboard, screen = pty.openpty()
    termios.tcsetwinsize(screen, (40, 120))
    # The first terminal that the leader of a session opens is the one whose Ctrl-C reaches it.
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'exec "$@" <"$0"', os.ttyname(screen), *command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=screen if out is None else out,
        stderr=screen,
        cwd=cwd,
        env=surroundings(env),
        start_new_session=True,
    )
    os.close(screen)
    try:
        yield Terminal(process, keyboard)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(keyboard)
