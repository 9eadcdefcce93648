"""`gemini()`: keys and addresses, Vertex AI with tokens from a server of our own, whole conversations over sockets."""

from __future__ import annotations

import json
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Lock, Thread
from typing import Any

import anyio
import pytest
from attrs import define, evolve, field, frozen

from arshai_kit import aio, complete, extract, run_tools, stream
from arshai_kit.effects import Secret
from arshai_kit.errors import MissingKey, Misuse, ServerFailed, Unauthorized, Unreachable, Unsupported
from arshai_kit.models import Ask, Capabilities, OutputSpec, check
from arshai_kit.providers import gemini, model
from arshai_kit.providers.gemini import AccessToken
from arshai_kit.records import Finished, ToolSpec, user
from tests.core.worlds import BACKENDS

VARIABLES = (
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_GENAI_USE_VERTEXAI",
)


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def token() -> str:
    return "ya29.mine"


# -- keys and addresses --


def test_the_key_is_the_given_one_or_the_first_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "second")
    assert gemini("m").api_key == Secret("second")
    monkeypatch.setenv("GOOGLE_API_KEY", "first")
    assert gemini("m").api_key == Secret("first")
    assert model("gemini:m") == gemini("m")
    given = gemini("models/m", api_key="mine", headers={"X-Goog-User-Project": "p"}, temperature=0)
    assert (given.name, given.api_key, given.key_header, given.temperature) == (
        "m",
        Secret("mine"),
        "x-goog-api-key",
        0,
    )
    assert (given.provider, given.base_url) == ("gemini", "https://generativelanguage.googleapis.com/v1beta")
    assert gemini("m", api_key="", base_url="http://localhost:1/v1").api_key is None


def test_without_a_key_all_ways_of_giving_one_are_named() -> None:
    with pytest.raises(MissingKey, match=r"GOOGLE_API_KEY or GEMINI_API_KEY.*project=.*GOOGLE_APPLICATION_CREDENTIALS"):
        gemini("gemini-2.5-flash")


@pytest.mark.parametrize("name", ["", "a b", "x?key=1", "x#y", "../x", "a//b", None])
def test_a_model_has_a_name_that_an_address_can_hold(name: Any) -> None:
    with pytest.raises(Misuse, match="name"):
        gemini(name, api_key="k")


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_vertex_ai_lives_in_a_project_and_a_place(location: str, host: str) -> None:
    found = gemini("gemini-2.5-flash", project="mine", location=location, token=token)
    assert found.base_url == f"https://{host}/v1/projects/mine/locations/{location}/publishers/google"
    assert (found.provider, found.api_key, found.token) == ("vertex", None, token)


def test_the_environment_says_where_vertex_ai_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misuse, match="GOOGLE_CLOUD_PROJECT"):
        gemini("m", token=token)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "theirs")
    assert gemini("m", token=token).base_url.endswith("projects/theirs/locations/global/publishers/google")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-east5")
    assert gemini("m", token=token).base_url.startswith("https://us-east5-")
    assert gemini("m", api_key="k").provider == "gemini"
    express = gemini("m", project="mine", api_key="k")
    assert (express.provider, express.api_key, express.token) == ("vertex", Secret("k"), None)
    assert gemini("m", token=token, base_url="http://localhost:1/google").base_url == "http://localhost:1/google"


@pytest.mark.parametrize(
    "where",
    [{"project": "a/b"}, {"project": "a?b#.."}, {"project": ".."}, {"project": "p", "location": "evil.example/"}],
)
def test_what_is_no_project_or_place_is_refused(where: Any) -> None:
    with pytest.raises(Misuse, match="it looks like"):
        gemini("m", token=token, **where)


def test_what_can_be_no_setting_is_refused_when_the_model_is_made() -> None:
    with pytest.raises(Misuse, match=r"reasoning=1\.5 is no effort"):
        gemini("gemini-3-pro", api_key="k", reasoning=1.5)  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="credentials= is the key of a service account"):
        gemini("m", project="p", credentials=5)
    with pytest.raises(Misuse, match="token= takes a function that returns an access token, not str"):
        gemini("m", project="p", token="ya29.mine")  # type: ignore[arg-type]


@pytest.mark.needs("google")
@pytest.mark.parametrize("credentials", [Secret("ya29.mine"), {"type": object()}, {"type": "service_account"}])
def test_what_is_no_key_of_a_service_account_is_refused_and_not_shown(credentials: Any) -> None:
    with pytest.raises(Misuse, match="not the JSON of a service account's key") as caught:
        AccessToken(credentials)()
    assert "ya29" not in str(caught.value)


@pytest.mark.needs("google")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_waits_for_no_token_that_its_parent_was_getting() -> None:
    class Theirs:
        token, valid = "ya29.mine", True

    giving = AccessToken(Theirs())
    with giving._lock:
        child = os.fork()
        if not child:
            signal.alarm(30)
            os._exit(0 if giving() == "ya29.mine" else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_what_a_model_is_known_to_take() -> None:
    both = Ask((user("?"),), (ToolSpec("t"),), output=OutputSpec("answer", {"type": "object"}))
    old, new = gemini("gemini-2.5-flash", api_key="k"), gemini("gemini-3.5-flash", api_key="k")
    with pytest.raises(Unsupported, match="typed answer together with tools"):
        check(old, both)
    check(new, both)
    check(gemini("gemini-flash-latest", api_key="k"), both)
    assert gemini("gemini-2.5-flash", api_key="k", capabilities=Capabilities()).capabilities == Capabilities()


# -- Google, as far as we need it --


@frozen
class Heard:
    """One request: its path, the key or token in its headers, and its body."""

    path: str
    key: str
    body: Any


@define
class Google:
    """A server that gives access tokens and answers; *port* is where it listens."""

    port: int = 0
    heard: list[Heard] = field(factory=list)
    tokens: list[str] = field(factory=list)
    answers: list[tuple[int, str, bytes]] = field(factory=list)
    refusing: tuple[int, dict[str, Any]] | None = None
    lasting: int = 3600
    lock: Lock = field(factory=Lock)

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def says(self, *bodies: Any) -> None:
        """Answer with *bodies*: lists are streams, everything else is a whole reply."""
        self.answers = [_sent(body) for body in bodies]

    def answer(self, path: str, headers: Any, data: bytes) -> tuple[int, str, bytes]:
        with self.lock:
            if path == "/token":
                return self._token()
            key = headers.get("x-goog-api-key") or headers.get("authorization") or ""
            self.heard.append(Heard(path, key, json.loads(data)))
            return self.answers.pop(0)

    def _token(self) -> tuple[int, str, bytes]:
        if self.refusing is not None:
            status, body = self.refusing
            return status, "application/json", json.dumps(body).encode()
        self.tokens.append(f"ya29.number-{len(self.tokens) + 1}")
        told = {"access_token": self.tokens[-1], "expires_in": self.lasting, "token_type": "Bearer"}
        return 200, "application/json", json.dumps(told).encode()


def _sent(body: Any) -> tuple[int, str, bytes]:
    if isinstance(body, list):
        lines = [b"data: " + json.dumps(each).encode() + b"\r\n\r\n" for each in body]
        return 200, "text/event-stream", b"".join(lines)
    return 200, "application/json", json.dumps(body).encode()


@contextmanager
def serving() -> Iterator[Google]:
    living = Google()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            status, kind, body = living.answer(self.path, self.headers, data)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        living.port = server.server_port
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield living
        finally:
            server.shutdown()


@pytest.fixture
def google() -> Iterator[Google]:
    with serving() as living:
        yield living


def answer(*parts: dict[str, Any], finish: str | None = "STOP") -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": finish}]}


# -- whole conversations --


def look(city: str) -> str:
    """Say what the weather is."""
    return f"rain in {city}"


def _calling() -> dict[str, Any]:
    calls = [{"functionCall": {"name": "look", "args": {"city": city}}} for city in ("Oslo", "Rome")]
    return answer({**calls[0], "thoughtSignature": "c2lnbmVk"}, calls[1])


@pytest.mark.parametrize("streaming", [False, True])
def test_a_tool_loop_carries_signatures_and_no_ids_of_its_own(google: Google, streaming: bool) -> None:
    asked = gemini("gemini-3-flash", api_key="AIza-k", base_url=google.at("/v1beta"))
    turns = [_calling(), answer({"text": "Wet."})]
    google.says(*([turn] for turn in turns) if streaming else turns)
    if streaming:
        *_, last = stream(asked, "Hat?", tools=[look])
        assert isinstance(last, Finished)
        response = last.response
    else:
        response = run_tools(asked, "Hat?", [look])
    assert response.text == "Wet."
    first, second = google.heard
    method = "streamGenerateContent?alt=sse" if streaming else "generateContent"
    assert (first.path, first.key) == (f"/v1beta/models/gemini-3-flash:{method}", "AIza-k")
    _, said, results = second.body["contents"]
    assert said["parts"] == _calling()["candidates"][0]["content"]["parts"]
    answers = [{"name": "look", "response": {"output": f"rain in {city}"}} for city in ("Oslo", "Rome")]
    assert [part["functionResponse"] for part in results["parts"]] == answers


@frozen
class Weather:
    """What the weather is."""

    city: str
    wet: bool


def test_a_typed_answer_with_tools_takes_another_way_on_older_models(google: Google) -> None:
    old = gemini("gemini-2.5-flash", api_key="k", base_url=google.at("/v1beta"))
    given = answer({"text": '{"city": "Oslo", "wet": true}'})
    google.says(given, given, given)
    assert extract(old, "Weather?", Weather) == Weather("Oslo", True)
    assert run_tools(old, "Weather?", [look], output=Weather).output == Weather("Oslo", True)
    assert run_tools(
        evolve(old, name="gemini-3-flash", capabilities=Capabilities()), "?", [look], output=Weather
    ).output
    alone, old_way, new_way = [heard.body for heard in google.heard]
    assert "responseJsonSchema" in alone["generationConfig"]
    assert "responseMimeType" not in old_way.get("generationConfig", {})
    assert "responseJsonSchema" in new_way["generationConfig"]
    assert "tools" in old_way
    assert "tools" in new_way


def test_tokens_are_counted_over_the_wire(google: Google) -> None:
    from arshai_kit.faces import drive

    asked = gemini("gemini-3-flash", api_key="k", base_url=google.at("/v1beta"))
    google.says({"totalTokens": 8})
    assert drive(asked.count(Ask((user("Hi"),)))) == 8
    assert google.heard[0].path == "/v1beta/models/gemini-3-flash:countTokens"


# -- service accounts --

needs_google = pytest.mark.needs("google")


@pytest.fixture(scope="session")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


@pytest.fixture
def account(google: Google, private_key: str) -> dict[str, Any]:
    return {
        "type": "service_account",
        "project_id": "from-the-key",
        "private_key_id": "1",
        "private_key": private_key,
        "client_email": "robot@from-the-key.iam.gserviceaccount.com",
        "token_uri": google.at("/token"),
    }


def vertex(google: Google, **options: Any) -> Any:
    return gemini(
        "gemini-2.5-flash", base_url=google.at("/v1/projects/p/locations/global/publishers/google"), **options
    )


@needs_google
def test_a_service_account_signs_in_once_and_again_before_its_token_ends(
    google: Google, account: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(account))
    google.says(*[answer({"text": "Hi"})] * 5)
    asked = vertex(google, credentials=path)
    assert [complete(asked, "Hi").text, complete(asked, "Hi").provider] == ["Hi", "vertex"]
    google.lasting = 60  # so short that it counts as ended
    other = vertex(google, credentials=account)
    for _ in range(2):
        complete(other, "Hi")
    anyio.run(aio.complete, other, "Hi")
    assert [heard.key.removeprefix("Bearer ya29.number-") for heard in google.heard] == ["1", "1", "2", "3", "4"]
    assert google.heard[0].path.endswith("/publishers/google/models/gemini-2.5-flash:generateContent")


@needs_google
@pytest.mark.parametrize("backend", BACKENDS)
def test_many_threads_and_tasks_sign_in_once(google: Google, account: dict[str, Any], backend: str) -> None:
    giving = AccessToken(account)
    ready = Barrier(8)
    found: list[str] = []

    def ask() -> None:
        ready.wait()
        found.append(giving())

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked = evolve(vertex(google, project="p", token=token), token=giving)
    google.says(*[answer({"text": "Hi"})] * 4)

    async def together() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(aio.complete, asked, "Hi")

    anyio.run(together, backend=backend)
    assert set(found) == {"ya29.number-1"}
    assert {heard.key for heard in google.heard} == {"Bearer ya29.number-1"}


@needs_google
def test_the_project_and_the_credentials_are_found_where_google_looks(
    google: Google, account: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    alone = gemini("gemini-2.5-flash")
    assert alone.base_url.endswith("/projects/from-the-key/locations/global/publishers/google")
    assert gemini("gemini-2.5-flash", credentials=account).base_url == alone.base_url
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    assert gemini("gemini-2.5-flash").provider == "gemini"
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    assert gemini("gemini-2.5-flash").provider == "vertex"
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "false")
    monkeypatch.delenv("GEMINI_API_KEY")
    with pytest.raises(MissingKey):
        gemini("gemini-2.5-flash")
    google.says(answer({"text": "Hi"}))
    assert complete(evolve(alone, base_url=google.at("/v1")), "Hi").text == "Hi"
    assert google.heard[0].key == "Bearer ya29.number-1"


@needs_google
def test_no_repr_and_no_pickle_shows_a_secret(google: Google, account: dict[str, Any], tmp_path: Path) -> None:
    from google.oauth2.service_account import Credentials

    path = tmp_path / "key.json"
    path.write_text(json.dumps(account))
    make: Any = Credentials.from_service_account_info
    own = make(account, scopes=["https://www.googleapis.com/auth/cloud-platform"])
    google.says(answer({"text": "Hi"}), answer({"text": "Hi"}))
    for credentials in (account, path, own):
        asked = vertex(google, credentials=credentials)
        assert asked.token is not None
        assert asked.token().startswith("ya29.")
        for shown in (repr(asked), repr(asked.token), pickle.dumps(asked).decode("latin-1")):
            assert "ya29" not in shown
            assert "PRIVATE KEY" not in shown
        again = pickle.loads(pickle.dumps(asked))
        if credentials is path:
            assert complete(again, "Hi").text == "Hi"
        else:
            with pytest.raises(MissingKey, match="no pickle holds credentials"):
                complete(again, "Hi")


@needs_google
def test_credentials_that_cannot_be_used_say_so_and_show_nothing(
    google: Google, account: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd.json").write_text("{}")
    for credentials in ({"private_key": "very-private"}, tmp_path / "odd.json", tmp_path / "absent.json"):
        with pytest.raises(Misuse, match="credentials= cannot be used") as caught:
            complete(vertex(google, credentials=credentials), "Hi")
        assert "very-private" not in str(caught.value)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    with pytest.raises(MissingKey, match="set GOOGLE_APPLICATION_CREDENTIALS, or pass credentials= or token="):
        gemini("gemini-2.5-flash")


@needs_google
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": "invalid_grant", "error_description": "Account not found"}, Unauthorized),
        (400, {"error": "internal_failure"}, ServerFailed),
    ],
)
def test_a_token_that_is_refused_is_an_error_of_the_provider(
    google: Google, account: dict[str, Any], status: int, body: dict[str, Any], kind: type[Exception], no_pause: None
) -> None:
    google.refusing = (status, body)
    with pytest.raises(kind, match="gives no access token"):
        complete(vertex(google, credentials=account), "Hi")


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """google-auth tries again after pauses of its own."""
    monkeypatch.setattr("time.sleep", lambda _: None)


@needs_google
def test_a_server_of_tokens_that_is_not_there_is_unreachable(
    google: Google, account: dict[str, Any], no_pause: None
) -> None:
    with pytest.raises(Unreachable, match="access tokens"):
        complete(vertex(google, credentials={**account, "token_uri": "http://127.0.0.1:1/token"}), "Hi")


def test_without_google_auth_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "google.auth", None)
    with pytest.raises(ImportError, match=r"arshai-kit\[google\]"):
        gemini("gemini-2.5-flash", project="mine")
    hidden: Callable[[], str] = token
    assert gemini("gemini-2.5-flash", project="mine", token=hidden).token is hidden
