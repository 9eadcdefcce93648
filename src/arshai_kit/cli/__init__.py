"""The command line: a thin shell over the same functions that programs call.

Exit codes: 0 answered, 1 the provider or the way to it failed, 2 the command was given wrongly (also a missing key,
file or extra), 3 the model gave no usable answer, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

__all__ = ["main"]

PARTS = ("click", "prompt_toolkit", "rich")
"""What the extra `cli` brings."""

UNWRITABLE = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EBADF", "EAGAIN", "EINVAL")
"""Why the system does not take what is written; no other error without the name of a file has these numbers here."""


def main() -> None:
    """Run `arshai-kit`: what a user did wrong is said in a line, without a traceback."""
    if not _stand_in():  # the next file or socket to be opened would take the place of the closed one
        print("arshai-kit: the answer cannot be written: standard output is closed", file=sys.stderr)
        sys.exit(1)
    try:
        code = _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        _interrupted()
        raise
    except BrokenPipeError:  # whoever read our output has had enough
        _give_up_output()
        code = 0
    except OSError as error:
        told: Any = error
        if error.filename is None and errno.errorcode.get(error.errno or 0) in UNWRITABLE:
            _give_up_output()
            told = f"the answer cannot be written: {error.strerror}"
        print(f"arshai-kit: {told}", file=sys.stderr)
        code = 1
    sys.exit(code)


def _run() -> int:
    try:
        from arshai_kit.cli.app import run

        return run()
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package == "arshai_kit":  # a fault of ours
            raise
        told = f"{package} is not installed: pip install 'arshai-kit[cli]'" if package in PARTS else error
        print(f"arshai-kit: {told}", file=sys.stderr)
        return 2


def _stand_in() -> bool:
    """Let standard output and error take every letter, and be there at all; whether there was an output."""
    given: Any = sys.stdout
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # for the whole process
        else:
            stream.reconfigure(errors="replace" if name == "stdout" else "backslashreplace")
    return given is not None


def _interrupted() -> None:
    """Let Python end as one does that was interrupted: by the signal, so that a shell's loop ends too; silently."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.excepthook = lambda *_: None


def _give_up_output() -> None:
    """Nothing more can be written: what is still buffered must not fail at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
