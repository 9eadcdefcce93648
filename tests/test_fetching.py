"""What lies at an address reaches the model as bytes: within limits, checked, and with nothing of ours sent there."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import (
    Audio,
    File,
    Finished,
    Image,
    Message,
    Response,
    Text,
    ToolResult,
    assistant,
    audio,
    complete,
    file,
    image,
    request,
    run_tools,
    system,
    user,
    using,
)
from arshai_kit._json import dumps
from arshai_kit._transport.route import route_to
from arshai_kit.dialects.chat import CHAT
from arshai_kit.effects import Plan, Request, Secret
from arshai_kit.errors import (
    BadReply,
    Misuse,
    NotFound,
    ProviderError,
    RateLimited,
    ServerFailed,
    TimedOut,
    Unauthorized,
)
from arshai_kit.fetching import MustFetch, _check, fetch, fetch_all, fetched
from arshai_kit.models import Ask, Endpoint
from tests.core.worlds import WORLDS, World
from tests.transport.names import naming, publish
from tests.transport.server import Behaviour, Peer, Server, reply, serving

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PDF = b"%PDF-1.7 and so on"
HTML = b"\n<!DOCTYPE html><title>Sign in</title>"

everywhere = pytest.mark.parametrize(
    "world", [pytest.param(world, id=world.name) for world in WORLDS if not world.listening]
)
SYNC = World()


@pytest.fixture(autouse=True)
def _here_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only 127.0.0.1 is; 127.0.0.2 is as private as ever."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    publish(monkeypatch, "127.0.0.1")


def lies(data: bytes, kind: str = "", *more: str, status: str = "200 OK") -> bytes:
    """A reply with *data*, said to be of a *kind*."""
    return reply(data, *([f"Content-Type: {kind}"] if kind else []), *more, status=status)


def site(pages: Mapping[str, bytes]) -> Behaviour:
    """A server of *pages*, each a whole reply."""

    def behave(peer: Peer) -> None:
        while head := peer.request():
            path = head.split(b" ")[1].decode().partition("?")[0]
            peer.send(pages.get(path, lies(b"gone", status="404 Not Found")))

    return behave


def moved(place: str, status: str = "302 Found") -> bytes:
    """A reply that says where to go."""
    return lies(HTML, "text/html", f"Location: {place}", status=status)


def got(part: Any, world: World = SYNC, **options: Any) -> Any:
    """What `fetch` makes of *part*."""
    return world.run(lambda: fetch.plan(part, **options))


# -- what is got --


@everywhere
def test_a_part_gets_its_bytes(world: World) -> None:
    pages = {"/cat": lies(PNG, "image/png"), "/the%20report.pdf": lies(PDF, "application/pdf; charset=x")}
    with serving(site({**pages, "/a.ogg": lies(b"OggS", "application/ogg")})) as server:
        assert got(image(f"{server.url}/cat", detail="low"), world) == Image(PNG, "", "image/png", "low")
        report = got(file(f"{server.url}/the%20report.pdf?v=2#page=1"), world)
        assert report == File(PDF, "", "application/pdf", "the report.pdf")
        assert got(file(f"{server.url}/the%20report.pdf", name="r.pdf"), world).name == "r.pdf"
        assert got(audio(f"{server.url}/a.ogg"), world) == Audio(b"OggS", "", "audio/ogg")
    assert {line.split(b":")[0].lower() for head in server.heads for line in head.split(b"\r\n")[1:]} == {
        b"host",
        b"accept",
        b"accept-encoding",
        b"user-agent",
    }


def test_what_has_bytes_is_not_fetched() -> None:
    assert fetch(image(PNG)) == image(PNG)


@everywhere
def test_it_may_be_moved_three_times(world: World) -> None:
    pages = {
        "/1": moved("/2", "301 Moved Permanently"),
        "/2": moved("3?x=1", "307 Temporary Redirect"),
        "/3": moved("//127.0.0.1:PORT/cat"),
        "/cat": lies(PNG, "image/png"),
        "/0": moved("/1"),
        "/nowhere": lies(b"", "", status="302 Found"),
        "/broken": moved("http://[::"),
    }
    with serving(site(pages)) as server:
        pages["/3"] = pages["/3"].replace(b"PORT", str(server.port).encode())
        assert got(image(f"{server.url}/1"), world).data == PNG
        with pytest.raises(BadReply, match=r"/0 was moved more than 3 times"):
            got(image(f"{server.url}/0?key=1"), world)
        with pytest.raises(BadReply, match="HTTP 302"):
            got(image(f"{server.url}/nowhere"), world)
        with pytest.raises(BadReply, match="no address"):
            got(image(f"{server.url}/broken"), world)


@everywhere
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("http://127.0.0.2:1/latest/meta-data", "not at a public address"),
        ("http://[::ffff:127.0.0.2]/", "not at a public address"),
        ("http://inside.test/", "not at a public address"),
        ("http://me:pass@127.0.0.1/", "holds a user or password"),
        ("file:///etc/passwd", "only http: and https:"),
        ("gopher://127.0.0.1/", "only http: and https:"),
        ("http://a..b/", "no address that can be read"),
    ],
)
def test_it_is_never_moved_to_where_nothing_is_fetched(
    world: World, place: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    naming(monkeypatch, inside=[["127.0.0.2"]])
    with serving(site({"/cat": moved(place)})) as server, pytest.raises(Misuse, match=why) as raised:
        got(image(f"{server.url}/cat"), world)
    assert "pass@" not in str(raised.value)


def test_it_is_never_moved_to_where_anybody_can_change_it() -> None:
    def answer(asked: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": "http://shop.test/cat"})

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as client,
        using(client=client),
        pytest.raises(BadReply, match="from https to http"),
    ):
        fetch(image("https://shop.test/cat?signature=private"))


# -- addresses --


@given(
    st.one_of(
        st.text(max_size=30),
        st.builds("".join, st.lists(st.sampled_from([*"htps:/@?#[]%.\\ \t1é", "http://", "a.b", "::1"]), max_size=12)),
    )
)
def test_whatever_passes_is_an_address_that_leads_somewhere(url: str) -> None:
    """Nobody who fetches is told of `base_url=`, and no key in an address is told at all."""
    try:
        _check(url)
    except Misuse:
        return
    route = route_to(url)  # which would refuse in words meant for whoever wrote a model's address
    assert route.scheme in ("http", "https")
    assert route.host


@pytest.mark.parametrize(
    "url", ["gs://bucket/cat.png", "http://", "ftp://a.b/c", "http://a:port/", "https://me:pw@a.b"]
)
def test_an_address_that_nothing_is_fetched_from(url: str) -> None:
    with pytest.raises(Misuse) as raised:
        fetch(Image(url=f"{url}?token=private"))
    assert "private" not in str(raised.value)
    assert "pw" not in str(raised.value)


# -- types --

IMAGE, FILE = Image(), File()


@pytest.mark.parametrize(
    ("part", "kind", "data", "found"),
    [
        (IMAGE, "image/png", b"\xff\xd8\xff\xe0", "image/jpeg"),  # the bytes know better
        (IMAGE, "", PNG, "image/png"),
        (IMAGE, "application/octet-stream", PNG, "image/png"),
        (IMAGE, "image/heic", b"something new", "image/heic"),
        (IMAGE, "image/svg+xml", b"<svg/>", "image/svg+xml"),
        (Image(media_type="image/x-mine"), "text/plain", b"?", "image/x-mine"),
        (FILE, "text/html", HTML, "text/html"),
        (FILE, "", HTML, "text/html"),
        (FILE, "text/plain", b"ID3 is a tag", "text/plain"),
        (FILE, "binary/octet-stream", PDF, "application/pdf"),
        (FILE, "application/pdf", PNG, "image/png"),
        (FILE, "", b"\0\1\2", "application/octet-stream"),
        (File(media_type="text/csv"), "text/plain", b"a,b", "text/csv"),
        (Audio(), "audio/mpeg", b"no tag at all", "audio/mpeg"),
    ],
)
def test_the_type_is_what_the_bytes_tell_before_what_is_said(part: Any, kind: str, data: bytes, found: str) -> None:
    with serving(site({"/it": lies(data, kind)})) as server:
        assert got(evolve(part, url=f"{server.url}/it")).media_type == found


@pytest.mark.parametrize(
    ("part", "kind", "data", "why"),
    [
        (IMAGE, "text/html", HTML, "an image, and is text/html"),
        (IMAGE, "image/png", HTML, "is text/html"),
        (IMAGE, "image/png", b"<html>", "is text/html"),
        (IMAGE, "image/png", b"garbage", "not what its server says"),
        (IMAGE, "image/png", PDF, "is application/pdf"),
        (IMAGE, "application/json", b"{}", "is application/json"),
        (IMAGE, "", b"?", "of a type that nobody tells"),
        (Image(media_type="image/png"), "text/html", HTML, "is text/html"),
        (FILE, "application/pdf", HTML, "a file, and is text/html"),
        (File(media_type="application/pdf"), "text/html", HTML, "is text/html"),
        (FILE, "application/pdf", b"Error 500", "not what its server says"),
        (Audio(), "video/mp4", b"....ftypisom", "audio, and is video/mp4"),
    ],
)
def test_what_does_not_fit_the_part_is_refused(part: Any, kind: str, data: bytes, why: str) -> None:
    with (
        serving(site({"/it": lies(data, kind)})) as server,
        pytest.raises(BadReply, match=f"/it was to be .*{why}.*pass the bytes") as raised,
    ):
        got(evolve(part, url=f"{server.url}/it?sig=private"))
    assert "private" not in str(raised.value)


# -- limits --


@everywhere
@pytest.mark.parametrize("how", ["told", "not told", "packed"])
def test_what_is_too_large_is_not_read_to_its_end(world: World, how: str) -> None:
    most = 100_000

    def behave(peer: Peer) -> None:
        peer.request()
        if how == "told":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        elif how == "packed":
            peer.send(reply(gzip.compress(bytes(50 * most)), "Content-Encoding: gzip"))
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            while True:  # until the client hangs up
                peer.send(PNG * 1000)
        peer.hung_up()

    with serving(behave) as server, pytest.raises(BadReply, match=r"larger than 100000 bytes.*max_body="):
        got(image(f"{server.url}/cat"), world, max_body=most)


@everywhere
def test_a_slow_drip_ends_in_time(world: World) -> None:
    """However slowly, bytes come, so that no silence is ever long: it is the whole that has a limit."""

    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        peer.drip(PNG * 10_000, server.over)

    with serving(behave) as server:
        with pytest.raises(TimedOut):
            got(image(f"{server.url}/cat"), world, deadline=0.3)
        with pytest.raises(TimedOut):
            world.run(lambda: fetched(image(f"{server.url}/cat"), 1.0))  # the deadline of the call is over


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 Unauthorized", Unauthorized),
        ("403 Forbidden", Unauthorized),
        ("404 Not Found", NotFound),
        ("410 Gone", NotFound),
        ("418 I'm a teapot", BadReply),
        ("204 No Content", BadReply),
        ("200 OK", BadReply),
    ],
)
def test_a_status_that_is_no_answer(status: str, kind: type[ProviderError]) -> None:
    with serving(site({"/cat": lies(b"", status=status)})) as server, pytest.raises(kind) as raised:
        got(image(f"{server.url}/cat?key=private"))
    assert type(raised.value) is kind
    assert raised.value.status == int(status[:3])
    assert "private" not in str(raised.value)
    assert "/cat" in str(raised.value)
    assert len(server.heads) == 1


@everywhere
def test_what_passes_is_tried_again(world: World) -> None:
    replies = [
        lies(b"", "", "Retry-After: 0", status="429 Too Many Requests"),
        lies(b"", "", "Retry-After: 0", status="503 Service Unavailable"),
        lies(PNG, "image/png"),
    ]

    def behave(peer: Peer) -> None:
        while peer.request():
            peer.send(replies.pop(0))

    with serving(behave) as server:
        assert got(image(f"{server.url}/cat"), world).data == PNG


def test_it_is_not_tried_for_ever() -> None:
    slow = lies(b"", "", "Retry-After: 99", status="429 Too Many Requests")
    with serving(site({"/cat": slow, "/dog": lies(b"", "", "Retry-After: 0", status="500 No")})) as server:
        with pytest.raises(RateLimited) as raised:
            got(image(f"{server.url}/cat"))
        with pytest.raises(ServerFailed):
            got(image(f"{server.url}/dog"))
    assert raised.value.retry_after == 99
    assert len(server.heads) == 1 + 3


# -- prompts --


@everywhere
def test_a_prompt_is_fetched_at_once_and_each_address_once(world: World) -> None:
    with serving(site({"/cat": lies(PNG, "image/png"), "/a.pdf": lies(PDF, "application/pdf")})) as server:
        cat, report = image(f"{server.url}/cat"), file(f"{server.url}/a.pdf")
        result = Message("tool", (ToolResult("1", "look", (Text("see"), cat)), ToolResult("2", "x", "words")))
        far = user(image("gs://bucket/cat.png"))
        prompt = ("Hello", user("Two", cat, report, cat), Response((assistant("Yes"), result)), far, system("Be kind."))
        found: Any = world.run(lambda: fetch_all.plan(prompt))
    there, paper = Image(PNG, media_type="image/png"), File(PDF, media_type="application/pdf", name="a.pdf")
    shown = Message("tool", (ToolResult("1", "look", (Text("see"), there)), ToolResult("2", "x", "words")))
    assert found[0] == "Hello"
    assert found[1] == user("Two", there, paper, there)
    assert found[2].messages == (assistant("Yes"), shown)
    assert found[3:] == (far, system("Be kind."))
    assert len(server.heads) == 2


def test_a_prompt_without_addresses_is_as_it_was() -> None:
    assert fetch_all("Hello") == ("Hello",)
    assert fetch_all(user(image(PNG))) == (user(image(PNG)),)


def test_a_prompt_fails_as_its_first_part_does() -> None:
    with serving(site({"/cat": lies(PNG)})) as server, pytest.raises(NotFound, match="/dog"):
        fetch_all(user(image(f"{server.url}/cat"), image(f"{server.url}/dog")))


# -- a model that takes only bytes --


def parts_of(ask: Ask) -> Iterator[Any]:
    for part in [part for message in ask.messages for part in message.parts]:
        yield from part.content if isinstance(part, ToolResult) and not isinstance(part.content, str) else (part,)


def only_bytes(endpoint: Endpoint, ask: Ask, stream: bool) -> Request:
    """Build as Chat Completions does, but refuse addresses, as Gemini does."""
    for part in parts_of(ask):
        if isinstance(part, Image | File | Audio) and part.url:
            raise MustFetch(part)
    return CHAT.build(endpoint, ask, stream)


def model(server: Server) -> Endpoint:
    """A model that takes only bytes and lives at *server*, which asks for a key."""
    dialect = evolve(CHAT, build=only_bytes)
    secret = (("x-tenant", Secret("sk-private")),)
    return Endpoint(
        name="m", base_url=f"{server.url}/v1", dialect=dialect, api_key="sk-private", headers=secret, retry=None
    )


def said(text: str) -> bytes:
    """A whole answer of the model."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return lies(dumps({"id": "1", "choices": [choice]}), "application/json")


@pytest.fixture
def provider() -> Iterator[tuple[Server, list[bytes]]]:
    """A model's server, and the bodies that it was sent."""
    bodies: list[bytes] = []

    def behave(peer: Peer) -> None:
        while data := peer.sock.recv(1 << 20):
            head, _, body = data.partition(b"\r\n\r\n")
            size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            while len(body) < size:
                body += peer.sock.recv(1 << 20)
            bodies.append(body)
            peer.send(said("A cat."))

    with serving(behave) as server:
        yield server, bodies


@everywhere
def test_a_model_that_takes_only_bytes_gets_them(world: World, provider: tuple[Server, list[bytes]]) -> None:
    server, bodies = provider
    with serving(site({"/cat": lies(PNG, "image/png")})) as shop:
        cat = image(f"{shop.url}/cat?id=1")
        asked: Callable[[], Plan[Response]] = lambda: complete.plan(model(server), user("What is it?", cat, cat))  # noqa: E731
        response = world.run(asked)
    assert response.text == "A cat."
    assert bodies[0].count(b"data:image/png;base64,iVBORw0KGgoAAAAAAAAAAA==") == 2
    assert shop.url.encode() not in bodies[0]
    assert b"private" not in b"".join(shop.heads)
    assert len(shop.heads) == 1


@everywhere
def test_what_cannot_be_fetched_fails_before_the_model_is_asked(
    world: World, provider: tuple[Server, list[bytes]]
) -> None:
    server, bodies = provider
    with pytest.raises(Misuse, match=r"127.0.0.2 is not at a public address.*pass its bytes"):
        world.run(lambda: complete.plan(model(server), user(image("http://127.0.0.2/latest?token=private"))))
    assert bodies == []


def test_what_was_fetched_before_is_sent_as_often_as_it_is_asked_for(provider: tuple[Server, list[bytes]]) -> None:
    server, bodies = provider
    with serving(site({"/cat": lies(PNG, "image/png")})) as shop:
        prompt = fetch_all(user("What is it?", image(f"{shop.url}/cat")))
        first = run_tools(model(server), prompt, [])
        complete(model(server), (*prompt, first, "And now?"))
    assert [body.count(b"data:image/png") for body in bodies] == [1, 1]
    assert len(shop.heads) == 1


def test_who_only_looks_at_the_request_is_told_what_would_be_fetched() -> None:
    endpoint = Endpoint(name="m", base_url="http://127.0.0.1:1/v1", dialect=evolve(CHAT, build=only_bytes))
    with pytest.raises(MustFetch, match="takes no address of an image; it is fetched when the model is asked"):
        request(endpoint, user(image("http://127.0.0.1/cat")))


def test_a_stream_tells_the_answer_to_what_was_fetched(provider: tuple[Server, list[bytes]]) -> None:
    with serving(site({"/cat": lies(PNG, "image/png")})) as shop:
        prompt = user(image(f"{shop.url}/cat"))
        events = World(listening=True).events(lambda: complete.plan(model(provider[0]), prompt))
    assert not [event for event in events if isinstance(event, Finished) and event.response.text != "A cat."]
    assert b"data:image/png" in provider[1][0]
