"""The rows of the table: for each piece of work, who does it and what it may cost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from attrs import frozen

from benchmarks import byhand, wire
from benchmarks.measure import Figures, Sampler, Work, batch, enough, sampler

HAND, KIT, LAYER, CONTROL = "hand", "kit", "layer", "control"
ROOT = Path(__file__).parent.parent


@frozen
class Site:
    """Where the fake provider is, what child processes find in their environment, and how thoroughly to measure."""

    address: str
    environment: Mapping[str, str]
    quick: bool = False

    def url(self, scenario: str) -> str:
        """The address that answers as *scenario* says."""
        return f"{self.address}/{scenario}/v1/chat/completions"

    def size(self, full: int, quick: int) -> int:
        """*full*, or *quick* when it is only to be seen that all this runs."""
        return quick if self.quick else full


Maker: TypeAlias = Callable[[Site], AbstractContextManager[Work]]
Contenders: TypeAlias = Callable[[Site], AbstractContextManager[Mapping[str, Sampler]]]


@frozen
class Row:
    """A piece of work, whoever does it, and the limits: how many times what it takes by hand, figure by figure."""

    key: str
    work: str
    limits: Mapping[str, float]
    contenders: Contenders
    layered: float | None = 1.1


# By hand against arshai_kit, in this process


def both(by_hand: Maker, ours: Maker) -> Contenders:
    """Let the two ways of one piece of work compete, *by_hand* twice, and *ours* with a layer once more."""

    @contextmanager
    def contenders(site: Site) -> Iterator[Mapping[str, Sampler]]:
        with ExitStack() as stack:
            works = {HAND: stack.enter_context(by_hand(site)), KIT: stack.enter_context(ours(site))}
            works |= {LAYER: layered(works[KIT]), CONTROL: stack.enter_context(by_hand(site))}
            yield warm(site, works)

    return contenders


def warm(site: Site, works: Mapping[str, Work]) -> Mapping[str, Sampler]:
    """A sampler for each of *works*, all with as many repetitions; what is done for the first time is done here."""
    times = 1 if site.quick else enough(works[HAND])
    for work in works.values():
        work(times)
    return {name: sampler(work, times) for name, work in works.items()}


def layered(work: Work) -> Work:
    """*work*, with one layer on every step."""

    def under(times: int) -> int:
        from benchmarks.kit import one_layer

        with one_layer():
            return work(times)

    return under


def question(n: int = 0) -> list[Any]:
    """A prompt as `byhand` writes it."""
    return [{"role": "user", "content": f"Name three rivers of Iran. {n}"}]


def past(count: int) -> list[Any]:
    """A history of *count* messages, the last one from the user."""
    roles = ("assistant", "user")
    said = " ".join(["Lorem ipsum dolor sit amet, consectetur adipiscing elit."] * 4)
    return [{"role": roles[(count - n) % 2], "content": f"{n}: {said}"} for n in range(count)]


def hand_call(messages: list[Any]) -> Maker:
    """One call by hand."""

    @contextmanager
    def make(site: Site) -> Iterator[Work]:
        with byhand.client() as client:
            yield batch(lambda: said(byhand.call(client, site.url("text"), messages)))

    return make


def kit_call(messages: list[Any]) -> Maker:
    """One call of ours."""

    @contextmanager
    def make(site: Site) -> Iterator[Work]:
        from benchmarks import kit

        model, prompt = kit.model(site.url("text")), kit.history(messages)
        yield batch(lambda: said(kit.call(model, prompt)))

    return make


def said(text: str) -> None:
    """Refuse what is not the answer: a benchmark of a failure says nothing."""
    assert text.startswith("The Karun"), text


@contextmanager
def hand_chunks(site: Site) -> Iterator[Work]:
    """A long stream by hand."""
    count = site.size(2000, 20)
    with byhand.client() as client:
        url = site.url(f"stream-{count}")
        yield batch(lambda: heard(count, byhand.streamed(client, url, question())))


@contextmanager
def kit_chunks(site: Site) -> Iterator[Work]:
    """A long stream of ours."""
    from benchmarks import kit

    count = site.size(2000, 20)
    model = kit.model(site.url(f"stream-{count}"))
    yield batch(lambda: heard(count, kit.words(model, question()[0]["content"])))


def heard(count: int, words: Iterator[str]) -> None:
    """Consume a stream and refuse it if it is not whole."""
    texts = list(words)
    assert (len(texts), texts[-1]) == (count, wire.word(count - 1)), texts[-1]


def to_the_first(words: Callable[[], Iterator[str]]) -> Work:
    """The work of getting the first word; what is left of the stream is consumed off the clock."""

    def work(times: int) -> int:
        taken = 0
        for _ in range(times):
            began = time.process_time_ns()
            stream = words()
            next(stream)
            taken += time.process_time_ns() - began
            assert sum(1 for _ in stream) == SHORT - 1
        return taken

    return work


SHORT = 16


@contextmanager
def hand_first(site: Site) -> Iterator[Work]:
    """The first word by hand."""
    with byhand.client() as client:
        yield to_the_first(lambda: byhand.streamed(client, site.url(f"stream-{SHORT}"), question()))


@contextmanager
def kit_first(site: Site) -> Iterator[Work]:
    """The first word of ours."""
    from benchmarks import kit

    model = kit.model(site.url(f"stream-{SHORT}"))
    yield to_the_first(lambda: kit.words(model, question()[0]["content"]))


@contextmanager
def hand_agent(site: Site) -> Iterator[Work]:
    """An agent run by hand."""
    with byhand.client() as client, ThreadPoolExecutor(wire.CALLS) as pool:
        yield batch(lambda: said(byhand.agent(client, pool, site.url("agent"), "Where does the sun shine?")))


@contextmanager
def kit_agent(site: Site) -> Iterator[Work]:
    """An agent run of ours."""
    from benchmarks import kit

    model = kit.model(site.url("agent"))
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

    model = kit.model(site.url(f"list-{LISTED}-{LIST_KEY}"))
    assert kit.listed(model, "List the items.")[-1] == kit.Item(**wire.items(LISTED)[-1])
    yield batch(lambda: complete(kit.listed(model, "List the items.")))


def complete(answer: Sequence[Any]) -> None:
    """Refuse a list that is not whole."""
    assert len(answer) == LISTED, answer


@contextmanager
def twice_the_history(site: Site) -> Iterator[Mapping[str, Sampler]]:
    """Ours with 1,000 messages against ours with 500: whether the cost is linear."""
    with ExitStack() as stack:
        short, long = (stack.enter_context(kit_call(past(n))(site)) for n in (500, 1000))
        yield warm(site, {HAND: short, KIT: long, CONTROL: short})


# By hand against arshai_kit, each in a process of its own


def apart(what: str, scenario: str = "text", count: tuple[int, int] = (0, 0), *, layer: bool = True) -> Contenders:
    """Let child processes compete: `child.py` says what *what* is; *count* conversations, in full and when quick."""

    @contextmanager
    def contenders(site: Site) -> Iterator[Mapping[str, Sampler]]:
        names = (HAND, KIT, LAYER, CONTROL) if layer else (HAND, KIT, CONTROL)
        arguments = (site.url(scenario), str(site.size(*count)), str(ROOT))
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
    Row("call", "one call", {"cpu": 1.0}, both(hand_call(question()), kit_call(question()))),
    Row("first-token", "time to first token", {"cpu": 1.0}, both(hand_first, kit_first)),
    Row("chunk", "one streamed chunk", {"cpu": 1.05}, both(hand_chunks, kit_chunks)),
    Row("agent", "agent run, 5 rounds of 4 tools in parallel", {"cpu": 1.2}, both(hand_agent, kit_agent)),
    Row("history-500", "a call with 500 messages", {"cpu": 0.9}, both(hand_call(past(500)), kit_call(past(500)))),
    Row("history-1000", "a call with 1,000 messages", {"cpu": 0.9}, both(hand_call(past(1000)), kit_call(past(1000)))),
    Row("linear", "1,000 messages against 500, both ours", {"cpu": 2.0}, twice_the_history, None),
    Row("typed-list", "a typed list of 200 items, against untyped", {"cpu": 1.5}, both(hand_list, kit_list)),
    Row(
        "async-1000",
        "1,000 concurrent streamed conversations, async",
        {"cpu": 1.1, "rss": 1.25, "errors": 0},
        apart("concurrent", "drip-20-50", (1000, 20)),
    ),
    Row(
        "threads-200",
        "200 concurrent streamed conversations in threads",
        {"cpu": 1.1, "rss": 1.2, "errors": 0},
        apart("threads", "drip-20-50", (200, 8)),
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
