"""A public request never reaches an address that is not public, however it is written, named or renamed."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import _transport
from arshai_kit._transport import public
from arshai_kit._transport.blocking import SyncTransport
from arshai_kit._transport.environment import tls_context
from arshai_kit.effects import Request
from arshai_kit.errors import Misuse, TimedOut, Unreachable
from tests.transport.names import naming, publish
from tests.transport.server import PEM, SOON, always, echo, proxying, reply, serving
from tests.transport.worlds import Bounds, World, everywhere, foreign, ours

HERE, THERE = "127.0.0.1", "127.0.0.2"
REFUSED = "is not at a public address"


def get(url: str, **options: Any) -> Request:
    """A request for what is public."""
    return Request("GET", url, public=True, **options)


@pytest.fixture(autouse=True)
def _no_proxies_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextmanager
def listening(port: int, address: str = THERE) -> Iterator[Callable[[], list[bytes]]]:
    """A private address where somebody listens; gives what each connection to it has sent so far."""
    with socket.create_server((address, port)) as server:
        server.setblocking(False)

        def heard() -> list[bytes]:
            found: list[bytes] = []
            while True:
                try:
                    peer, _ = server.accept()
                except BlockingIOError:
                    return found
                with peer:
                    peer.settimeout(SOON)
                    found.append(peer.recv(100))

        yield heard


# -- addresses --

NOT_PUBLIC = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    168.63.129.16/32 169.254.169.254/32 100.100.100.200/32 192.0.0.192/32
""".split()
NOT_PUBLIC_6 = """
    ::/128 ::1/128 ::/96 ::ffff:0:0:0/96 64:ff9b:1::/48 100::/64 2001::/23 2001::/32 2001:db8::/32 2002::/16
    3fff::/20 5f00::/16 fc00::/7 fd00:ec2::254/128 fe80::/10 fec0::/10 ff00::/8
""".split()


def among(networks: list[str]) -> st.SearchStrategy[Any]:
    return st.sampled_from([ip_network(each) for each in networks]).flatmap(lambda net: st.ip_addresses(network=net))


def parts_of(ip: IPv4Address) -> list[int]:
    return list(ip.packed)


NOTATIONS: tuple[Callable[[IPv4Address], str], ...] = (
    str,
    lambda ip: str(int(ip)),
    lambda ip: hex(int(ip)),
    lambda ip: f"0{int(ip):o}",
    lambda ip: ".".join(f"0{part:o}" for part in parts_of(ip)),
    lambda ip: ".".join(hex(part) for part in parts_of(ip)),
    lambda ip: f"{parts_of(ip)[0]}.{int(ip) & 0xFFFFFF}",
    lambda ip: f"{parts_of(ip)[0]}.{parts_of(ip)[1]}.{int(ip) & 0xFFFF}",
    lambda ip: f"[::ffff:{ip}]",
    lambda ip: f"[0:0:0:0:0:ffff:{int(ip) >> 16:x}:{int(ip) & 0xFFFF:x}]",
    lambda ip: f"[64:ff9b::{ip}]",
)


@given(ip=among(NOT_PUBLIC), write=st.sampled_from(NOTATIONS))
def test_an_address_that_is_not_public_is_refused_in_every_notation(
    ip: IPv4Address, write: Callable[[IPv4Address], str]
) -> None:
    transport = SyncTransport(Bounds())
    with pytest.raises(Misuse, match=REFUSED) as raised:
        transport.send(get(f"http://{write(ip)}/latest/meta-data"), monotonic() + SOON)
    assert "pass its bytes" in str(raised.value)


@given(ip=among(NOT_PUBLIC_6), zone=st.sampled_from(["", "%lo", "%1"]))
def test_neither_is_one_of_the_new_kind(ip: IPv6Address, zone: str) -> None:
    assert not public.is_public(f"{ip}{zone}")
    with pytest.raises(Misuse, match=REFUSED):
        SyncTransport(Bounds()).send(get(f"http://[{ip}]/"), monotonic() + SOON)


@given(ip=st.ip_addresses(), zone=st.sampled_from(["", "%eth0"]))
def test_what_python_calls_not_global_is_never_public(ip: IPv4Address | IPv6Address, zone: str) -> None:
    """A witness that nobody here wrote; in what it calls global, our list only refuses more."""
    inside = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    if public.is_public(str(ip)):
        really = inside or (IPv4Address(ip.packed[-4:]) if ip in ip_network("64:ff9b::/96") else ip)
        assert really.is_global
        assert not really.is_multicast
        assert not really.is_reserved
    assert not (ip.version == 6 and zone and public.is_public(f"{ip}{zone}"))
    assert not public.is_public(f"{ip} ")


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]
)
def test_what_everybody_reaches_is_public(address: str) -> None:
    assert public.is_public(address)


# -- every world --


@everywhere
def test_no_world_connects_to_where_only_this_machine_leads(world: World) -> None:
    with serving(echo) as server:
        for host in ("127.0.0.1", "localhost", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0"):
            with pytest.raises(Misuse, match=REFUSED):
                world.send(get(f"http://{host}:{server.port}/"))
        with pytest.raises(Misuse, match=REFUSED):
            world.stream(get(server.url))
    assert server.peers == []


@everywhere
def test_what_is_public_is_fetched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, HERE)
    with serving(always(reply())) as server:
        (answer,) = world.send(get(f"{server.url}/cat.png"))
        (heard,) = world.stream(get(f"{server.url}/cat.png"))
    assert answer.body == b"".join(heard.pieces) == b"hello"
    assert b"host: 127.0.0.1" in server.heads[0].lower()


@ours
def test_a_name_is_looked_up_once_and_the_connection_goes_where_was_looked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that says something else the second time (rebinding) is not asked a second time."""
    publish(monkeypatch, HERE)
    names = naming(monkeypatch, shop=[[HERE], [THERE]])
    with serving(always(reply())) as server, listening(server.port) as heard:
        (answer,) = world.send(get(f"http://shop.test:{server.port}/"))
        assert heard() == []
    assert answer.body == b"hello"
    assert names.asked == ["shop.test"]
    assert f"host: shop.test:{server.port}".encode() in server.heads[0].lower()


@ours
def test_of_several_addresses_only_the_public_ones_are_tried(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, HERE, "127.0.0.3")  # where nobody listens
    naming(monkeypatch, shop=[[THERE, "127.0.0.3", HERE]])
    with serving(always(reply())) as server, listening(server.port) as heard:
        (answer,) = world.send(get(f"http://shop.test:{server.port}/"))
        assert heard() == []
    assert answer.body == b"hello"


@ours
def test_where_nobody_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, HERE)
    naming(monkeypatch, shop=[[HERE]], nobody=[[]])
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable, match=r"no connection to shop.test"):
        world.send(get(f"http://shop.test:{port}/"))
    with pytest.raises(Misuse, match=REFUSED):
        world.send(get(f"http://nobody.test:{port}/"))
    with pytest.raises(Unreachable, match="no connection to"):
        world.send(get("http://a-label-that-is-there-nowhere.invalid/"))


@ours
def test_an_address_that_swallows_everything_ends_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue of a listener takes no further connection, and says nothing."""
    publish(monkeypatch, HERE)
    with socket.create_server((HERE, 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection((HERE, port)), pytest.raises(TimedOut, match="no connection"):
            world.send(get(f"http://127.0.0.1:{port}/", connect_timeout=0.2))


@ours
def test_the_name_stays_what_tls_is_agreed_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, HERE)
    monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
    naming(monkeypatch, stranger=[[HERE]])
    tls_context.cache_clear()
    try:
        with serving(always(reply()), tls=True) as server:
            (answer,) = world.send(get(f"https://localhost:{server.port}/"))
            with pytest.raises(Unreachable, match="not trusted"):
                world.send(get(f"https://stranger.test:{server.port}/"))
    finally:
        tls_context.cache_clear()
    assert answer.body == b"hello"


@ours
def test_a_connection_that_nobody_looked_at_serves_no_public_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(always(reply())) as server:
        with pytest.raises(Misuse, match=REFUSED):
            world.send(Request("GET", server.url), get(server.url))
        assert len(server.peers) == 1
        publish(monkeypatch, HERE)
        world.send(Request("GET", server.url), get(server.url), get(server.url), Request("GET", server.url))
        assert [len(peer.seen) for peer in server.peers[1:]] == [2, 2]


# -- proxies: they connect, so all addresses that they may choose from must be public --


@everywhere
def test_behind_a_proxy_the_name_is_looked_up_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "93.184.216.34")  # the proxy itself is not
    naming(monkeypatch, shop=[["93.184.216.34"]], mixed=[["93.184.216.34", THERE]], inside=[[THERE]])
    with serving(proxying) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        answers = world.send(get("http://shop.test/cat"), get("http://shop.test/cat"))
        for name in ("mixed", "inside"):
            with pytest.raises(Misuse, match=REFUSED):
                world.send(get(f"http://{name}.test/cat"))
    assert [each.body for each in answers] == [b"by proxy: http://shop.test/cat"] * 2
    assert len(proxy.heads) == 2


@ours
def test_behind_a_proxy_a_name_that_nobody_knows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(proxying) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.raises(Unreachable, match="no connection"):
            world.send(get("http://a-label-that-is-there-nowhere.invalid/"))
    assert proxy.peers == []


# -- clients of the user's own --


@foreign
def test_a_foreign_client_that_is_told_something_else_sends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks the name up for itself, so its connection is looked at before a byte is sent."""
    publish(monkeypatch, HERE)
    with serving(always(reply())) as server, listening(server.port) as heard:
        naming(monkeypatch, shop=[[HERE], [THERE]])
        with pytest.raises(Misuse, match=REFUSED):
            world.send(get(f"http://shop.test:{server.port}/"))
        assert heard() == [b""]
        naming(monkeypatch, shop=[[HERE]])
        (answer,) = world.send(get(f"http://shop.test:{server.port}/"))
    assert answer.body == b"hello"


PRIVATE: dict[str, Any] = {
    "headers": {"authorization": "Bearer sk-private", "x-key": "sk-private"},
    "cookies": {"session": "sk-private"},
    "params": {"key": "sk-private"},
    "auth": ("me", "sk-private"),
}


@pytest.mark.parametrize("library", [pytest.param("httpx2", marks=pytest.mark.needs("httpx2")), "httpx"])
def test_nothing_of_the_client_goes_along(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, HERE)
    kinds = import_module(library)
    with serving(echo) as server:
        with kinds.Client(**PRIVATE) as client:
            sync = _transport.sync_transport(client, Bounds()).send(get(server.url), monotonic() + SOON)

        async def main() -> bytes:
            async with kinds.AsyncClient(**PRIVATE) as client:
                transport = _transport.async_transport(client, Bounds())
                return (await transport.send(get(server.url), monotonic() + SOON)).body

        assert anyio.run(main) == sync.body
    names = {line.split(b":")[0].lower() for line in sync.body.split(b"\r\n")[1:]}
    assert names == {b"host", b"accept-encoding", b"user-agent"}
    assert b"private" not in sync.body


def answering(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=str(request.url).encode())


class Foreign(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers somehow, and tells nobody how."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return answering(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return answering(request)


def asked(transport: Any, url: str) -> Iterator[Callable[[], bytes]]:
    """What lies at *url* for a client over *transport*, sync and async."""

    def sync() -> bytes:
        with httpx.Client(transport=transport) as client:
            return _transport.sync_transport(client, Bounds()).send(get(url), monotonic() + SOON).body

    async def main() -> bytes:
        async with httpx.AsyncClient(transport=transport) as client:
            return (await _transport.async_transport(client, Bounds()).send(get(url), monotonic() + SOON)).body

    yield sync
    yield lambda: anyio.run(main)


def test_a_fake_of_a_client_needs_no_network() -> None:
    for ask in asked(httpx.MockTransport(answering), "http://nowhere.invalid/cat"):
        assert ask() == b"http://nowhere.invalid/cat"


def test_a_client_that_tells_nothing_of_its_connections_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, HERE)
    for ask in asked(Foreign(), "http://127.0.0.1/cat"):
        with pytest.raises(Misuse, match=r"does not tell what it connects to.*without client="):
            ask()


# -- the real thing: a network of its own, where nothing of ours is replaced --

ALONE = """
import sys
from tests.transport.server import always, reply
from tests.transport.worlds import OURS, FOREIGN
from tests.transport import server as servers
from arshai_kit.effects import Request
from arshai_kit.errors import Misuse
import socket

real = socket.create_server
socket.create_server = lambda address, **options: real(("0.0.0.0", address[1]), **options)
with servers.serving(always(reply())) as server:
    for world in OURS + FOREIGN[:3]:
        def ask(host):
            return world.send(Request("GET", f"http://{host}:{server.port}/", public=True))[0].body
        assert ask("93.184.216.34") == ask("shop.test") == b"hello"
        for host in ("10.1.2.3", "inside.test", "127.0.0.1", "169.254.169.254"):
            try:
                ask(host)
            except Misuse as error:
                assert "public" in str(error)
            else:
                sys.exit(f"{world.name} reached {host}")
assert len(server.heads) == 2 * 6, len(server.heads)
print("proven")
"""


def alone(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run *code* on a machine with one public and two private addresses, which is a namespace of this one."""
    (folder / "hosts").write_text("93.184.216.34 shop.test\n10.1.2.3 inside.test\n")
    (folder / "code.py").write_text(code)
    setting = f"""
        set -e
        mount --bind {folder}/hosts /etc/hosts
        ip link set lo up
        for each in 93.184.216.34 10.1.2.3 169.254.169.254; do ip address add $each/32 dev lo; done
        exec {sys.executable} {folder}/code.py
    """
    command = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c", setting]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


@pytest.mark.needs("netns")
def test_on_a_machine_with_a_public_address(tmp_path: Path) -> None:
    done = alone(ALONE, tmp_path)
    assert (done.stdout, done.stderr) == ("proven\n", "")
