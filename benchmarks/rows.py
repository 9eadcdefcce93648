"""The rows of the table: for each piece of work, who does it and what it may cost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import byhand, dialects, wire
from benchmarks.contest import CONTROL, HAND, KIT, LAYER, Contenders, Row, Site, both, warm
from benchmarks.dialects import CHAT, GEMINI, RESPONSES, hand_call, kit_call, said
from benchmarks.measure import Figures, Sampler, Work, batch

ROOT = Path(__file__).parent.parent


# By hand against arshai_kit, in this process


def past(count: int) -> list[Any]:
    """A history of *count* messages, the last one from the user."""
    roles = ("assistant", "user")
    said = " ".join(["Lorem ipsum dolor sit amet, consectetur adipiscing elit."] * 4)
    return [{"role": roles[(count - n) % 2], "content": f"{n}: {said}"} for n in range(count)]


def history(count: int) -> Contenders:
    """One call with *count* messages."""
    return both(hand_call(CHAT, past(count)), kit_call(CHAT, past(count)))


@contextmanager
def hand_agent(site: Site) -> Iterator[Work]:
    """An agent run by hand."""
    with byhand.client() as client, ThreadPoolExecutor(wire.CALLS) as pool:
        yield batch(lambda: said(byhand.agent(client, pool, site.url("agent"), "Where does the sun shine?")))


@contextmanager
def kit_agent(site: Site) -> Iterator[Work]:
    """An agent run of ours."""
    from benchmarks import kit

    model = kit.chat(site.base("agent"))
    yield batch(lambda: said(kit.agent(model, "Where does the sun shine?")))


LISTED = 200
LIST_KEY = "value"
"""The member that our request asks for, since an answer is an object; by hand the same bytes are read."""


@contextmanager
def hand_list(site: Site) -> Iterator[Work]:
    """A list of items by hand, left as `json.loads` makes it."""
    schema = {"type": "object", "properties": {LIST_KEY: {"type": "array"}}}
    url = site.url(f"list-{LISTED}-{LIST_KEY}")
    with byhand.client() as client:
        yield batch(lambda: complete(byhand.listed(client, url, "List the items.", schema)[LIST_KEY]))


@contextmanager
def kit_list(site: Site) -> Iterator[Work]:
    """A list of items of ours, typed."""
    from benchmarks import kit

    model = kit.chat(site.base(f"list-{LISTED}-{LIST_KEY}"))
    assert kit.listed(model, "List the items.")[-1] == kit.Item(**wire.items(LISTED)[-1])
    yield batch(lambda: complete(kit.listed(model, "List the items.")))


def complete(answer: Sequence[Any]) -> None:
    """Refuse a list that is not whole."""
    assert len(answer) == LISTED, answer


@contextmanager
def twice_the_history(site: Site) -> Iterator[Mapping[str, Sampler]]:
    """Ours with 1,000 messages against ours with 500: whether the cost is linear."""
    with ExitStack() as stack:
        short, long = (stack.enter_context(kit_call(CHAT, past(n))(site)) for n in (500, 1000))
        yield warm(site, {HAND: short, KIT: long, CONTROL: short})


# By hand against arshai_kit, each in a process of its own


def apart(
    what: str, scenario: str = "text", count: tuple[int, int] = (0, 0), *, quick: str = "text", layer: bool = True
) -> Contenders:
    """Let child processes compete: `child.py` says what *what* is; *count* conversations, in full and when quick."""

    @contextmanager
    def contenders(site: Site) -> Iterator[Mapping[str, Sampler]]:
        names = (HAND, KIT, LAYER, CONTROL) if layer else (HAND, KIT, CONTROL)
        arguments = (site.url(quick if site.quick else scenario), str(site.size(*count)), str(ROOT))
        samplers = {name: child(site.environment, what, name, *arguments) for name in names}
        for name in names:
            samplers[name]()
        yield samplers

    return contenders


@contextmanager
def byte_code() -> Iterator[Mapping[str, str]]:
    """An environment whose Python keeps what it compiles, so that after a first run none of it is compiled again."""
    with TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        yield {**kept, "PYTHONPYCACHEPREFIX": folder}


def child(environment: Mapping[str, str], *arguments: str) -> Sampler:
    """Sample what a child process says that it took."""
    command = [sys.executable, str(ROOT / "benchmarks" / "child.py"), *arguments]

    def sample() -> Figures:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603  # ours
        if done.returncode or not done.stdout:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
        if done.stderr:
            print(done.stderr, file=sys.stderr)
        return {name: float(value) for name, value in (each.split("=") for each in done.stdout.split())}

    return sample


ROWS = (
    *dialects.rows(CHAT),
    *dialects.rows(RESPONSES),
    *dialects.rows(GEMINI),
    Row("agent", "agent run, 5 rounds of 4 tools in parallel", {"cpu": 1.2}, both(hand_agent, kit_agent)),
    Row("history-500", "a call with 500 messages", {"cpu": 0.9}, history(500)),
    Row("history-1000", "a call with 1,000 messages", {"cpu": 0.9}, history(1000)),
    Row("linear", "1,000 messages against 500, both ours", {"cpu": 2.0}, twice_the_history, None),
    Row("typed-list", "a typed list of 200 items, against untyped", {"cpu": 1.5}, both(hand_list, kit_list)),
    Row(
        "async-1000",
        "1,000 concurrent streamed conversations, async",
        {"cpu": 1.1, "rss": 1.25, "errors": 0},
        apart("concurrent", "drip-20-50", (1000, 20), quick="drip-20-1"),
    ),
    Row(
        "threads-200",
        "200 concurrent streamed conversations in threads",
        {"cpu": 1.1, "rss": 1.2, "errors": 0},
        apart("threads", "drip-20-50", (200, 8), quick="drip-20-1"),
    ),
    Row("import", "`import arshai_kit` against `import httpx`", {"cpu": 0.8}, apart("importing", layer=False), None),
    Row("first-call", "import, model and first call", {"cpu": 1.2}, apart("first_call", layer=False), None),
)
"""The table of the project's promise on speed, row by row."""


def chosen(keys: str) -> tuple[Row, ...]:
    """The rows named in *keys*, separated by commas; all of them if it is empty.

    >>> [row.key for row in chosen("call,import")]
    ['call', 'import']
    """
    wanted = [key for key in keys.split(",") if key]
    known = [row.key for row in ROWS]
    if strange := [key for key in wanted if key not in known]:
        raise SystemExit(f"no such rows: {', '.join(strange)}; there are {', '.join(known)}")
    return tuple(row for row in ROWS if not wanted or row.key in wanted)
