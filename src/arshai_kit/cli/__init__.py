"""The command line: a thin shell over the same functions that programs call.

Exit codes: 0 answered, 1 the provider or the way to it failed, 2 the command was given wrongly (also a missing key,
file or extra), 3 the model gave no usable answer, 130 interrupted.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run `arshai-kit`; no traceback for a user's mistake."""
    try:
        from arshai_kit.cli.app import run
    except ImportError as error:
        print(f"arshai-kit: {error.name} is not installed: pip install 'arshai-kit[cli]'", file=sys.stderr)
        sys.exit(2)
    try:
        code = run()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
