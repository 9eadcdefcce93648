"""Vectors come in the order of their texts, however they are asked for, and are the numbers that were sent."""

from __future__ import annotations

import base64
import copy
import json
import math
import pickle
import struct
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any
from zlib import crc32

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import aio, complete, using
from arshai_kit.dialects.vectors import BATCHED, CONTENT, OPENAI, PREDICTED, Batch
from arshai_kit.effects import Call, Plan, Reply, Secret, Step, Where
from arshai_kit.embeddings import (
    Embedder,
    EmbeddingProgress,
    Embeddings,
    Texts,
    Vector,
    batches,
    embed,
    joined,
    similarity,
)
from arshai_kit.errors import BadReply, BadRequest, MissingKey, Misuse, ProviderError, RateLimited, Unauthorized
from arshai_kit.faces import awaiting
from arshai_kit.models import evolve as evolved
from arshai_kit.providers import (
    azure_embedder,
    gemini_embedder,
    openai_compatible,
    openai_compatible_embedder,
    openai_embedder,
)
from arshai_kit.providers.embedders import RemoteEmbedder
from arshai_kit.records import Usage
from arshai_kit.retry import Retry
from arshai_kit.testing import hashed_embedder, recorded, replayed
from tests.core.worlds import World, everywhere
from tests.laws.provider import KEY, Provider, Sent, provider, whole

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = st.lists(floats, min_size=1, max_size=8).map(Vector.of)
texts = st.lists(st.text(min_size=1, max_size=8), max_size=20)


@pytest.fixture(scope="module")
def living() -> Iterator[Provider]:
    with provider() as found:
        yield found


@pytest.fixture
def toy(living: Provider) -> Provider:
    """A provider of vectors, which knows the text `bad` and refuses it, but not as too long."""
    living.asked.clear()
    living.answering = answering()
    return living


def numbers(text: str) -> list[float]:
    """The vector of *text*, in numbers that are exact in 32 bits."""
    return [crc32(text.encode("utf-8", "surrogatepass")) % 4096 / 64 + 1, len(text), -0.5]


def answering(most: int = 10**9, *, encoded: bool = False, refusal: str = "at most {} texts") -> Any:
    """A provider that takes *most* texts at a time, and tells the vectors in an order of its own."""

    def answer(asked: dict[str, Any]) -> Sent:
        given = asked["input"]
        if "bad" in given:
            return whole({"error": {"message": "that is no language"}}, 400)
        if len(given) > most:
            return whole({"error": {"message": refusal.format(most)}}, 400)
        told = [{"index": place, "embedding": sent(text, encoded=encoded)} for place, text in enumerate(given)]
        tokens = sum(map(len, given))
        return whole({"data": told[::-1], "model": "toy-1", "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})

    return answer


def sent(text: str, *, encoded: bool) -> Any:
    return base64.b64encode(struct.pack("<3f", *numbers(text))).decode() if encoded else numbers(text)


def remote(toy: Provider, **options: Any) -> RemoteEmbedder:
    return openai_compatible_embedder("toy-1", base_url=toy.address, api_key=KEY, **{"retry": None, **options})


def expected(given: Sequence[str]) -> Embeddings:
    """What the provider above makes of *given*."""
    tokens = sum(map(len, given))
    cost = None if given else Decimal(0)
    names = ("toy-1", "openai-compatible") if given else ("", "")
    return Embeddings([Vector.of(numbers(text)) for text in given], Usage(tokens), cost, *names)


# -- vectors --


@given(st.lists(floats, max_size=20))
def test_a_vector_is_its_numbers_to_the_bit(values: list[float]) -> None:
    vector = Vector.of(values)
    assert list(vector) == values == [vector[place] for place in range(len(vector))]
    assert vector == Vector(base64.b64decode(base64.b64encode(vector.data))) == Vector.of(vector)
    assert [math.copysign(1, each) for each in vector] == [math.copysign(1, each) for each in values]
    assert vector == pickle.loads(pickle.dumps(vector)) == copy.deepcopy(vector)
    assert hash(vector) == hash(pickle.loads(pickle.dumps(vector)))


@given(st.lists(floats, max_size=9), st.slices(9))
def test_a_part_of_a_vector_is_that_of_its_numbers(values: list[float], part: slice) -> None:
    assert Vector.of(values)[part] == Vector.of(values[part])


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-3e38, max_value=3e38))
def test_numbers_are_rounded_as_32_bits_round_them(value: float) -> None:
    assert Vector.of([value])[0] == struct.unpack("<f", struct.pack("<f", value))[0]


def test_a_vector_is_a_sequence_that_does_not_change() -> None:
    vector = Vector.of((1, 2, 3, 4, 1))
    assert (vector[-1], vector.index(3), vector.count(1), 2 in vector) == (1, 2, 2, True)
    assert repr(vector) == "Vector(1, 2, 3, … 5 in all)"
    with pytest.raises(IndexError):
        vector[5]
    with pytest.raises(AttributeError):
        vector.data = b""  # type: ignore[misc]


def test_a_vector_says_where_its_numbers_lie() -> None:
    vector = Vector.of((1.5, -2))
    told = vector.__array_interface__
    assert told["data"] is vector.data
    assert (told["shape"], told["typestr"]) == ((2,), "<f4")


@pytest.mark.needs("numpy")
def test_numpy_reads_a_vector_where_it_lies() -> None:
    import numpy as np

    vector = Vector.of((1.5, -2))
    array = np.asarray(vector)
    assert array.dtype == np.float32
    assert array.tolist() == [1.5, -2]
    assert not array.flags.writeable
    assert not array.flags.owndata
    assert np.asarray(Embeddings([vector, vector]).vectors).shape == (2, 2)


@pytest.mark.parametrize("values", [[1e39], [math.nan], [math.inf], ["1"], [None], [10**400]])
def test_what_is_no_number_of_32_bits_is_in_no_vector(values: Any) -> None:
    with pytest.raises(Misuse, match="a vector"):
        Vector.of(values)


def test_the_largest_numbers_are_numbers() -> None:
    assert Vector.of([3.4e38, -3.4e38]).checked()[0] > 3e38


@pytest.mark.parametrize("data", [b"abc", "abcd", bytearray(4)])
def test_a_vector_is_made_of_whole_numbers_of_bytes(data: Any) -> None:
    with pytest.raises(Misuse, match=r"Vector\.of"):
        Vector(data)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8))
def test_a_vector_that_is_normalised_has_the_length_1_or_is_nothing(values: list[float]) -> None:
    vector = Vector.of(values)
    length = math.sqrt(sum(each * each for each in vector.normalised()))
    assert length == pytest.approx(1, rel=1e-5) if any(values) and max(map(abs, values)) > 1e-30 else length < 1.1


@given(vectors, vectors)
def test_likeness_is_between_minus_1_and_1_and_mutual(one: Vector, other: Vector) -> None:
    if len(one) != len(other):
        with pytest.raises(Misuse, match="dimensions"):
            similarity(one, other)
    else:
        assert -1.001 <= similarity(one, other) == similarity(other, one) <= 1.001


parts = st.builds(
    Embeddings,
    st.lists(vectors, max_size=3),
    st.builds(Usage, st.integers(0, 9)),
    st.none() | st.decimals(0, 9, places=3),
    st.sampled_from(["", "m"]),
    truncated=st.lists(st.integers(0, 2), max_size=1),
)


@given(parts, parts, parts)
def test_joining_is_associative(one: Embeddings, two: Embeddings, three: Embeddings) -> None:
    assert joined((joined((one, two)), three)) == joined((one, joined((two, three)))) == joined((one, two, three))
    assert joined((one,)) == one == pickle.loads(pickle.dumps(one))
    assert hash(joined((one,))) == hash(one)


# -- batches --

limits = st.none() | st.integers(1, 30)


@given(texts, limits, limits)
def test_batches_are_the_texts_in_order_within_the_limits(
    given: list[str], count: int | None, size: int | None
) -> None:
    found = list(batches(given, count, size))
    assert [text for _, part in found for text in part] == given
    assert all(list(part) == given[place : place + len(part)] for place, part in found)
    for _, part in found:
        assert part
        assert count is None or len(part) <= count
        assert size is None or len(part) == 1 or sum(len(text.encode()) for text in part) <= size


@given(texts, limits, limits)
def test_batches_are_within_the_tokens_that_were_counted(given: list[str], many: int | None, most: int | None) -> None:
    found = [part for _, part in batches(given, many, None, most, lambda text: 2 * len(text))]
    assert [text for part in found for text in part] == given
    assert all(most is None or len(part) == 1 or 2 * sum(map(len, part)) <= most for part in found)
    for part, after in pairwise(found):  # none is smaller than it must be
        longer = [*part, after[0]]
        assert (many and len(longer) > many) or (most and 2 * sum(map(len, longer)) > most)


def test_a_request_holds_the_tokens_that_its_embedder_counts(toy: Provider) -> None:
    embed(remote(toy, max_batch_tokens=4, count=len), ["abc", "d", "ef", "ghijk"], side_by_side=1)
    assert [asked["input"] for asked in toy.asked] == [["abc", "d"], ["ef"], ["ghijk"]]
    toy.asked.clear()
    embed(remote(toy, max_batch_tokens=2), ["abc", "de", "f"], side_by_side=1)
    assert [asked["input"] for asked in toy.asked] == [["abc", "de"], ["f"]]
    for wrong in ({"count": 3}, {"max_batch_tokens": 0}):
        with pytest.raises(Misuse, match=r"count=|above zero"):
            remote(toy, **wrong)


@everywhere
def test_progress_is_told_as_it_comes(world: World, toy: Provider) -> None:
    told: list[EmbeddingProgress] = []
    toy.answering = answering(3)
    given = [f"text {number}" for number in range(10)]
    world.run(lambda: embed.plan(remote(toy, max_batch=4), given, side_by_side=2, progress=told.append))
    assert told == [EmbeddingProgress(done, 10) for done in (4, 8, 10)]


@given(texts, limits, limits, st.integers(1, 5))
def test_splitting_never_changes_the_result(given: list[str], count: int | None, size: int | None, beside: int) -> None:
    at_once = embed(hashed_embedder(dimensions=8), given)
    split = hashed_embedder(dimensions=8, max_batch=count, max_bytes=size)
    assert embed(split, given, side_by_side=beside) == at_once
    assert [embed(split, text)[0] for text in given] == list(at_once)


@pytest.mark.parametrize("encoded", [False, True])
@given(given=texts.map(lambda found: [text for text in found if text != "bad"]), most=st.integers(1, 8), own=limits)
def test_order_is_kept_whatever_the_provider_refuses_and_how_it_tells(
    living: Provider, encoded: bool, given: list[str], most: int, own: int | None
) -> None:
    living.answering = answering(most, encoded=encoded)
    assert embed(remote(living, **({"max_batch": own} if own else {})), given) == expected(given)


@everywhere
def test_every_world_gives_the_same(world: World, toy: Provider) -> None:
    given = [f"text {number}" for number in range(23)]
    toy.answering = answering(3)
    embedder = remote(toy, max_batch=5)
    assert world.run(lambda: embed.plan(embedder, given, kind="query", side_by_side=3)) == expected(given)
    assert sorted(text for asked in toy.asked if len(asked["input"]) <= 3 for text in asked["input"]) == sorted(given)


@pytest.mark.anyio
async def test_the_awaiting_face(toy: Provider) -> None:
    assert await awaiting(embed)(remote(toy), "one") == expected(["one"])
    assert await aio.run(embed, remote(toy, max_batch=1), ("one", "two")) == expected(["one", "two"])


@everywhere
def test_a_recorded_run_gives_the_same_vectors_and_asks_nothing(world: World, toy: Provider, tmp_path: Path) -> None:
    given = ["a", "b", "c", "d", "e"]
    toy.answering = answering(2)
    with recorded(tmp_path / "run.jsonl"):
        first = world.run(lambda: embed.plan(remote(toy, max_batch=3), given))
    toy.asked.clear()
    with replayed(tmp_path / "run.jsonl"):
        assert world.run(lambda: embed.plan(remote(toy, max_batch=3), given)) == first == expected(given)
    assert toy.asked == []


REFUSALS = (
    "batch size 100 > maximum allowed batch size 32",
    "batch size is invalid, it should not be larger than 10",
    "Too many tokens in batch. Max is 16384 got 17555",
    "Requested 416735 tokens, max 300000 tokens per request",
    "at most 100 requests can be in one batch",
    "5 instance(s) is allowed per prediction. Actual: 6",
    "Please reduce the length of the input",
)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_request_that_the_provider_finds_too_large_is_halved(toy: Provider, refusal: str) -> None:
    toy.answering = answering(2, refusal=refusal)
    assert embed(remote(toy), ["a", "b", "c", "d", "e"]) == expected(["a", "b", "c", "d", "e"])
    assert [len(asked["input"]) for asked in toy.asked] == [5, 2, 3, 1, 2]


@pytest.mark.parametrize("body", [b"<html><title>413 Request Entity Too Large</title></html>", b""])
def test_a_status_alone_says_that_it_is_too_large(toy: Provider, body: bytes) -> None:
    inner = answering()
    toy.answering = lambda asked: whole(body, 413) if len(asked["input"]) > 1 else inner(asked)
    assert embed(remote(toy), ["a", "b"]) == expected(["a", "b"])


def test_a_reply_that_is_too_large_is_asked_for_in_halves(toy: Provider) -> None:
    assert embed(remote(toy, max_body=400), [str(number) for number in range(20)])[19] == Vector.of(numbers("19"))
    assert len(toy.asked) > 3


def test_a_text_that_is_too_long_alone_is_named(toy: Provider) -> None:
    inner = answering()
    refused = whole({"error": {"message": "maximum context length is 8192 tokens"}}, 400)
    toy.answering = lambda asked: refused if "long" in asked["input"] else inner(asked)
    with pytest.raises(BadRequest, match="maximum context") as caught:
        embed(remote(toy), ["a", "b", "long", "d"])
    assert caught.value.__notes__ == ["of text 2"]
    assert caught.value.partial == expected(["a", "b"])


@frozen
class Lengths:
    """The least that an embedder can be: no limits, and vectors of one number."""

    name: str = "lengths"
    provider: str = "me"
    dimensions: int | None = 1
    lost: int = 0
    max_batch: int | None = None

    def embed(self, texts: Sequence[str], *, kind: Any) -> Plan[Embeddings]:
        yield from ()
        return Embeddings([Vector.of([len(text)]) for text in texts[self.lost :]])


# -- what fails --


@everywhere
def test_an_error_has_the_vectors_of_all_texts_before_it(world: World, toy: Provider) -> None:
    given = [*[f"text {number}" for number in range(7)], "bad", *["more"] * 200]
    with pytest.raises(BadRequest, match="no language") as caught:
        world.run(lambda: embed.plan(remote(toy, max_batch=2), given, side_by_side=2))
    assert caught.value.partial == expected(given[:6])
    assert caught.value.__notes__ == ["of texts 6 to 7"]
    assert pickle.loads(pickle.dumps(caught.value)).partial == caught.value.partial


def test_nothing_is_asked_once_a_request_has_failed(toy: Provider) -> None:
    with pytest.raises(BadRequest):
        embed(remote(toy, max_batch=1), ["a", "bad", *["more"] * 20], side_by_side=1)
    assert [asked["input"] for asked in toy.asked] == [["a"], ["bad"]]


def test_a_request_is_tried_again_as_the_model_says(toy: Provider) -> None:
    inner, busy = answering(), [whole({"error": {"message": "busy"}}, 429, ("retry-after", "0"))]
    toy.answering = lambda asked: busy.pop() if busy else inner(asked)
    assert embed(remote(toy, retry=Retry.times(1)), "one") == expected(["one"])
    busy[:] = [whole({}, 429), whole({}, 429)]
    with pytest.raises(RateLimited):
        embed(remote(toy, retry=None), "one")


def test_a_wrong_key_is_no_reason_to_halve(toy: Provider) -> None:
    toy.answering = lambda _: whole({"error": {"message": "maximum of keys exceeded in this batch"}}, 401)
    with pytest.raises(Unauthorized):
        embed(remote(toy), ["a", "b"])
    assert len(toy.asked) == 1


def data(*items: Any, **more: Any) -> dict[str, Any]:
    return {"data": list(items), **more}


def item(embedding: Any, **more: Any) -> dict[str, Any]:
    return {"embedding": embedding, **more}


NAN = base64.b64encode(struct.pack("<3f", 1, math.nan, 2)).decode()

WRONG: tuple[tuple[Any, str], ...] = (
    (data(item([1.0])), "2 texts went out, and 1 vectors came back"),
    (data(), "2 texts went out, and 0"),
    ({}, "2 texts went out, and 0"),
    (data(item([1.0]), item([1.0]), item([1.0])), "and 3 vectors"),
    (data(item([1.0], index=0), item([1.0], index=0)), "index"),
    (data(item([1.0], index=1), item([1.0], index=2)), "index"),
    (data(item([1.0], index=0), item([1.0])), "index"),
    (data(item([1.0], index="0"), item([1.0], index="1")), "index"),
    (data(item([1.0]), item([1.0, 2.0])), "different dimensions: 1, 2"),
    (data(item([1.0]), item([])), "missing"),
    (data(item([1.0]), item("")), "missing"),
    (data(item([1.0]), item(None)), "missing"),
    (data(item([1.0]), None), "missing"),
    (data(item([1.0]), item(["1"])), "numbers"),
    (data(item([1.0]), item([1e300])), "numbers"),
    (data(item("!!!!"), item("!!!!")), "neither numbers nor base64"),
    (b"<html><title>Welcome</title></html>", "an HTML page, 'Welcome'"),
)


@pytest.mark.parametrize(("body", "why"), WRONG)
def test_what_is_no_answer_to_all_texts_is_refused(toy: Provider, body: Any, why: str) -> None:
    toy.answering = lambda _: whole(body, 200, ("x-request-id", "req_1"))
    with pytest.raises(BadReply, match=why) as caught:
        embed(remote(toy), ["a", "b"])
    assert (caught.value.request_id, caught.value.status) == ("req_1", 200)
    assert caught.value.partial == joined(())


def test_nan_is_refused_where_the_size_is_known(toy: Provider) -> None:
    toy.answering = lambda _: whole(data(item(NAN)))
    with pytest.raises(BadReply, match="NaN"):
        embed(remote(toy, dimensions=3), "a")


def test_a_server_that_passes_over_the_dimensions_is_noticed(toy: Provider) -> None:
    with pytest.raises(BadReply, match="vectors of 2 dimensions were asked for, and came with 3"):
        embed(remote(toy, dimensions=2), "a")


def test_an_error_may_come_with_a_status_of_success(toy: Provider) -> None:
    toy.answering = lambda _: whole({"error": {"message": "the model is loading", "code": 503}})
    with pytest.raises(ProviderError, match="loading") as caught:
        embed(remote(toy), "a")
    assert caught.value.status == 503


def test_vectors_without_an_index_are_in_order(toy: Provider) -> None:
    toy.answering = lambda _: whole(data(item([1]), item([2]), item([3])))
    assert [vector[0] for vector in embed(remote(toy), ["a", "b", "c"])] == [1, 2, 3]


@given(st.binary(min_size=256, max_size=256), st.booleans())
def test_a_byte_may_be_a_number(living: Provider, raw: bytes, known: bool) -> None:
    """Bytes are told from floats by how many there are, or by what they look like as floats."""
    raw = b"\x7f\xff\xff\x7f" + raw[4:]
    living.answering = lambda _: whole(data(item(base64.b64encode(raw).decode())))
    (vector,) = embed(remote(living, **({"dimensions": 256} if known else {})), "a")
    assert list(vector) == list(struct.unpack("256b", raw))


def test_usage_cost_and_what_headers_tell_are_kept(toy: Provider) -> None:
    usage = {"prompt_tokens": 3, "total_tokens": 3, "cost": {"total_cost": 1.2e-08, "currency": "USD"}}
    body = data(item([1.0]), usage=usage, model="m", id="emb-1", extra="kept")
    toy.answering = lambda _: whole(body, 200, ("x-request-id", "r"), ("x-ratelimit-limit-tokens", "9"))
    got = embed(remote(toy, max_batch=1), ["a", "b"])
    assert (got.usage, got.cost, got.model, got.id, got.request_id) == (Usage(6), Decimal("2.4E-8"), "m", "emb-1", "r")
    assert got.rate_limits[0].limit == 9
    assert got.raw == ({"usage": usage, "model": "m", "id": "emb-1", "extra": "kept"},) * 2


def test_usage_that_nobody_told_is_unknown(toy: Provider) -> None:
    toy.answering = lambda _: whole(data(item([1.0])))
    assert not embed(remote(toy), "a").usage.reported
    toy.answering = lambda _: whole(data(item([1.0]), usage={"total_tokens": 4}))
    assert embed(remote(toy), "a").usage == Usage(4)


@everywhere
def test_nothing_is_asked_after_a_failure_while_a_text_before_it_is_waited_for(world: World) -> None:
    begun, failed = list[str](), Event()

    class Slow(Lengths):
        def embed(self, texts: Sequence[str], *, kind: Any) -> Plan[Embeddings]:
            begun.extend(texts)
            if texts == ("slow",):
                yield from Call(failed.wait, 20)
            if texts == ("bad",):
                failed.set()
                raise ProviderError("no")
            return (yield from super().embed(texts, kind=kind))

    slow: Any = Slow(max_batch=1)
    with pytest.raises(ProviderError) as caught:
        world.run(lambda: embed.plan(slow, ["slow", "bad", "more", "more"], side_by_side=2))
    assert begun == ["slow", "bad"]
    assert len(caught.value.partial) == 1


# -- what is passed in --


def test_nothing_is_asked_for_no_texts(toy: Provider) -> None:
    assert embed(remote(toy), []) == embed(remote(toy), iter(())) == Embeddings(cost=Decimal(0))
    assert toy.asked == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "text 0 is empty"),
        (["a", "b", "", "c"], "text 2 is empty"),
        (["a", b"b"], "text 1 is no text but bytes"),
        (b"a", "not bytes"),
        ({"a": 1}, "not dict"),
        (None, "not NoneType"),
        (7, "not int"),
    ],
)
def test_what_cannot_be_a_vector_is_refused_and_named(toy: Provider, given: Any, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        embed(remote(toy), given)
    assert toy.asked == []


def test_other_mistakes_are_refused() -> None:
    one: Any = hashed_embedder()
    with pytest.raises(Misuse, match="'documents'"):
        embed(one, "a", kind="documents")  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="side_by_side"):
        embed(one, "a", side_by_side=0)
    with pytest.raises(Misuse, match="'text-embedding-3-small'"):
        embed("text-embedding-3-small", "a")  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="not Endpoint"):
        embed(openai_compatible("m", base_url="http://localhost", api_key=""), "a")  # type: ignore[arg-type]


# -- embedders of one's own, and layers --


def test_an_embedder_of_ones_own_needs_little() -> None:
    own: Any = Lengths()
    assert [vector[0] for vector in embed(own, ["a", "bb"])] == [1, 2]
    with pytest.raises(BadReply, match="2 texts went to lengths, 1 came back"):
        embed(Lengths(lost=1), ["a", "bb"])  # type: ignore[arg-type]
    assert all(isinstance(each, Embedder) for each in (hashed_embedder(), openai_embedder("m", api_key="k")))


def test_each_request_is_a_step_that_a_layer_may_answer() -> None:
    seen: list[Texts] = []

    def answered(step: Step[Any], _: Where) -> Plan[Any]:
        assert (step.kind, step.name) == ("embed", "hashed")
        seen.append(step.input)
        return (yield from step)

    with using(layers=[{Step: answered}]):
        embed(hashed_embedder(max_batch=2), ["a", "b", "c"], kind="document")
    assert seen == [Texts(("a", "b"), "document", 0), Texts(("c",), "document", 2)]


def test_hashed_vectors_are_the_same_for_ever() -> None:
    (vector,) = embed(hashed_embedder(dimensions=4), "snow in May")
    assert [round(each, 4) for each in vector] == SNOW
    assert embed(hashed_embedder(dimensions=4), ["!"])[0] != Vector.of([0] * 4)
    assert embed(hashed_embedder(), "a b").usage == Usage(2)


SNOW = [-0.1826, 0.0, -0.3651, 0.9129]


# -- constructors --


def body(embedder: RemoteEmbedder, *texts: str, task: str = "") -> dict[str, Any]:
    """What *embedder* would send for *texts*."""
    request = embedder.dialect.build(embedder.model, Batch(texts, embedder.dimensions, task))
    found: dict[str, Any] = json.loads(request.content)
    return found


def url(embedder: RemoteEmbedder) -> str:
    return embedder.dialect.build(embedder.model, Batch(("a",))).url


def token() -> str:
    return "token-1"


def test_what_openai_is_sent() -> None:
    embedder = openai_embedder("small", dimensions=256, api_key="sk-1", extra={"user": "ann"})
    assert url(embedder) == "https://api.openai.com/v1/embeddings"
    assert body(embedder, "a", "b") == {
        "model": "small",
        "input": ["a", "b"],
        "dimensions": 256,
        "encoding_format": "base64",
        "user": "ann",
    }
    assert body(openai_embedder("small", api_key="sk-1", extra={"encoding_format": "float"}), "a") == {
        "model": "small",
        "input": ["a"],
        "encoding_format": "float",
    }
    assert (embedder.name, embedder.provider, embedder.max_batch, embedder.dialect) == ("small", "openai", 2048, OPENAI)
    assert "sk-1" not in repr(embedder)


def test_what_azure_is_sent() -> None:
    where: Any = {"endpoint": "https://me.openai.azure.com/", "api_key": "k"}
    assert url(azure_embedder("mine", **where)) == "https://me.openai.azure.com/openai/v1/embeddings"
    dated = azure_embedder("mine", api_version="2024-10-21", **where)
    assert url(dated) == "https://me.openai.azure.com/openai/deployments/mine/embeddings?api-version=2024-10-21"
    assert dict(dated.dialect.build(dated.model, Batch(("a",))).headers)["api-key"] == Secret("k")
    assert azure_embedder("mine", endpoint=where["endpoint"], token=token).model.token is token


def test_what_gemini_is_sent() -> None:
    embedder = gemini_embedder("models/gemini-embedding-001", dimensions=768, api_key="k", extra={"title": "Rivers"})
    assert url(embedder).endswith("/v1beta/models/gemini-embedding-001:batchEmbedContents")
    assert body(embedder, "a", task="RETRIEVAL_QUERY")["requests"] == [
        {
            "model": "models/gemini-embedding-001",
            "content": {"parts": [{"text": "a"}]},
            "taskType": "RETRIEVAL_QUERY",
            "outputDimensionality": 768,
            "title": "Rivers",
        }
    ]
    assert (embedder.dialect, embedder.max_batch) == (BATCHED, 100)
    assert (embedder.query.task, embedder.document.task, embedder.plain.task) == (
        "RETRIEVAL_QUERY",
        "RETRIEVAL_DOCUMENT",
        "",
    )


def test_what_vertex_is_sent() -> None:
    where: Any = {"project": "p", "location": "europe-west4", "token": token, "dimensions": 256}
    predicted = gemini_embedder("text-embedding-005", extra={"parameters": {"autoTruncate": False}}, **where)
    root = "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/publishers/google"
    assert url(predicted) == f"{root}/models/text-embedding-005:predict"
    assert body(predicted, "a", task="CLUSTERING") == {
        "instances": [{"content": "a", "task_type": "CLUSTERING"}],
        "parameters": {"outputDimensionality": 256, "autoTruncate": False},
    }
    newer = gemini_embedder("gemini-embedding-2", **where)
    assert url(newer) == f"{root}/models/gemini-embedding-2:embedContent"
    assert body(newer, "a") == {
        "content": {"parts": [{"text": "a"}]},
        "embedContentConfig": {"outputDimensionality": 256},
    }
    assert (predicted.max_batch, newer.max_batch, gemini_embedder("gemini-embedding-001", **where).max_batch) == (
        250,
        1,
        1,
    )
    assert (predicted.dialect, newer.dialect) == (PREDICTED, CONTENT)
    with pytest.raises(Misuse, match="max_batch=1"):
        body(newer, "a", "b")


def test_kinds_become_what_the_provider_knows(toy: Provider) -> None:
    embedder = remote(toy, query_prefix="query: ", document_prefix="passage: ")
    for kind in ("query", "document", None):
        embed(embedder, "x", kind=kind)
    assert [asked["input"] for asked in toy.asked] == [["query: x"], ["passage: x"], ["x"]]
    newer = gemini_embedder("gemini-embedding-2", api_key="k")
    assert newer.query.prefix == "task: search result | query: "
    assert newer.document.prefix == "title: none | text: "
    assert gemini_embedder("gemini-embedding-2", api_key="k", query_prefix="").query.prefix == ""
    assert gemini_embedder("gemini-embedding-001", api_key="k", task="CLUSTERING").document.task == "CLUSTERING"


def google(body: Any, embedder: RemoteEmbedder, toy: Provider, *texts: str) -> Embeddings:
    toy.answering = lambda _: whole(body)
    return embed(evolved(embedder, base_url=toy.address, retry=None), texts)


def test_what_vertex_cut_is_told(toy: Provider) -> None:
    where: Any = {"project": "p", "token": token}
    told = [{"values": [1], "statistics": {"token_count": 2, "truncated": cut}} for cut in (False, True)]
    predicted = evolve(gemini_embedder("text-embedding-005", **where), max_batch=2)
    got = google({"predictions": [{"embeddings": each} for each in told]}, predicted, toy, *"abcd")
    assert (got.truncated, got.usage) == ((1, 3), Usage(8))
    assert not google({"predictions": [{"embeddings": {"values": [1]}}]}, predicted, toy, "a").usage.reported
    newer = gemini_embedder("gemini-embedding-2", **where)
    got = google({"embedding": {"values": [1]}, "truncated": True}, newer, toy, "a")
    assert (got.truncated, got.provider) == ((0,), "vertex")
    with pytest.raises(BadReply, match="missing"):
        google({}, newer, toy, "a")
    with pytest.raises(BadReply, match="1 texts went out"):
        google({"embeddings": None}, gemini_embedder("gemini-embedding-001", api_key="k"), toy, "a")


def test_keys_and_addresses_are_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "g")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://me.openai.azure.com")
    monkeypatch.setenv("OPENAI_API_KEY", "o")
    made = (gemini_embedder("m"), azure_embedder("m"), openai_embedder("m"))
    assert [each.model.api_key for each in made] == [Secret("g"), Secret("a"), Secret("o")]
    monkeypatch.setenv("GOOGLE_API_KEY", "first")
    assert gemini_embedder("m").model.api_key == Secret("first")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for make, variable in ((gemini_embedder, "GOOGLE_API_KEY"), (openai_embedder, "OPENAI_API_KEY")):
        with pytest.raises(MissingKey, match=variable):
            make("m")
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    with pytest.raises(Misuse, match="project="):
        gemini_embedder("m", token=token)
    with pytest.raises(Misuse, match="no option temperature"):
        openai_embedder("m", api_key="k", temperature=1)  # type: ignore[call-arg]
    for wrong in ({"max_batch": 0}, {"dimensions": -1}, {"max_bytes": 1.5}):
        with pytest.raises(Misuse, match="above zero"):
            openai_embedder("m", api_key="k", **wrong)
    with pytest.raises(Misuse, match="query_prefix= and document_prefix= are text, not None"):
        openai_embedder("m", api_key="k", query_prefix=None)  # type: ignore[arg-type]


def test_google_tells_errors_of_embeddings_as_those_of_answers() -> None:
    details = [{"reason": "API_KEY_INVALID"}, {"retryDelay": "7s"}]
    told = {"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT", "details": details}}
    embedder = gemini_embedder("gemini-embedding-001", api_key="k")
    batch = Batch(("a",))
    for dialect in (BATCHED, CONTENT, PREDICTED):
        for status in (400, 200):
            with pytest.raises(Unauthorized) as caught:
                dialect.parse(embedder.model, batch, Reply(status, (), json.dumps(told).encode()))
            assert (caught.value.code, caught.value.retry_after) == ("INVALID_ARGUMENT", 7.0)
        with pytest.raises(Misuse, match="no name of a model"):
            dialect.build(evolved(embedder.model, name="../x"), batch)


def test_text_that_is_no_base64_is_no_vector() -> None:
    embedder = openai_embedder("m", api_key="k")
    body = json.dumps({"data": [{"embedding": "é"}]}).encode()
    with pytest.raises(BadReply, match="neither numbers nor base64"):
        OPENAI.parse(embedder.model, Batch(("a",)), Reply(200, (), body))


def test_an_embedder_is_a_value() -> None:
    embedder = openai_embedder("m", api_key="k", dimensions=8)
    assert evolved(embedder, retry=5, dimensions=4).model.retry == 5
    assert evolved(embedder, dimensions=4).dimensions == 4
    assert embedder == openai_embedder("m", api_key="k", dimensions=8)
    assert pickle.loads(pickle.dumps(embedder)).max_bytes == embedder.max_bytes
    with pytest.raises(Misuse, match="is a model"):
        complete(embedder, "Hello")  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="answers no questions"):
        complete(embedder.model, "Hello")
