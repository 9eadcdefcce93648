"""Records: made from what people have at hand, frozen all the way down, and short to look at."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import traceback
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from time import struct_time
from types import MappingProxyType
from typing import Any

import attrs
import pytest
from attrs.exceptions import FrozenInstanceError
from hypothesis import given

from arshai_kit import (
    Audio,
    File,
    Finished,
    Image,
    Message,
    Opaque,
    PartialOutput,
    Response,
    Text,
    TextDelta,
    Thinking,
    ToolCall,
    ToolCallDelta,
    ToolProgress,
    ToolResult,
    ToolRun,
    ToolSpec,
    Usage,
    assistant,
    audio,
    file,
    image,
    system,
    tool_result,
    user,
)
from arshai_kit._json import FrozenDict, dumps, exact, freeze, loads
from arshai_kit.codec import RECORDS, from_json, to_json
from arshai_kit.effects import Request, Secret
from arshai_kit.errors import MissingKey, Misuse
from arshai_kit.models import Endpoint, Settings
from arshai_kit.providers import openai_compatible
from arshai_kit.records import tagged
from arshai_kit.testing import strategies

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)

# -- constructors --


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"BM\x3a\0\0\0\0\0\0\0", "image/bmp"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
    ],
)
def test_the_bytes_of_an_image_tell_its_type(data: bytes, kind: str) -> None:
    assert image(data) == Image(data, media_type=kind)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"OggS", "audio/ogg"),
        (b"fLaC", "audio/flac"),
    ],
)
def test_the_bytes_of_a_sound_tell_its_type(data: bytes, kind: str) -> None:
    assert audio(data) == Audio(data, media_type=kind)


@pytest.mark.parametrize(
    ("make", "kind", "other"), [(image, "image/tiff", "text/x-python"), (audio, "audio/aac", "image/png")]
)
@pytest.mark.parametrize("data", [b"no magic at all", b"RIFF\0\0\0\0AVI LIST", b"BMW makes cars"])
def test_bytes_that_do_not_tell_what_they_are_want_a_type(make: Any, kind: str, other: str, data: bytes) -> None:
    with pytest.raises(Misuse, match="pass media_type="):
        make(data)
    assert (
        make(bytearray(data), media_type=kind) == make(data, media_type=kind) == make(memoryview(data), media_type=kind)
    )
    assert make(data, media_type=kind).media_type == kind
    with pytest.raises(Misuse, match=f"^{other} is no {make.__name__}"):
        make(data, media_type=other)


@pytest.mark.parametrize("make", [image, file, audio])
def test_what_is_empty_or_nothing_is_refused(make: Any, tmp_path: Path) -> None:
    empty = tmp_path / "cat.png"
    empty.touch()
    for source, where in ((b"", "the bytes"), ("data:image/png;base64,", "the data: URL"), (empty, "cat.png")):
        with pytest.raises(Misuse, match=f"nothing in {where}"):
            make(source, media_type="image/png")
    with pytest.raises(Misuse, match="a NoneType is not taken: pass a path, bytes"):
        make(None)


@pytest.mark.parametrize("kind", [Image, File, Audio])
def test_an_address_that_is_signed_is_not_shown(kind: Any) -> None:
    told = repr(kind(url="https://me:hush@x.example/cat.png?size=3&X-Amz-Signature=hush&token=hush"))
    assert "hush" not in told
    assert "x.example/cat.png?size=3" in told
    assert len(repr(kind(url="https://x.example/" + "a" * 9999))) < 200


def test_a_path_is_read_at_once(tmp_path: Path) -> None:
    """A record holds the bytes: what happens to the file later does not matter."""
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF-1.7")
    made = file(path)
    path.unlink()
    assert made == File(b"%PDF-1.7", media_type="application/pdf", name="report.pdf")


def test_a_name_tells_the_type_where_the_bytes_do_not(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("a,b")
    assert file(str(path)).media_type == "text/csv"
    (tmp_path / "notes").write_text("a,b")
    assert file(tmp_path / "notes").media_type == "application/octet-stream"


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"missing\.png' cannot be read: No such file"):
        image(tmp_path / "missing.png")
    with pytest.raises(Misuse, match="cannot be read: Is a directory"):
        file(tmp_path)


@pytest.mark.parametrize("address", ["ftp://me:hush@a.example/a.png", "file:///hush.png", "HTTPS://a.example/hush"])
@pytest.mark.parametrize("make", [image, file, audio])
def test_an_address_of_another_kind_is_refused_with_the_kinds_there_are(make: Any, address: str) -> None:
    scheme = address.partition("/")[0]
    with pytest.raises(
        Misuse, match=f"^{scheme}// is not taken: pass a path, bytes, .* http://, https://, gs:// or"
    ) as out:
        make(address)
    assert "hush" not in str(out.value)
    with pytest.raises(Misuse, match=r"'C://a\.png' cannot be read"):  # that is a path
        make("C://a.png")


@pytest.mark.parametrize("address", ["https://example.org/a.png", "http://example.org/a", "gs://b/a", "s3://b/a"])
def test_an_address_is_kept_and_not_fetched(address: str) -> None:
    assert image(address) == Image(url=address)
    assert file(address, name="a.pdf") == File(url=address, name="a.pdf")
    assert audio(address, media_type="audio/ogg") == Audio(url=address, media_type="audio/ogg")


def test_a_data_url_becomes_its_bytes() -> None:
    text = base64.b64encode(PNG).decode()
    assert image(f"data:image/png;base64,{text}") == Image(PNG, media_type="image/png")
    assert image(f"data:;base64,{text}") == Image(PNG, media_type="image/png")
    assert file("data:text/plain,a%20b") == File(b"a b", media_type="text/plain")
    assert image(f"data:image/png;base64,{text}", media_type="image/x-icon").media_type == "image/x-icon"


def test_a_data_url_that_holds_no_base64_is_refused() -> None:
    with pytest.raises(Misuse, match="does not hold base64"):
        image("data:image/png;base64,%%%")


def test_what_is_said_wins_over_what_is_guessed() -> None:
    made = image(PNG, media_type="image/apng", detail="low")
    assert made == Image(PNG, media_type="image/apng", detail="low")


def test_messages_are_made_of_words_and_parts() -> None:
    assert system("Be brief.") == Message("system", (Text("Be brief."),))
    assert user("What is", "this?", image(PNG)).parts == (Text("What is"), Text("this?"), image(PNG))
    assert assistant("Hello").text == "Hello"
    assert Message("user", "Hello") == user("Hello")
    assert Message("user", [Text("Hello")]) == user("Hello")


def test_a_message_shows_its_parts_by_kind() -> None:
    call = ToolCall("c1", "add")
    message = assistant(Thinking("Hm. "), Thinking("So."), "One ", call, "two")
    assert (message.text, message.reasoning, message.tool_calls) == ("One two", "Hm. So.", (call,))


def test_a_result_names_its_call() -> None:
    call = ToolCall("c1", "add", {"a": 1})
    assert tool_result(call, "3") == Message("tool", (ToolResult("c1", "add", "3"),))
    assert tool_result("c1", "3", name="add", is_error=True) == Message("tool", (ToolResult("c1", "add", "3", True),))
    assert tool_result(call, (image(PNG),), name="plus").parts[0] == ToolResult("c1", "plus", (image(PNG),))


def test_a_response_shows_its_final_message() -> None:
    call = ToolCall("c1", "add")
    first = assistant(Thinking("Hm."), call)
    last = assistant(Opaque("refusal", "No."), "Sorry.")
    response = Response([first, tool_result(call, "3"), last])
    assert response.messages == (first, tool_result(call, "3"), last)
    assert (response.message, response.text, response.refusal) == (last, "Sorry.", "No.")
    assert (response.reasoning, response.tool_calls) == ("", ())
    assert Response((first,)).reasoning == "Hm."
    assert Response((first,)).tool_calls == (call,)
    assert Response((first, tool_result(call, "3"))).message == first
    assert Response(()).message == Message("assistant")


def test_events_are_tagged_by_who_tells_them() -> None:
    assert tagged(TextDelta("a"), "desk").path == "desk"
    assert tagged(tagged(TextDelta("a"), "technical"), "desk").path == "desk/technical"


# -- frozen all the way down --


@given(strategies.json_objects())
def test_json_in_a_record_can_neither_change_nor_be_changed_from_outside(value: dict[str, Any]) -> None:
    call = ToolCall("c1", "add", value)
    before = copy.deepcopy(call)
    value["more"] = [1]
    assert call == before
    changes: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("update", ({"a": 1},)),
        ("clear", ()),
        ("__setitem__", ("a", 1)),
    )
    for name, arguments in changes:
        with pytest.raises(TypeError, match="frozen"):
            getattr(call.arguments, name)(*arguments)


def test_every_record_is_frozen() -> None:
    run = ToolRun(ToolCall("c1", "add"))
    for record in (user("x"), Text("x"), Usage(), Response(()), TextDelta("x"), ToolSpec("x"), run):
        with pytest.raises(FrozenInstanceError):
            record.whatever = 1  # type: ignore[union-attr]  # that is the point
        with pytest.raises(FrozenInstanceError):
            setattr(record, attrs.fields(type(record))[0].name, "y")


def test_what_is_mutable_is_frozen_on_entry() -> None:
    spec = ToolSpec("add", "", {"type": "object", "required": ["a"]}, ("1+2?", {"a": [1]}))
    assert hash(spec) == hash(ToolSpec("add", "", {"required": ("a",), "type": "object"}, ("1+2?", {"a": (1,)})))
    assert hash(Opaque("x", [1, {"a": []}])) == hash(Opaque("x", (1, {"a": ()})))
    assert hash(PartialOutput({"a": [1]})) == hash(PartialOutput({"a": (1,)}))
    assert hash(Usage(missing={"input_tokens"})) == hash(Usage(missing=frozenset({"input_tokens"})))


def test_what_tools_and_agents_return_is_compared_and_not_hashed() -> None:
    call = ToolCall("c1", "add")
    assert ToolProgress(call, [1]) != ToolProgress(call, [2])
    assert hash(ToolProgress(call, [1])) == hash(ToolProgress(call, [2]))
    assert Response((), output=[1]) != Response((), output=[2])
    assert hash(Response((), output=[1])) == hash(Response((), output={}))


def test_the_raw_body_and_the_seconds_are_outside_equality() -> None:
    assert Response((), raw={"a": 1}) == Response((), raw=None)
    assert hash(Response((), raw={"a": 1})) == hash(Response(()))
    assert ToolRun(ToolCall("c1", "add"), seconds=1) == ToolRun(ToolCall("c1", "add"), seconds=2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), [1, {"a": float("-inf")}]])
def test_what_is_no_number_is_no_json(bad: Any) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        ToolCall("c1", "add", {"a": bad})


@pytest.mark.parametrize("bad", [object(), {1: 2}, b"x", {1, 2}, Decimal(1), [print]])
def test_what_json_cannot_say_is_refused(bad: Any) -> None:
    with pytest.raises(Misuse, match=r"is not JSON|a key of a JSON object is a string"):
        freeze(bad)


def test_what_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append({"a": circle})
    with pytest.raises(ValueError, match="circular"):
        freeze(circle)


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_two_hundred_levels_are_deep_enough() -> None:
    assert freeze(_nested(200))
    with pytest.raises(ValueError, match="200 levels"):
        freeze(_nested(201))


def test_subclasses_of_plain_types_become_plain() -> None:
    """A word from an enumeration, a number from a library: what is kept is JSON, and pickles anywhere."""

    class Number(int): ...

    class Share(float): ...

    class Word(str):
        __slots__ = ()

    frozen = freeze([Number(1), Share(0.5), Word("a"), True])
    assert frozen == (1, 0.5, "a", True)
    assert [type(each) for each in frozen] == [int, float, str, bool]


def test_mappings_of_other_kinds_are_frozen_too() -> None:
    assert freeze(MappingProxyType({"a": [1]})) == {"a": (1,)}
    assert freeze(OrderedDict(b=1, a=(2,))) == {"b": 1, "a": (2,)}

    class Own(FrozenDict):
        __slots__ = ()

    assert freeze(Own(a=1)) == {"a": 1}
    assert freeze([struct_time(range(9))]) == (tuple(range(9)),)
    with pytest.raises(Misuse, match="a key of a JSON object is a string, not int"):
        freeze(MappingProxyType({1: 2}))


def test_a_frozen_mapping_is_a_mapping() -> None:
    made = freeze({"a": {"b": [1]}})
    assert made == {"a": {"b": (1,)}}
    assert freeze(made) is made
    assert {**made, "c": 1} == {"a": {"b": (1,)}, "c": 1}
    assert pickle.loads(pickle.dumps(made)) == made
    assert copy.copy(made) is copy.deepcopy(made) is made
    assert hash(made) == hash(freeze({"a": {"b": [1]}}))
    with pytest.raises(TypeError):
        made |= {"c": 1}


def test_equal_mappings_have_equal_hashes_whatever_their_order() -> None:
    assert hash(FrozenDict(a=1, b=2)) == hash(FrozenDict(b=2, a=1))


# -- JSON --


@given(strategies.json_values())
def test_json_is_written_and_read_exactly(value: Any) -> None:
    """Numbers of any size, letters of any kind."""
    assert exact(dumps(value).decode()) == json.loads(dumps(value)) == value


def test_json_that_no_parser_takes_is_refused() -> None:
    for bad in ("NaN", "[Infinity]", "-Infinity", "{", "", "[1,]", "nul"):
        with pytest.raises(ValueError):  # noqa: PT011  # each says something else
            loads(bad)
    with pytest.raises(ValueError, match="nested too deep"):
        loads("[" * 100_000)
    with pytest.raises(ValueError, match="1e999 is not JSON"):
        loads("1e999")


def test_half_a_letter_survives() -> None:
    """Models and tools do send lone surrogates; nothing is lost by it."""
    assert loads(dumps({"a": "\ud83d"})) == {"a": "\ud83d"}


# -- short to look at --


def test_only_what_differs_from_the_default_is_shown() -> None:
    assert repr(TextDelta("Hello")) == "TextDelta('Hello')"
    assert repr(Usage(1, 2)) == "Usage(1, output_tokens=2)"
    assert repr(Settings(temperature=0)) == "Settings(temperature=0)"
    assert repr(Usage.__new__(Usage)) == "Usage()"  # half made, as a traceback may show it
    assert repr(Usage(1, 2, total_tokens=9)) == "Usage(1, output_tokens=2, total_tokens=9)"
    assert repr(ToolCallDelta(0, call=ToolCall("c1", "add"))) == "ToolCallDelta(0, call=ToolCall('c1', name='add'))"
    assert repr(Finished(Response((assistant("Hi"),), raw={"a": 1}))) == (
        "Finished(Response((Message('assistant', parts=(Text('Hi'),)),)))"
    )


def test_long_text_is_cut() -> None:
    assert repr(Text("one two " * 50)) == f"Text({'one two ' * 10!r}… (400 characters))"
    assert len(repr(ToolCall("c1", "add", {str(n): "some words" for n in range(1000)}))) < 500


@pytest.mark.parametrize(
    "record",
    [
        image(PNG * 50),
        Image(url="data:image/png;base64," + base64.b64encode(PNG * 50).decode()),
        Thinking("", state={"signature": base64.b64encode(PNG * 50).decode()}),
        Opaque("encrypted", [base64.b64encode(PNG * 5).decode()]),
        Text(base64.urlsafe_b64encode(bytes(range(256))).decode()),
        user(file(PNG * 50)),
    ],
)
def test_bytes_and_base64_are_counted_and_not_shown(record: Any) -> None:
    shown = repr(record)
    assert len(shown) < 160
    assert base64.b64encode(PNG)[:10].decode() not in shown
    assert "AAAAAAAA" not in shown
    assert "AAECAwQF" not in shown
    assert "bytes>" in shown or "characters" in shown


@given(strategies.messages() | strategies.responses() | strategies.events() | strategies.tool_specs())
def test_every_record_prints_short(record: Any) -> None:
    assert repr(record).startswith(f"{type(record).__name__}(")
    assert len(repr(record)) < 4000


# -- secrets --

KEY = "sk-very-secret-1234567890"


def _model() -> Endpoint:
    headers = (("x-api-key", KEY), ("x-team", Secret(KEY)))
    return openai_compatible("m", base_url="http://localhost", api_key=KEY, headers=headers)


def test_a_secret_shows_in_no_text() -> None:
    secret = Secret(KEY)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>30}", format(secret), repr([secret, {"a": secret}])]
    assert all(KEY not in text for text in shown)
    assert secret.reveal() == KEY


def test_a_secret_is_in_no_pickle_and_no_json() -> None:
    secret = Secret(KEY)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert KEY.encode() not in pickle.dumps([secret, _model()], protocol)
    with pytest.raises(MissingKey, match="give it again"):
        pickle.loads(pickle.dumps(secret)).reveal()
    for write in (json.dumps, dumps):
        with pytest.raises(TypeError):
            write({"key": secret})
    with pytest.raises(Misuse, match="Secret has no JSON"):
        to_json(secret)


def test_a_secret_is_not_looked_into_by_what_walks_records() -> None:
    """`attrs.asdict`, and what a tool that returns its model would tell another model."""
    assert KEY not in repr(attrs.asdict(_model(), recurse=True))
    assert KEY not in repr(attrs.astuple(_model(), recurse=True))
    from arshai_kit.schema import unstructured

    with pytest.raises(ValueError, match="'Secret' cannot be written"):
        unstructured({"key": Secret(KEY)})
    with pytest.raises(TypeError):
        vars(Secret(KEY))


def test_a_secret_is_a_value() -> None:
    assert Secret(KEY) == Secret(KEY) != Secret("other")
    assert hash(Secret(KEY)) == hash(Secret(KEY))
    assert Secret(KEY) != KEY
    assert copy.copy(_model()) == copy.deepcopy(_model()) == _model()
    with pytest.raises(AttributeError, match="does not change"):
        Secret(KEY).value = "x"


def test_no_key_is_in_what_prints_a_model_or_a_request() -> None:
    request = Request("POST", "http://localhost", (("authorization", Secret(f"Bearer {KEY}")),), b"{}")
    for shown in (repr(_model()), str(_model()), repr(request)):
        assert KEY not in shown
        assert "http://localhost" in shown


def test_no_key_is_in_a_traceback_that_shows_local_variables() -> None:
    def fails(model: Endpoint) -> None:
        key = model.api_key
        raise ValueError(f"{key} {model}")

    try:
        fails(_model())
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "model = " in shown
    assert KEY not in shown


# -- every record is in the codec --


def test_every_record_has_its_json() -> None:
    """A record that is added to `records` is added to the codec."""
    from arshai_kit import records

    kinds = {name for name in records.__all__ if attrs.has(getattr(records, name))}
    assert kinds <= set(RECORDS)
    assert set(RECORDS) - kinds == {"Ask", "Embeddings", "OutputSpec", "Settings", "Vector"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: user(5),  # type: ignore[arg-type]  # what is wrong is what is tested
        lambda: user(["a", 5]),  # type: ignore[arg-type]  # as above
        lambda: Message("user", {"text": "a"}),
        lambda: Message("boss", ()),
        lambda: system(5),  # type: ignore[arg-type]  # as above
        lambda: ToolCall("1", "add", [1]),
        lambda: ToolCall("1", "add", None),
        lambda: tool_result("1", {"a": 1}),  # type: ignore[arg-type]  # as above
    ],
)
def test_what_no_message_can_hold_is_refused_at_once(make: Callable[[], object]) -> None:
    with pytest.raises(Misuse):
        make()


def test_keys_in_an_address_do_not_show() -> None:
    request = Request("POST", "https://me:pass@example.org/v1?key=sk-1&a=2", (("api-key", "sk-2"), ("accept", "x")))
    assert "pass@" not in repr(request)
    assert "sk-" not in repr(request)
    assert "a=2" in repr(request)
    model = openai_compatible("m", base_url="https://example.org/v1?key-id=sk-1")
    assert "sk-1" not in repr(model)


def test_only_usages_are_added_and_only_text_is_read() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        Usage(1) + 3  # type: ignore[operator]
    with pytest.raises(Misuse, match="from_json takes the text that to_json wrote, not NoneType"):
        from_json(None)  # type: ignore[arg-type]
