"""Redirects, cookies and proxies: nobody follows with the keys, nobody is remembered, and every refusal has a name."""

from __future__ import annotations

from collections.abc import Callable

from arshai_kit.errors import ProviderError, ServerFailed, TimedOut, Unreachable
from tests.badinput.ways import KEY, body
from tests.faults.connections import closed, trusted
from tests.faults.rows import Answers, Expected, Fails, Row, Scene
from tests.faults.server import CLOSE, RELAY, RESET, STALL, Act, Asked, FaultServer, Script, hello, says, status

# Redirects


def unasked(scene: Scene) -> None:
    """The other server has seen nobody."""
    assert scene.other is not None
    assert not scene.other.lines


def there(code: int) -> Act:
    """A redirect to the other server."""

    def script(asked: Asked) -> Script:
        return (body(b"", f"Location: {asked.elsewhere}/v1/chat/completions", status=f"{code} Moved"),)

    return script


def to(place: str, code: int = 307) -> Script:
    """A redirect to some *place*."""
    return (body(b"", f"Location: {place}", status=f"{code} Moved"),)


def back(asked: Asked) -> Script:
    """A redirect to where it was asked."""
    return to(f"http://{asked.headers['host']}{asked.target}")


REDIRECTS = (
    *[
        Row(
            f"{code} to another host",
            (there(code),),
            Fails(ProviderError, f"HTTP {code}: .* points to 127.0.0.1; correct base_url", has={"status": code}),
            other=(hello,),
            check=unasked,
        )
        for code in (301, 302, 303, 307, 308)
    ],
    Row("a redirect to itself", (back,), Fails(ProviderError, "HTTP 307: .* points to 127.0.0.1")),
    Row("a redirect to nowhere", ((body(b"", status="302 Found"),),), Fails(ProviderError, "points to another place")),
    Row("a redirect to no address", (to("http://[half/"),), Fails(ProviderError, "points to no address")),
    Row("a redirect to a file", (to("file:///etc/passwd"),), Fails(ProviderError, "points to another place")),
    Row(
        "a redirect after a retry",
        (status(503), there(307)),
        Fails(ProviderError, "HTTP 307: ", requests=2),
        other=(hello,),
        check=unasked,
    ),
)

# Cookies


def unremembered(scene: Scene) -> None:
    """No request brought a cookie."""
    assert all("cookie" not in asked.headers for asked in scene.server.asked)
    assert len(scene.server.asked) > 1


def baking(act: Act) -> Act:
    """*act*, and a cookie with it."""

    def script(asked: Asked) -> Script:
        said = act(asked) if callable(act) else act
        cookie = b"\r\nSet-Cookie: session=7; Path=/\r\nSet-Cookie: who=me\r\n"
        return tuple([each.replace(b"\r\n", cookie, 1) if isinstance(each, bytes) else each for each in said])

    return script


COOKIES = (
    Row("a cookie with an answer", (baking(says("one")), hello), Answers(requests=2), times=2, check=unremembered),
    Row("a cookie with a failure", (baking(status(503)), hello), Answers(requests=2), check=unremembered),
)

# Proxies

Environ = Callable[[FaultServer, FaultServer | None], dict[str, str]]


def proxied(name: str = "HTTP_PROXY", user: str = "") -> Environ:
    """An environment with a proxy, the other server."""

    def environ(_: FaultServer, other: FaultServer | None) -> dict[str, str]:
        assert other is not None
        return {name: other.url.replace("//", f"//{user}"), **trusted()}

    return environ


def spared(server: FaultServer, other: FaultServer | None) -> dict[str, str]:
    """A proxy, and an exception from it."""
    return {**proxied()(server, other), "NO_PROXY": "127.0.0.1"}


def gone(server: FaultServer, other: FaultServer | None) -> dict[str, str]:
    """A proxy that is no more."""
    closed(server, other)
    return proxied()(server, other)


def asked_the_proxy(requests: int) -> Callable[[Scene], None]:
    """A check that the proxy saw so many requests; one for a tunnel never shows it the key."""

    def check(scene: Scene) -> None:
        assert scene.other is not None
        assert len(scene.other.seen) == requests
        assert all(KEY.encode() not in each.head for each in scene.other.asked if each.head.startswith(b"CONNECT"))

    return check


def by_proxy(name: str, act: Act, expected: Expected, requests: int = 1, *more: Act, **fields: object) -> Row:
    """A proxy that answers itself."""
    return Row(
        name,
        (says("not by the proxy"),),
        expected,
        other=(act, *more),
        **{"environ": proxied(), "check": asked_the_proxy(requests), **fields},  # type: ignore[arg-type]  # of a row
    )


def tunnelled(name: str, act: Act, expected: Expected, requests: int = 1, **fields: object) -> Row:
    """A proxy that is asked for a tunnel."""
    options = {"environ": proxied("HTTPS_PROXY"), "check": asked_the_proxy(requests), "before": False, **fields}
    return Row(name, (hello,), expected, other=(act,), tls=True, **options)  # type: ignore[arg-type]  # of a row


OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
FULL = (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", CLOSE)
REFUSED = (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", CLOSE)


def tunnel_fails(says: str = "", requests: int = 3, error: type[ProviderError] = Unreachable) -> Fails:
    """No tunnel, so no request."""
    return Fails(error, says, requests=0, ran=())


PROXIES = (
    by_proxy("an answer by a proxy", hello, Answers(requests=0)),
    by_proxy("an answer by a proxy that wants a name", hello, Answers(requests=0), environ=proxied(user="me:pa%20ss@")),
    by_proxy("a proxy that fails once", status(502), Answers(requests=0), 2, hello),
    by_proxy("a proxy that fails for ever", status(502), Fails(ServerFailed, "HTTP 502", requests=0), 3),
    by_proxy(
        "a proxy that breaks for ever", (RESET,), Fails(Unreachable, "broke", requests=0), 3, before=False, only="plain"
    ),
    by_proxy("a proxy that is spared", hello, Answers("not by the proxy"), 0, environ=spared),
    by_proxy(
        "a proxy that is gone",
        hello,
        Fails(Unreachable, "no connection", requests=0, ran=()),
        0,
        environ=gone,
        before=False,
    ),
    by_proxy(
        "a proxy that is silent",
        (STALL,),
        Fails(TimedOut, requests=0, ran=()),
        1,
        before=False,
        options={"timeout": 0.25},
    ),
    tunnelled("a tunnel", (OPEN, RELAY), Answers(ran=()), only="plain"),
    tunnelled("a tunnel that is refused", REFUSED, tunnel_fails("407|broke"), 3),
    tunnelled("a tunnel that fails", FULL, tunnel_fails("502|broke"), 3),
    tunnelled("a tunnel that breaks", (RESET,), tunnel_fails(), 3),
    tunnelled("a tunnel that ends at once", (OPEN, CLOSE), tunnel_fails(), 3),
    tunnelled("a tunnel that is silent", (STALL,), tunnel_fails(error=TimedOut), 1, options={"timeout": 0.25}),
    tunnelled("a tunnel to silence", (OPEN, STALL), tunnel_fails(error=TimedOut), 1, options={"timeout": 0.25}),
)
ROWS = (*REDIRECTS, *COOKIES, *PROXIES)
