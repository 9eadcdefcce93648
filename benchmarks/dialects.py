"""One call, the first word and one streamed chunk, in each dialect: the honest minimum by hand against ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from attrs import frozen

from benchmarks import byhand, wire
from benchmarks.contest import Maker, Row, Site, both
from benchmarks.measure import Work, batch

SHORT = 16
"""The words of a stream of which only the first is on the clock."""


@frozen
class Api:
    """A dialect as it is spoken by hand, to which addresses, and the function of `kit` that makes a model speak it.

    *key* begins the keys of its rows and the scenarios of the fake provider; *said* ends what the rows say.
    """

    key: str
    said: str
    call: Callable[[httpx.Client, str, list[Any]], str]
    streamed: Callable[[httpx.Client, str, list[Any]], Iterator[str]]
    path: str
    stream_path: str
    model: str

    def speaking(self, site: Site, scenario: str) -> Any:
        """Our model of the fake provider, which answers as *scenario* says."""
        from benchmarks import kit

        return getattr(kit, self.model)(site.base(self.key + scenario))


CHAT = Api("", "", byhand.call, byhand.streamed, "/chat/completions", "/chat/completions", "chat")
RESPONSES = Api(
    "responses-",
    ", Responses API",
    byhand.responses_call,
    byhand.responses_streamed,
    "/responses",
    "/responses",
    "responses",
)
GEMINI = Api(
    "gemini-",
    ", Gemini",
    byhand.gemini_call,
    byhand.gemini_streamed,
    "/models/bench-1:generateContent",
    "/models/bench-1:streamGenerateContent?alt=sse",
    "gemini",
)


def rows(api: Api) -> tuple[Row, ...]:
    """The rows of *api*."""
    call = both(hand_call(api, question()), kit_call(api, question()))
    first, chunk = both(hand_first(api), kit_first(api)), both(hand_chunks(api), kit_chunks(api))
    return (
        Row(f"{api.key}call", f"one call{api.said}", {"cpu": 1.0}, call),
        Row(f"{api.key}first-token", f"time to first token{api.said}", {"cpu": 1.0}, first),
        Row(f"{api.key}chunk", f"one streamed chunk{api.said}", {"cpu": 1.05}, chunk),
    )


def question(n: int = 0) -> list[Any]:
    """A prompt as `byhand` writes it."""
    return [{"role": "user", "content": f"Name three rivers of Iran. {n}"}]


def hand_call(api: Api, messages: list[Any]) -> Maker:
    """One call by hand."""

    @contextmanager
    def make(site: Site) -> Iterator[Work]:
        url = site.base(f"{api.key}text") + api.path
        with byhand.client() as client:
            yield batch(lambda: said(api.call(client, url, messages)))

    return make


def kit_call(api: Api, messages: list[Any]) -> Maker:
    """One call of ours."""

    @contextmanager
    def make(site: Site) -> Iterator[Work]:
        from benchmarks import kit

        model, prompt = api.speaking(site, "text"), kit.history(messages)
        yield batch(lambda: said(kit.call(model, prompt)))

    return make


def said(text: str) -> None:
    """Refuse what is not the answer: a benchmark of a failure says nothing."""
    assert text.startswith("The Karun"), text


def hand_chunks(api: Api) -> Maker:
    """A long stream by hand."""

    @contextmanager
    def make(site: Site) -> Iterator[Work]:
        count = site.size(2000, 20)
        url = site.base(f"{api.key}stream-{count}") + api.stream_path
        with byhand.client() as client:
            yield batch(lambda: heard(count, api.streamed(client, url, question())))

    return make


def kit_chunks(api: Api) -> Maker:
    """A long stream of ours."""

    @contextmanager
    def make(site: Site) -> Iterator[Work]:
        from benchmarks import kit

        count = site.size(2000, 20)
        model = api.speaking(site, f"stream-{count}")
        yield batch(lambda: heard(count, kit.words(model, question()[0]["content"])))

    return make


def heard(count: int, words: Iterator[str]) -> None:
    """Consume a stream and refuse it if it is not whole."""
    texts = list(words)
    assert (len(texts), texts[-1]) == (count, wire.word(count - 1)), texts[-1]


def hand_first(api: Api) -> Maker:
    """The first word by hand."""

    @contextmanager
    def make(site: Site) -> Iterator[Work]:
        url = site.base(f"{api.key}stream-{SHORT}") + api.stream_path
        with byhand.client() as client:
            yield to_the_first(lambda: api.streamed(client, url, question()))

    return make


def kit_first(api: Api) -> Maker:
    """The first word of ours."""

    @contextmanager
    def make(site: Site) -> Iterator[Work]:
        from benchmarks import kit

        model = api.speaking(site, f"stream-{SHORT}")
        yield to_the_first(lambda: kit.words(model, question()[0]["content"]))

    return make


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
