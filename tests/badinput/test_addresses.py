"""Keys, addresses and redirects: what is missing or wrong is named, and no key goes where it was not sent."""

from __future__ import annotations

import logging
import re
from base64 import b64encode

import pytest

from arshai_kit import openai_compatible
from arshai_kit.errors import Misuse, NotFound, ProviderError, TimedOut, Unauthorized, Unreachable
from tests.badinput.ways import (
    KEY,
    Way,
    answering,
    asked,
    body,
    everyway,
    kept,
    model_at,
    shows_no_key,
    variables,
    ways,
)
from tests.transport.server import Peer, always, reply, serving, silent

REFUSED = {"error": {"message": "You didn't provide an API key.", "code": "invalid_api_key"}}


def hanging_up(peer: Peer) -> None:
    """Take a request, and hang up."""
    peer.request()


@everyway
def test_without_a_key_the_variable_is_named(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_COMPATIBLE_API_KEY", raising=False)
    came = asked(way, body(REFUSED, status="401 Unauthorized"), api_key=None)
    assert type(came.error) is Unauthorized
    assert str(came.error) == (
        "HTTP 401: You didn't provide an API key. (no key was sent: pass api_key= or set OPENAI_COMPATIBLE_API_KEY)"
    )
    kept(came.error, way)


@everyway
def test_a_key_that_is_refused_is_no_missing_one(way: Way) -> None:
    came = asked(way, body(REFUSED, status="401 Unauthorized"))
    assert str(came.error) == "HTTP 401: You didn't provide an API key."


@pytest.mark.parametrize(
    "address",
    ["localhost:8080", "api.example.com/v1", "", "   ", "//host/v1", "ftp://host", "http://", "http://a b/", "file:///v1",
     "http://host:99999/v1", "http://[::1/v1", "https://:443", "javascript:alert(1)", None, 5, b"http://host"],
)  # fmt: skip
def test_what_is_no_address_is_refused_when_the_model_is_made(address: object) -> None:
    with pytest.raises(Misuse, match=r"base_url=.*it looks like 'https://api\.example\.com/v1'"):
        openai_compatible("toy-1", base_url=address)  # type: ignore[arg-type]  # that is what is tested


@everyway
def test_a_host_that_cannot_be_resolved_is_named(way: Way) -> None:
    came = way.ask(model_at("http://no-such-host.invalid/v1"))
    assert type(came.error) is Unreachable
    assert "no connection to no-such-host.invalid" in str(came.error)


@everyway
def test_a_refused_connection_names_where(way: Way) -> None:
    with serving(lambda peer: None) as server:
        port = server.port
    came = way.ask(model_at(f"http://127.0.0.1:{port}/v1"))
    assert type(came.error) is Unreachable
    assert re.fullmatch(rf"no connection to 127\.0\.0\.1:{port}: .*([Rr]efused|Connect call failed).*", str(came.error))


@everyway
def test_tls_where_there_is_none_is_told(way: Way) -> None:
    def behave(peer: Peer) -> None:
        peer.sock.recv(9)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(behave) as server:
        came = way.ask(model_at(server.url.replace("http", "https")))
    assert type(came.error) is Unreachable
    assert "no TLS with 127.0.0.1" in str(came.error)


@everyway
def test_a_path_that_is_not_there_is_told_with_what_may_be_wrong(way: Way) -> None:
    came = asked(way, body(b"<html><title>404 Not Found</title></html>", status="404 Not Found", kind="text/html"))
    assert type(came.error) is NotFound
    assert str(came.error) == ("HTTP 404: an HTML page, '404 Not Found'; base_url may be wrong (many end in /v1)")
    kept(came.error, way)


@everyway
def test_a_model_that_is_not_there_is_told_in_the_words_of_the_server(way: Way) -> None:
    came = asked(way, body({"error": {"message": "no model 'toy-1'"}}, status="404 Not Found"))
    assert (type(came.error), str(came.error)) == (NotFound, "HTTP 404: no model 'toy-1'")
    kept(came.error, way)


@everyway
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_carries_nothing_to_another_host(status: int, way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with answering(body({})) as elsewhere:
        location = f"Location: {elsewhere.url}/v1/chat/completions?key={KEY}"
        came = asked(way, body(b"moved", location, status=f"{status} Moved"), headers={"x-gateway-token": KEY + "2"})
        assert elsewhere.peers == []
    assert type(came.error) is ProviderError
    assert came.error.status == status
    assert "points to 127.0.0.1; correct base_url, keys are not carried on" in str(came.error)
    kept(came.error, way)
    shows_no_key(came.error, [record for record in caplog.records if record.name.startswith("arshai_kit")])
    assert [each for each in variables(came.error) if KEY in each] == []


@everyway
@pytest.mark.parametrize(
    "location", ["", "Location: /elsewhere", "Location: http://[", "Location: //", "Location: \xff"]
)
def test_a_redirect_to_nowhere_is_told_as_well(location: str, way: Way) -> None:
    came = asked(way, body(b"", *[location] * bool(location), status="307 Moved"))
    assert type(came.error) is ProviderError
    assert "correct base_url" in str(came.error)


@ways(lambda way: not way.loops)
def test_no_variable_of_a_traceback_holds_a_key(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that report errors show the variables of each frame, ours and those of the libraries below."""
    with serving(lambda peer: None) as gone:
        pass
    refusing = always(reply(status="407 Proxy Authentication Required"))
    with serving(silent) as mute, serving(hanging_up) as rude, serving(refusing) as proxy:
        failed = [
            way.ask(model_at(gone, retry=1)).error,
            way.ask(model_at(rude)).error,
            way.ask(model_at(mute, timeout=0.05)).error,
            way.ask(model_at(gone, headers={"x-api-key": f"{KEY}é"})).error,
        ]
        for name, server in (("HTTP_PROXY", rude), ("HTTPS_PROXY", proxy)):
            monkeypatch.setenv(name, server.url.replace("//", f"//me:{KEY[:12]}@"))
        failed += [way.ask(model_at(f"{scheme}://behind.invalid/v1")).error for scheme in ("http", "https")]
    password = b64encode(f"me:{KEY[:12]}".encode()).decode()
    assert [type(error) for error in failed] == [*[Unreachable] * 2, TimedOut, Misuse, *[Unreachable] * 2]
    for error in failed:
        shows_no_key(error)
        assert [each for each in variables(error) if KEY[:12] in each or password in each] == []


def test_a_model_that_is_shown_shows_no_key() -> None:
    model = model_at("http://localhost/v1", headers={"x-api-key": KEY, "x-plain": "seen"})
    assert KEY not in repr(model)
    assert KEY not in str(model)
    assert KEY not in f"{model}"
