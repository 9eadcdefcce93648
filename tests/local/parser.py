"""llama.cpp's own reader of grammars, in a child process: `python -m tests.local.parser` reads texts as JSON lines.

For each it says `ok`, or why not; a grammar that ends the process is the first that has no answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable


def crashed(grammars: Iterable[tuple[str, str]]) -> str:
    """The first of *grammars* that llama.cpp does not survive; empty when it does all.

    Each is a text and the characters of its literals, which the runtime asks the vocabulary for, as it does here.
    """
    waiting = list(grammars)
    lines = "".join(json.dumps(pair) + "\n" for pair in waiting)
    child = subprocess.run(
        [sys.executable, "-m", "tests.local.parser"],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    answered = child.stdout.count("ok\n")
    if answered == len(waiting):
        assert child.returncode == 0, child.stderr
        return ""
    return f"{waiting[answered][0]}\n(exit {child.returncode}) {child.stderr[-500:]}"


def main() -> None:
    """Let llama.cpp read each grammar, and choose a few tokens that fit."""
    from arshai_kit.local.runtime import Setup, load, shipped_weights

    weights = load(shipped_weights())
    context = weights.context(Setup("", 256, 1))
    context.read(weights.api, weights.tokens((("user", "Hello"),)))
    for line in sys.stdin:
        chain = weights.api.LlamaSampler(weights.api.LlamaSamplerChainParams())
        text, letters = json.loads(line)
        if weights.spells(letters):
            chain.add_grammar(weights.vocab, text, "root")
            chain.add_greedy()
            for _ in range(6):
                if weights.vocab.is_eog(chain.sample(context.raw, -1)):
                    break
        print("ok", flush=True)


if __name__ == "__main__":
    main()
