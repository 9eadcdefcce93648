"""Models: what is asked and how, what is merged, what a stream may turn out to be, and that no key shows."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any

import attrs
import pytest

from arshai_kit import (
    Response,
    TextDelta,
    ToolCall,
    assistant,
    complete,
    evolve,
    openai_compatible,
    request,
    stream,
    user,
    using,
)
from arshai_kit.codec import to_json
from arshai_kit.effects import Call, Close, Emit, Plan, Request, Secret, Where
from arshai_kit.errors import (
    BadReply,
    BadRequest,
    MissingKey,
    Misuse,
    ProviderError,
    StreamIncomplete,
    TimedOut,
    Unreachable,
)
from arshai_kit.models import (
    Ask,
    Asked,
    Endpoint,
    Model,
    Settings,
    chosen,
    is_model,
    retold,
    thread,
    written,
)
from arshai_kit.records import Opaque, Thinking
from arshai_kit.resilience import breaker
from arshai_kit.testing import recorded, replayed
from tests.core.worlds import World, everywhere, listening
from tests.laws.provider import Provider, Sent, provider, whole
from tests.laws.wired import wired
from tests.test_completion import DONE, Toy, chunk, piece, said
from tests.transport.server import SOON, Peer, at_some_pace, serving

KEY = "sk-very-secret-1234567890"
model = openai_compatible("toy", base_url="http://127.0.0.1:9/v1", api_key=KEY, retry=None)


@pytest.fixture(scope="module")
def there() -> Iterator[Provider]:
    with provider() as living:
        yield living


def streamed(world: World, asked: Any, *layers: Any, **options: Any) -> Response:
    """What a stream of *asked* gives."""
    with using(layers=layers):
        plan: Callable[[], Plan[Response]] = partial(stream.plan, asked, "Well?", **options)
        return world.run(plan)


# -- settings --


def sent(asked: Any, settings: Settings) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(asked.dialect.build(asked, Ask((user("Hi"),), (), settings), False).content)
    return {name: value for name, value in body.items() if name not in ("model", "messages")}


def test_what_is_not_set_is_not_sent() -> None:
    assert sent(model, Settings()) == {}


def test_the_settings_of_a_question_win_and_extra_merges() -> None:
    warm = evolve(model, temperature=1, seed=7, stop="\n", extra={"user": "ann", "top": {"a": 1}})
    once = Settings(temperature=0, extra={"user": "bob", "more": [1]})
    assert sent(warm, once) == {
        "temperature": 0, "seed": 7, "stop": ["\n"], "user": "bob", "top": {"a": 1}, "more": [1],
    }  # fmt: skip
    assert chosen(warm, Ask((user("Hi"),)).settings) is warm
    assert chosen(warm, pickle.loads(pickle.dumps(Settings()))) == warm
    assert isinstance(chosen(warm, once), Endpoint)


def test_extra_wins_over_what_has_a_name() -> None:
    assert sent(evolve(model, temperature=1, extra={"temperature": 2, "messages": []}), Settings())["temperature"] == 2


def test_settings_take_what_reads_well() -> None:
    assert Settings(stop="a").stop == Settings(stop=["a"]).stop == ("a",)
    assert Settings(stop=None).stop is None
    assert Settings(extra=None).extra == {}
    with pytest.raises(Misuse, match="extra= takes fields"):
        Settings(extra=[("user", "ann")])  # type: ignore[arg-type]


WRONG = [
    ({"temperature": "hot"}, "temperature= takes a number, not 'hot'"),
    ({"top_p": True}, "top_p= takes a number, not True"),
    ({"max_tokens": 1.5}, "max_tokens= takes a whole number, not 1.5"),
    ({"seed": 10**5000}, "seed= takes a whole number, not a number of 16610 bits"),
    ({"stop": 5}, "stop= takes a string, or several, not 5"),
    ({"stop": ("a", 5)}, "stop= takes a string, or several, not ('a', 5)"),
    ({"reasoning": ""}, "reasoning= takes an effort such as 'low', or a whole number of tokens, not ''"),
    ({"tool_choice": 3}, "tool_choice= takes 'auto', 'none', 'required' or the name of a tool, not 3"),
    ({"parallel_tool_calls": 1}, "parallel_tool_calls= takes True or False, not 1"),
]


@pytest.mark.parametrize(("changes", "told"), WRONG, ids=lambda value: next(iter(value)) if type(value) is dict else "")
def test_a_setting_of_the_wrong_kind_is_refused_where_it_is_given(changes: Any, told: str) -> None:
    """By the constructor, by a change, around a wrapper, and for one question alike."""
    made: Any = openai_compatible
    for make in (
        lambda: evolve(model, **changes),
        lambda: evolve(Wrapper(model), **changes),
        lambda: Settings(**changes),
        lambda: made("m", base_url="http://localhost/v1", api_key="", **changes),
    ):
        with pytest.raises(Misuse) as raised:
            make()
        assert str(raised.value) == told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"timeout": 10**400}, "timeout= is a number above zero .* not a number of 1329 bits"),
        ({"deadline": float("nan")}, "deadline= is a number above zero .* not nan"),
        ({"max_body": True}, "max_body= is a number above zero .* not True"),
        ({"token": "x"}, "token= takes a function that returns an access token, not str"),
    ],
    ids=lambda value: next(iter(value)) if type(value) is dict else "",
)
def test_an_endpoint_of_the_wrong_kind_is_refused_where_it_is_made(changes: Any, told: str) -> None:
    with pytest.raises(Misuse, match=told):
        evolve(model, **changes)


# -- evolve --


@attrs.frozen
class Wrapper:
    """What wraps one model."""

    model: Model
    tries: int = 1


def test_evolve_changes_settings_and_wrappers_hand_on_what_is_not_theirs() -> None:
    assert evolve(model, temperature=0).temperature == 0
    outer = Wrapper(Wrapper(model))  # type: ignore[arg-type]  # it answers nothing here
    changed: Any = evolve(outer, tries=3, temperature=0)
    assert (changed.tries, changed.model.tries, changed.model.model.temperature) == (3, 1, 0)
    both: Any = evolve(Wrapper(model), model=evolve(model, seed=1), temperature=0)
    assert (both.model.seed, both.model.temperature) == (1, 0)
    assert model.temperature is None


def test_evolve_names_what_there_is_when_asked_for_what_there_is_not() -> None:
    with pytest.raises(Misuse, match=r"Endpoint has no hotness; it has .*temperature"):
        evolve(model, hotness=3)
    with pytest.raises(Misuse, match="Endpoint has no hotness"):
        evolve(Wrapper(model), hotness=3)
    for wrong in ("gpt", None, {"temperature": 1}):
        with pytest.raises(Misuse, match="evolve takes a model or another record"):
            evolve(wrong, temperature=0)


# -- keys --


def test_a_model_shows_what_it_is_and_no_key() -> None:
    shown = repr(evolve(model, temperature=0.5, extra={"user": "ann"}))
    assert KEY not in shown
    for part in ("'toy'", "base_url='http://127.0.0.1:9/v1'", "retry=None", "temperature=0.5", "extra={'user': 'ann'}"):
        assert part in shown
    assert "seed" not in shown


def test_no_key_shows_in_what_goes_in_by_extra() -> None:
    server = {"type": "mcp", "server_url": f"https://mcp.example/sse?key={KEY}", "authorization": KEY}
    signed = {**server, "headers": {"Authorization": f"Bearer {KEY}", "X-Title": "app"}, "credentials": [KEY]}
    extra = {"api_key": KEY, "tools": [signed], "user": "ann"}
    settings = Settings(extra=extra)
    endpoint = evolve(model, extra=extra)
    for shown in map(repr, (settings, Ask(thread("Hi"), settings=settings), endpoint, breaker(endpoint))):
        assert KEY not in shown
        assert "'user': 'ann'" in shown
        assert "'https://mcp.example/sse?key=***'" in shown
    assert request(endpoint, "Hi").content.count(KEY.encode()) == 5  # it is sent as it is
    assert settings.extra["api_key"] == KEY
    with pytest.raises(Misuse, match="not list") as refused:
        Settings(extra=[("api_key", KEY)])  # type: ignore[arg-type]
    assert KEY not in str(refused.value)


def test_a_model_out_of_a_pickle_says_that_its_key_is_lost() -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        kept = pickle.dumps(model, protocol)
        assert KEY.encode() not in kept
        other = pickle.loads(kept)
        assert evolve(other, api_key=KEY) == model
        for ask in (complete, request, lambda each, prompt: list(stream(each, prompt))):
            with pytest.raises(MissingKey, match=r"give it again, as by evolve\(model, api_key=…\)"):
                ask(other, "Hi")
    keyless = openai_compatible("toy", base_url="http://127.0.0.1:9/v1", api_key="")
    assert pickle.loads(pickle.dumps(keyless)) == keyless
    assert copy.deepcopy(model) == model
    private = evolve(keyless, headers=(("x-key", Secret(KEY)),))
    with pytest.raises(MissingKey):
        complete(pickle.loads(pickle.dumps(private)), "Hi")


@pytest.mark.parametrize(
    "name",
    [
        *("X-Api-Key", "Authorization", "Cookie", "X-Amz-Security-Token", "X-Signature", "X-Jwt", "Client-Assertion"),
        *("X-Bearer", "X-Credentials", "X-Passwd", "X-Passphrase", "X-Pwd", "X-Metabase-Session"),
        "x-vercel-protection-bypass",
    ],
)
def test_a_header_with_a_telling_name_is_shown_to_nobody(name: str) -> None:
    signed = evolve(model, headers={name: KEY, "X-Title": "app"})
    assert KEY.encode() not in pickle.dumps(signed)
    shown = repr(signed) + repr(request(signed, "Hi")) + repr(Request("GET", "http://a.example", ((name, KEY),)))
    assert KEY not in shown
    assert "'app'" in shown


def test_a_model_has_no_json() -> None:
    with pytest.raises(Misuse):
        to_json(model)


def test_a_model_is_a_value() -> None:
    again = openai_compatible("toy", base_url="http://127.0.0.1:9/v1", api_key=KEY, retry=None)
    assert (again, hash(again)) == (model, hash(model))
    assert len({model, again, evolve(model, seed=1)}) == 2


def test_what_can_be_asked_is_a_model() -> None:
    assert is_model(model)
    assert is_model(Toy())
    assert not is_model(Toy)
    assert not is_model(len)
    assert isinstance(Toy(), Model)
    assert isinstance(model, Model)


# -- what is told again --


def test_a_response_is_told_again_as_a_stream() -> None:
    call = ToolCall("1", "add", {"a": 1})
    broken = ToolCall("2", "add", broken='{"a":')
    response = Response((assistant(Thinking("Hm"), Thinking(), "", "Yes", call, Opaque("x"), broken),))
    names = [type(event).__name__ for event in retold(response)]
    assert names == ["ThinkingDelta", "TextDelta", "ToolCallDelta", "ToolCallDelta"]
    assert [getattr(event, "index", None) for event in retold(response)][2:] == [0, 1]
    assert [written(each) for each in (call, broken)] == ['{"a":1}', '{"a":']
    assert thread((response, "So?")) == (*response.messages, user("So?"))


def test_what_answers_in_place_of_a_model_is_heard_as_the_model_is() -> None:
    def shout(events: Any) -> Plan[None]:
        yield from Emit(tuple([TextDelta(event.text.upper()) for event in events]))

    def instead() -> Plan[Response]:
        yield from Emit((TextDelta("hi"),))
        return said("hi")

    world = World(listening=True)
    for hearing, word in (((shout,), "HI"), ((), "hi"), (None, "hi")):
        made = Asked(Toy(), Ask((user("Hi"),)), hearing)
        assert world.events(lambda: made.heard(instead())) == [TextDelta(word)]  # noqa: B023


# -- streams that are none --


@listening
def test_a_server_that_does_not_stream_is_understood(there: Provider, world: World) -> None:
    body = {"choices": [{"message": {"content": "Fine."}, "finish_reason": "stop"}]}
    text = json.dumps(body).encode()
    for pieces in ([text], [b"\xef\xbb", b"\xbf", b" \r\n\t", text[:1], text[1:]], [b"\n"] * 9 + [text]):
        for kind in ("application/json", "text/event-stream"):
            there.answers(Sent(pieces, kind=kind))
            events = world.events(lambda: stream.plan(there.model(), "Hi"))
            assert TextDelta("Fine.") in events
            assert events[-1].response.text == "Fine."  # type: ignore[union-attr]  # Finished comes last


@listening
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html><title>Sign in</title></html>", "an HTML page, 'Sign in'"),
        (b"\n\n <!doctype html>", "<!doctype html>"),
        (b"[1, 2]", "[1, 2]"),
        (b'{"choices": []}', "no choices"),
        (b'{"choices": [', "no JSON"),
    ],
)
def test_what_is_no_stream_says_what_came(there: Provider, world: World, body: bytes, why: str) -> None:
    there.answers(Sent([body], kind="text/html"))
    with pytest.raises(BadReply) as caught:
        streamed(world, there.model())
    assert why in str(caught.value)


@listening
@pytest.mark.parametrize("body", [b"", b"   \n", b"\xef\xbb\xbf", b"dat", b": comment\n\n"])
def test_a_stream_of_nothing_is_incomplete(there: Provider, world: World, body: bytes) -> None:
    there.answers(Sent([body] if body else []))
    with pytest.raises(StreamIncomplete):
        streamed(world, there.model())


@listening
@pytest.mark.parametrize("body", [b"Internal error", b"null", b"upstream said: no"])
def test_words_where_a_stream_was_asked_for_are_told(there: Provider, world: World, body: bytes) -> None:
    there.answers(Sent([body]))
    with pytest.raises(BadReply, match=body.decode()):
        streamed(world, there.model())


@listening
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/plain"])
@pytest.mark.parametrize("status", [400, 401, 404])
def test_an_error_is_an_error_where_a_stream_was_asked_for(
    there: Provider, world: World, kind: str, status: int
) -> None:
    bodies = [b'{"error": {"message": "no such thing"}}', b"no such thing", b'data: {"error": "no such thing"}\n\n']
    for body in bodies:
        there.answers(Sent([body], status, kind, headers=[("x-request-id", "req-7")]))
        with pytest.raises(ProviderError, match="no such thing") as caught:
            streamed(world, there.model())
        assert (caught.value.status, caught.value.request_id) == (status, "req-7")


# -- streams that break --


@listening
@pytest.mark.parametrize("cut", [False, True])
def test_a_stream_that_is_cut_holds_what_came(there: Provider, world: World, cut: bool) -> None:
    pieces = [chunk({"content": "Let me "}), chunk({"content": "see."}), piece(0, '{"a": 1', "c", "add")]
    there.answers(Sent(pieces, cut=cut, headers=[("x-request-id", "req-7")]))
    with pytest.raises(StreamIncomplete, match="the stream ended before the provider said") as caught:
        streamed(world, there.model())
    error = caught.value
    assert (error.partial.text, error.partial.tool_calls, error.partial.finish_reason) == ("Let me see.", (), "error")
    assert error.request_id == "req-7" or cut
    assert isinstance(error.__cause__, Unreachable) is cut


@listening
def test_what_was_complete_is_not_lost_with_the_connection(there: Provider, world: World) -> None:
    there.answers(Sent([chunk({"content": "Fine."}), chunk({}, "stop")], cut=True))
    assert streamed(world, there.model()).text == "Fine."


@listening
def test_a_stream_that_falls_silent_holds_what_came(world: World) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        peer.send(head + chunk({"content": "Once upon"}))
        peer.hung_up()

    def silence(pace: float) -> None:
        silent = evolve(model, base_url=server.url, timeout=0.3 * pace)
        with pytest.raises(TimedOut) as caught:
            streamed(world, silent)
        assert caught.value.partial.text == "Once upon"

    with serving(behave) as server:
        at_some_pace(silence)


@listening
def test_an_event_that_is_too_large_ends_a_stream_with_what_came(there: Provider, world: World) -> None:
    there.answers(Sent([chunk({"content": "Once"}), b"data: " + b"x" * 5000]))
    with pytest.raises(BadReply, match="max_body= of the model sets the limit"):
        streamed(world, there.model(max_body=1000))


@everywhere
def test_a_whole_reply_that_is_too_large_is_refused(there: Provider, world: World) -> None:
    there.answers(Sent([b" " * 900, b'{"choices": ["', b"x" * 5000]), whole(b"x" * 5000))
    asking: Callable[..., Plan[Response]] = stream.plan if world.listening else complete.plan
    for _ in range(2):
        with pytest.raises(BadReply, match="max_body="):
            world.run(lambda: asking(there.model(max_body=1000), "Hi"))


def test_without_a_driver_a_large_reply_is_refused_too() -> None:
    """A layer that answers in place of the world need not know of any limit."""
    small = evolve(model, max_body=1000)
    for pieces in ([b"{", b"x" * 2000], [b" " * 2000, b"{}"]):
        with pytest.raises(BadReply):
            streamed(World(listening=True), small, wired(pieces))


@listening
def test_a_stream_is_closed_when_it_has_ended(there: Provider, world: World) -> None:
    closed: list[Any] = []

    def on_close(effect: Close, _: Any) -> Plan[None]:
        closed.append(effect)
        yield from effect

    there.answers(Sent([chunk({"content": "Fine."}), chunk({}, "stop"), DONE]))
    assert streamed(world, there.model(), {Close: on_close}).text == "Fine."
    assert len(closed) == 1


@listening
def test_what_comes_after_the_end_is_not_told(there: Provider, world: World) -> None:
    there.answers(Sent([chunk({"content": "Fine."}) + chunk({}, "stop") + DONE + b"data: nonsense\n\n"]))
    assert streamed(world, there.model()).text == "Fine."


@listening
def test_what_fails_is_told_after_what_came_with_it(there: Provider, world: World) -> None:
    """One read brings words and an error: the words are told first."""
    told: list[Any] = []
    there.answers(Sent([chunk({"content": "Fi"}) + b'data: {"error": {"message": "broke", "code": 400}}\n\n']))

    def on_emit(effect: Emit, _: Any) -> Plan[None]:
        told.extend(effect.events)
        yield from effect

    with pytest.raises(BadRequest, match="broke"):
        streamed(world, there.model(), {Emit: on_emit})
    assert TextDelta("Fi") in told


# -- tokens --

HELLO = whole({"choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]})


async def later() -> str:
    return KEY


@everywhere
@pytest.mark.parametrize("token", [lambda: KEY, later], ids=["sync", "async"])
def test_a_token_is_got_for_each_call_and_seen_by_no_layer(there: Provider, world: World, token: Any) -> None:
    seen: list[Any] = []

    def watch(effect: Any, _: Where) -> Plan[Any]:
        answer = yield from effect
        seen.append(answer)
        return answer

    there.answers(
        whole({"choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]})
    )
    with using(layers=[{Call: watch}]):
        said = world.run(lambda: complete.plan(evolve(there.model(), token=token, api_key=None), "Hi"))
    assert said.text == "Hello."
    assert [repr(each) for each in seen if not isawaitable(each)] == ["Secret('***')"]


@everywhere
def test_a_token_that_does_not_come_is_bounded_by_the_deadline(world: World) -> None:
    waiting = threading.Event()

    def never() -> str:
        waiting.wait(SOON)
        return KEY

    def late(pace: float) -> None:
        with pytest.raises(TimedOut, match="token= gave no access token within"):
            world.run(lambda: complete.plan(evolve(model, token=never, deadline=0.2 * pace), "Hi"))

    try:
        at_some_pace(late)
    finally:
        waiting.set()


@everywhere
@pytest.mark.parametrize(
    ("token", "found"), [(lambda: "", "an empty one"), (lambda: 5, "int")], ids=["nothing", "a number"]
)
def test_what_is_no_token_is_refused(world: World, token: Any, found: str) -> None:
    with pytest.raises(Misuse, match=f"returns an access token, a string, not {found}$"):
        world.run(lambda: complete.plan(evolve(model, token=token), "Hi"))


def test_a_recording_holds_no_token_and_replays_without(there: Provider, tmp_path: Path) -> None:
    there.answers(
        whole({"choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]})
    )
    signed = evolve(there.model(), token=lambda: KEY)
    with recorded(tmp_path / "run.jsonl"):
        complete(signed, "Hi")
    assert KEY not in (tmp_path / "run.jsonl").read_text("utf-8")
    with replayed(tmp_path / "run.jsonl"):
        assert complete(signed, "Hi").text == "Hello."


@listening
def test_a_reply_that_begins_with_any_number_of_blank_lines_is_read(world: World) -> None:
    blank = [b"\n" * 4096] * 500
    answer = [chunk({"content": "Hello."}), chunk({}, "stop"), DONE]
    assert streamed(world, model, wired([b"\xef\xbb", b"\xbf", *blank, *answer])).text == "Hello."
    with pytest.raises(BadReply, match="max_body="):
        streamed(world, evolve(model, max_body=100_000), wired(blank))
