"""The way to a server: TLS, proxies, what the environment says, forks, and what is imported when."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import certifi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import _transport
from arshai_kit._transport import pools
from arshai_kit._transport.environment import ProxyAddress, proxy_for, tls_context
from arshai_kit._transport.route import named, route_to
from arshai_kit.effects import Request
from arshai_kit.errors import Misuse, TimedOut, Unreachable
from tests.transport.server import PEM, SOON, Peer, always, echo, proxying, reply, serving, socks
from tests.transport.worlds import OURS, Bounds, World, everywhere, ours

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def to(url: str) -> Request:
    """A request."""
    return Request("POST", url, content=b"{}")


@pytest.fixture(autouse=True)
def _no_proxies_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The certificate of the tests is one to trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


# -- TLS --


def unsafe(peer: Peer) -> None:
    """Answer a handshake by words."""
    peer.sock.recv(10)
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@everywhere
@pytest.mark.usefixtures("trusted")
def test_tls(world: World) -> None:
    with serving(always(reply()), tls=True) as server:
        answers = world.send(to(server.url), to(server.url.replace("127.0.0.1", "localhost")), to(server.url))
        (heard,) = world.stream(to(server.url), polite=True)
    assert [answer.body for answer in answers] == [b"hello"] * 3
    assert heard.pieces == (b"hello",)


@ours
def test_a_certificate_that_nobody_vouches_for(world: World) -> None:
    with serving(echo, tls=True) as server, pytest.raises(Unreachable, match=r"not trusted.*SSL_CERT_FILE") as raised:
        world.send(to(server.url))
    assert raised.value.__cause__ is not None


@ours
@pytest.mark.usefixtures("trusted")
def test_a_server_that_speaks_no_tls(world: World) -> None:
    with serving(unsafe) as server, pytest.raises(Unreachable, match="no TLS"):
        world.send(to(server.url.replace("http", "https")))


@ours
def test_a_handshake_that_never_ends(world: World) -> None:
    def behave(peer: Peer) -> None:
        server.over.wait(SOON)

    with serving(behave) as server:
        request = Request("GET", server.url.replace("http", "https"), connect_timeout=0.1)
        with pytest.raises(TimedOut, match="no connection"):
            world.send(request)


def test_one_context_serves_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    tls_context.cache_clear()
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    assert tls_context() is tls_context()
    assert tls_context().get_ca_certs()
    tls_context.cache_clear()
    monkeypatch.setenv("SSL_CERT_DIR", str(PEM.parent))
    assert not tls_context().get_ca_certs()  # those of a folder are read when they are needed
    tls_context.cache_clear()


def test_certificates_that_cannot_be_had_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for file, why in (
        (tmp_path / "none.pem", "cannot be read: No such file or directory"),
        (junk, "holds no certificates"),
    ):
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        for world in OURS:
            tls_context.cache_clear()
            with pytest.raises(Misuse) as raised:
                world.send(to("https://localhost"))
            assert str(raised.value) == f"SSL_CERT_FILE is {str(file)!r}, which {why}"
    tls_context.cache_clear()


# -- proxies --


@everywhere
def test_a_proxy_for_http(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(proxying) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//me:pa%20ss@"))
        (answer,) = world.send(to("http://nowhere.invalid/x"))
        assert b"roxy-" in proxy.heads[0]
    assert answer.body == b"by proxy: http://nowhere.invalid/x"


@everywhere
@pytest.mark.usefixtures("trusted")
def test_a_tunnel_for_https(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(proxying) as proxy, serving(always(reply()), tls=True) as server:
        monkeypatch.setenv("ALL_PROXY", proxy.url.removeprefix("http://"))
        answers = world.send(to(server.url), to(server.url))
        assert proxy.heads[0].startswith(b"CONNECT 127.0.0.1")
        assert len(proxy.heads) == 1
    assert [answer.body for answer in answers] == [b"hello"] * 2


@everywhere
@pytest.mark.usefixtures("trusted")
def test_a_tunnel_through_tls(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(proxying, tls=True) as proxy, serving(always(reply(bytes(300_000))), tls=True) as server:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        answer, _ = world.send(*[Request("POST", server.url, content=bytes(200_000))] * 2)
        assert len(proxy.heads) == 1
        (heard,) = world.stream(to(server.url), most=1)
    assert len(answer.body) == 300_000
    assert heard.pieces


@everywhere
@pytest.mark.usefixtures("trusted")
def test_a_proxy_that_refuses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(always(reply(status="407 Proxy Authentication Required"))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(Unreachable) as raised:
            world.send(to("https://nowhere.invalid"))
    name = "" if world.foreign else f" 127.0.0.1:{proxy.port}"  # which one a client uses is its own affair
    said = f"the proxy{name} (for nowhere.invalid) refused: 407 Proxy Authentication Required"
    assert str(raised.value) == said


@ours
@pytest.mark.usefixtures("trusted")
def test_who_is_not_reached_is_named_the_proxy_or_the_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stands between is not blamed on the server, nor the server on who stands between; no password is told."""

    def said(target: str, proxy: str) -> str:
        monkeypatch.setenv("ALL_PROXY", proxy.replace("//", "//me:hunter2@"))
        with pytest.raises(Unreachable) as raised:
            world.send(to(target))
        return str(raised.value)

    with serving(echo) as gone:
        pass
    with serving(unsafe) as bare, serving(proxying) as plain, serving(proxying, tls=True) as safe:
        for scheme in ("http", "https"):
            refused = said(f"{scheme}://a.example", gone.url)
            assert refused.startswith(f"no connection to the proxy 127.0.0.1:{gone.port} (for a.example): ")
            assert "hunter2" not in refused
            lost = said(f"{scheme}://a.example", "http://no-such-host.invalid")
            assert lost.startswith("no connection to the proxy no-such-host.invalid:80 (for a.example): ")
        spoken = said("https://a.example", bare.url.replace("http", "https"))
        assert spoken.startswith(f"no TLS with the proxy 127.0.0.1:{bare.port} (for a.example): ")
        for proxy in (plain, safe):
            inside = said(f"https://127.0.0.1:{bare.port}", proxy.url)
            assert inside.startswith(f"no TLS with 127.0.0.1:{bare.port}: ")
        monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
        tls_context.cache_clear()
        doubted = said("https://a.example", safe.url)
        assert doubted.startswith(f"the certificate of the proxy 127.0.0.1:{safe.port} (for a.example) is not trusted")


@pytest.mark.needs("socks")
@ours
@pytest.mark.usefixtures("trusted")
def test_a_socks_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(socks) as proxy, serving(always(reply()), tls=True) as server:
        monkeypatch.setenv("ALL_PROXY", proxy.url.replace("http", "socks5"))
        (answer,) = world.send(to(server.url))
    assert answer.body == b"hello"


@ours
def test_a_socks_proxy_needs_a_package(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(Misuse, match="pip install socksio"):
        world.send(to("http://nowhere.invalid"))


def test_which_proxy_the_environment_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for("http", "a.com", 80) is None
    monkeypatch.setenv("NO_PROXY", "b.com, ,::1")
    assert proxy_for("http", "a.com", 80) is None
    monkeypatch.setenv("HTTPS_PROXY", "https://[::2]")
    assert proxy_for("http", "a.com", 80) is None
    assert proxy_for("https", "a.com", 443) == ProxyAddress("https", "::2", 443)
    assert proxy_for("https", "x.b.com", 443) is None
    assert proxy_for("https", "::1", 443) is None
    assert proxy_for("https", "::3", 443) is not None
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxy_for("https", "a.com", 443) is None


@pytest.mark.parametrize("address", ["gopher://a", "http://", "http://a:port"])
def test_a_proxy_that_is_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", address)
    with pytest.raises(Misuse, match="HTTP_PROXY"):
        proxy_for("http", "a.com", 80)


def test_systems_that_keep_proxies_elsewhere_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": "p:1"})
    assert proxy_for("http", "a.com", 80) == ProxyAddress("http", "p", 1)


# -- addresses --


def test_a_route_in_every_alphabet() -> None:
    route = route_to("https://bücher.example:8443/ä b?q=ü#x")
    assert (route.host, route.port, route.name) == ("xn--bcher-kva.example", 8443, "xn--bcher-kva.example:8443")
    assert route.target == b"/%C3%A4%20b?q=%C3%BC"
    six = route_to("http://[::1]:8080")
    assert (six.host, six.host_header, six.target) == ("::1", (b"host", b"[::1]:8080"), b"/")


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(Misuse, match="authorization header") as raised:
        route_to("https://me:hunter2@a.example/v1")
    assert "hunter2" not in str(raised.value)


@given(st.text(max_size=30))
def test_any_text_is_a_route_or_misuse(text: str) -> None:
    for url in (text, f"http://{text}", f"https://a.example/{text}"):
        try:
            route = route_to(url)
        except Misuse:
            continue
        assert route.target.startswith(b"/")
        assert b" " not in route.target
        assert named(url)


# -- sockets --


def test_what_a_system_lacks_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll")
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    monkeypatch.delattr(os, "register_at_fork")
    with serving(always(reply())) as server:
        answers = World("sync").send(to(server.url), to(server.url))
        assert len(server.peers) == 1
    assert len(answers) == 2


def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(echo) as gone:
        pass
    with serving(always(reply())) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", each.port)) for each in (gone, server)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
        (answer,) = World("sync").send(to("http://two.example"))
        assert answer.body == b"hello"
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [])
        with pytest.raises(Unreachable, match="no address"):
            World("sync").send(to("http://two.example"))


FORKED = """
import os, sys, time
from arshai_kit import _transport
from arshai_kit.effects import Request
from tests.transport.server import Peer, chunked, reply, serving
from tests.transport.worlds import Bounds

def behave(peer):
    while head := peer.request():
        if b"/stream" in head:
            peer.send(chunked(b"data: 1", end=False))
            go.wait(120)
            peer.send(b"7\\r\\ndata: 2\\r\\n0\\r\\n\\r\\n")
        else:
            peer.send(reply(b"%d" % peer.number))

from threading import Event
go = Event()
until = time.monotonic() + 120
with serving(behave) as server:
    transport = _transport.sync_transport(None, Bounds())
    request = Request("POST", server.url)
    assert transport.send(request, until).body == b"0"
    line = transport.open(Request("POST", server.url + "/stream"), until)
    assert line.read(until) == b"data: 1"
    assert transport.send(request, until).body == b"1"
    child = os.fork()
    if not child:
        try:
            line.read(until)
        except Exception as error:
            assert type(error).__name__ == "Unreachable", error
            line.close()
            os._exit(int(transport.send(request, until).body))
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert transport.send(request, until).body == b"1"
    go.set()
    assert line.read(until) == b"data: 2"
    assert line.read(until) == b""
    transport.close()
    del transport, line
    if not os.fork():
        os._exit(0)
    os.wait()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_shares_nothing_with_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_nothing_heavy_is_imported_before_its_use() -> None:
    code = "import sys, arshai_kit._transport as t; t.Fuse(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"httpx", "httpcore", "h11", "anyio", "ssl", "certifi"} & set(modules)


def test_a_call_over_http_needs_neither_httpx_nor_a_tls_context() -> None:
    code = """
import sys, time
from arshai_kit import _transport
from arshai_kit.effects import Request
from tests.transport.server import always, reply, serving
from tests.transport.worlds import Bounds
with serving(always(reply())) as server:
    transport = _transport.sync_transport(None, Bounds())
    transport.send(Request("GET", server.url), time.monotonic() + 120)
    transport.close()
assert "httpx" not in sys.modules
assert not _transport.environment.tls_context.cache_info().currsize
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_clients_are_known_by_what_they_can_do() -> None:
    import httpx

    with pytest.raises(Misuse, match="not int"):
        _transport.sync_transport(3, Bounds())
    with pytest.raises(Misuse, match="is async"):
        _transport.sync_transport(httpx.AsyncClient(), Bounds())
    with httpx.Client() as client, pytest.raises(Misuse, match="is sync"):
        _transport.async_transport(client, Bounds())


def test_time_without_end() -> None:
    with serving(always(reply())) as server, World("sync").blocking() as transport:
        assert transport.send(to(server.url), float("inf")).status == 200
        line = transport.open(to(server.url), float("inf"))
        assert line.read(monotonic() + SOON) == b"hello"
        line.close()
