"""Embeddings on the wire: OpenAI's way, which most others have taken, and Google's three."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from attrs import frozen

from arshai_kit._record import Record
from arshai_kit.dialects.exchange import located, posted, rate_limits, under
from arshai_kit.dialects.failures import decoded, failure, request_id
from arshai_kit.effects import Reply, Request
from arshai_kit.errors import BadReply, Misuse
from arshai_kit.models import Endpoint
from arshai_kit.records import Usage
from arshai_kit.records.vectors import Embeddings, Vector

__all__ = ["BATCHED", "COMPATIBLE", "CONTENT", "OPENAI", "PREDICTED", "Batch", "VectorDialect"]


@frozen(eq=False, repr=False)
class Batch(Record):
    """Texts that go out in one request; *task* is what their vectors are for, as the provider calls it."""

    texts: tuple[str, ...]
    dimensions: int | None = None
    task: str = ""


@frozen(eq=False, repr=False)
class VectorDialect(Record):
    """A wire format for vectors: *build* makes the request, *parse* reads the vectors of a reply."""

    build: Callable[[Endpoint, Batch], Request]
    parse: Callable[[Endpoint, Batch, Reply], Embeddings]


_SMALL: Final = bytes([each for each in range(256) if each & 0x7F <= 0x48])
"""The highest bytes of floats below 2 to the power of 19, with either sign."""


class _Misfit(ValueError):
    """What came is no vectors."""


# OpenAI


def _asked(endpoint: Endpoint, batch: Batch, encoding: str) -> Request:
    body: dict[str, Any] = {"model": endpoint.name, "input": batch.texts}
    if batch.dimensions is not None:
        body["dimensions"] = batch.dimensions
    if encoding:
        body["encoding_format"] = encoding
    return posted(endpoint, under(located(endpoint), "/embeddings"), {**body, **endpoint.extra})


def _answered(endpoint: Endpoint, batch: Batch, reply: Reply) -> Embeddings:
    body = _body(endpoint, reply, "data")
    usage = _dict(body.get("usage"))
    before, total = _count(usage.get("prompt_tokens")), _count(usage.get("total_tokens"))
    vectors = partial(_listed, batch=batch)
    return _embeddings(endpoint, batch, reply, body, "data", vectors, _used(before, total), cost=_cost(usage))


def _listed(items: Sequence[Any], batch: Batch) -> list[Vector]:
    """The vectors of *items*, in the order of the texts, which theirs need not be."""
    told = [_dict(item) for item in items]
    indexes = [item.get("index") for item in told]
    if any(index is not None for index in indexes):
        placed = dict(zip(indexes, told, strict=True)) if all(type(index) is int for index in indexes) else {}
        if placed.keys() != set(range(len(told))):
            raise _Misfit("the vectors do not say which text each belongs to: an index is missing, or there twice")
        told = [placed[place] for place in range(len(told))]
    return [_vector(item.get("embedding"), batch.dimensions) for item in told]


def _vector(told: Any, dimensions: int | None) -> Vector:
    return _read(told, dimensions) if isinstance(told, str) else _numbers(told)


def _numbers(told: Any) -> Vector:
    if not isinstance(told, list) or not told:
        raise _Misfit("a vector is missing")
    return Vector.of(told)


def _read(text: str, dimensions: int | None) -> Vector:
    """The vector that *text* is the base64 of: numbers of four bytes, or of one, as its size or its look tells.

    Of small signed bytes every other one is negative, and would be the highest byte of an enormous float.
    """
    try:
        data = b64decode(text, validate=True)
    except ValueError:  # also of text that is no ASCII
        raise _Misfit("a vector is neither numbers nor base64") from None
    if not data:
        raise _Misfit("a vector is missing")
    floats = len(data) == 4 * dimensions if dimensions else len(data) % 4 == 0 and _plausible(data)
    return Vector(data).checked() if floats else Vector.of([each - 256 if each > 127 else each for each in data])


def _plausible(data: bytes) -> bool:
    """Whether all of *data*, as floats, are below half a million, as the highest bytes tell."""
    return not data[3::4].translate(None, _SMALL)


OPENAI = VectorDialect(partial(_asked, encoding="base64"), _answered)
"""Asks for base64, a quarter of the bytes, and exactly the number that the model gave."""
COMPATIBLE = VectorDialect(partial(_asked, encoding=""), _answered)
"""Asks for no encoding, which some servers refuse and others pass over; either is read."""


# Google


def _batch_asked(endpoint: Endpoint, batch: Batch) -> Request:
    from arshai_kit.dialects.gemini import path

    model = path(endpoint.name)
    own = _given(taskType=batch.task, outputDimensionality=batch.dimensions) | endpoint.extra
    each = [{"model": model, "content": _content(text), **own} for text in batch.texts]
    return posted(endpoint, _method(endpoint, "batchEmbedContents"), {"requests": each})


def _batch_answered(endpoint: Endpoint, batch: Batch, reply: Reply) -> Embeddings:
    body = _google_body(endpoint, reply, "embeddings")
    return _embeddings(endpoint, batch, reply, body, "embeddings", _values, _google_usage(body))


def _content_asked(endpoint: Endpoint, batch: Batch) -> Request:
    text, *others = batch.texts
    if others:
        raise Misuse(f"{endpoint.name} takes one text at a time: max_batch=1")
    own = _given(taskType=batch.task, outputDimensionality=batch.dimensions)
    body = {"content": _content(text), **({"embedContentConfig": own} if own else {})}
    return posted(endpoint, _method(endpoint, "embedContent"), _merged(body, endpoint.extra))


def _content_answered(endpoint: Endpoint, batch: Batch, reply: Reply) -> Embeddings:
    body = _google_body(endpoint, reply, "embedding")
    body["embedding"] = [body.get("embedding")]
    cut = (0,) if body.get("truncated") is True else ()
    return _embeddings(endpoint, batch, reply, body, "embedding", _values, _google_usage(body), truncated=cut)


def _predict_asked(endpoint: Endpoint, batch: Batch) -> Request:
    own, parameters = _given(task_type=batch.task), _given(outputDimensionality=batch.dimensions)
    body: dict[str, Any] = {"instances": [{"content": text, **own} for text in batch.texts]}
    body |= {"parameters": parameters} if parameters else {}
    return posted(endpoint, _method(endpoint, "predict"), _merged(body, endpoint.extra))


def _predict_answered(endpoint: Endpoint, batch: Batch, reply: Reply) -> Embeddings:
    body = _google_body(endpoint, reply, "predictions")
    told = [_dict(_dict(item).get("embeddings")) for item in _list(body.get("predictions"))]
    statistics = [_dict(item.get("statistics")) for item in told]
    body["predictions"] = told
    counts = [_count(each.get("token_count")) for each in statistics]
    known = [count for count in counts if count is not None]
    usage = _used(sum(known) if known and len(known) == len(counts) else None, None)
    cut = [place for place, each in enumerate(statistics) if each.get("truncated") is True]
    return _embeddings(endpoint, batch, reply, body, "predictions", _values, usage, truncated=cut)


def _values(items: Sequence[Any]) -> list[Vector]:
    return [_numbers(_dict(item).get("values")) for item in items]


def _method(endpoint: Endpoint, method: str) -> str:
    from arshai_kit.dialects.gemini import address

    return address(endpoint, method)


def _google_body(endpoint: Endpoint, reply: Reply, name: str) -> dict[str, Any]:
    """The body of *reply*, which has the field *name*; errors are Google's own."""
    from arshai_kit.dialects.gemini import refused, told

    if reply.status >= 300:
        raise refused(endpoint, reply)
    body = decoded(endpoint, reply)
    if not body.get(name) and body.get("error"):
        raise told(endpoint, body, headers=reply.headers)
    return body


def _content(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}]}


def _merged(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """*body* with *extra*, which wins; objects in both become one."""
    both = {name: {**body[name], **value} for name, value in extra.items() if _dict(value) and _dict(body.get(name))}
    return {**body, **extra, **both}


def _google_usage(body: Mapping[str, Any]) -> Usage:
    told = _dict(body.get("usageMetadata"))
    return _used(_count(told.get("promptTokenCount")), _count(told.get("totalTokenCount")))


BATCHED = VectorDialect(_batch_asked, _batch_answered)
"""`batchEmbedContents`, of the Gemini API."""
CONTENT = VectorDialect(_content_asked, _content_answered)
"""`embedContent`, of newer models on Vertex AI, which takes one text."""
PREDICTED = VectorDialect(_predict_asked, _predict_answered)
"""`predict`, of older models on Vertex AI."""


# What they share


def _body(endpoint: Endpoint, reply: Reply, name: str) -> dict[str, Any]:
    """The body of *reply*, which has the field *name*; an error may come with a status of success."""
    body = decoded(endpoint, reply)
    if not body.get(name) and body.get("error"):
        raise failure(endpoint, body, headers=reply.headers)
    return body


def _embeddings(
    endpoint: Endpoint,
    batch: Batch,
    reply: Reply,
    body: dict[str, Any],
    name: str,
    vectors: Callable[[Sequence[Any]], list[Vector]],
    usage: Usage,
    *,
    cost: Any = None,
    truncated: Iterable[int] = (),
) -> Embeddings:
    """What *reply* holds: the *vectors* of what its *body* lists under *name*, one for each text."""
    try:
        found = vectors(_list(body.get(name)))
        _check(found, batch)
    except (_Misfit, Misuse) as error:
        raise BadReply(str(error), status=reply.status, request_id=request_id(reply.headers)) from None
    return Embeddings(
        found,
        usage,
        cost,
        str(body.get("model") or ""),
        endpoint.provider,
        truncated,
        id=str(body.get("id") or ""),
        request_id=request_id(reply.headers),
        rate_limits=rate_limits(reply.headers),
        raw=[{key: value for key, value in body.items() if key != name}],
    )


def _check(vectors: list[Vector], batch: Batch) -> None:
    """See that *vectors* are what was asked for: a wrong one would be found by the wrong question, and nobody knew."""
    if len(vectors) != len(batch.texts):
        raise _Misfit(f"{len(batch.texts)} texts went out, and {len(vectors)} vectors came back")
    sizes = {len(vector) for vector in vectors}
    if len(sizes) > 1:
        raise _Misfit(f"the vectors have different dimensions: {', '.join(map(str, sorted(sizes)))}")
    if batch.dimensions is not None and sizes != {batch.dimensions}:
        raise _Misfit(f"vectors of {batch.dimensions} dimensions were asked for, and came with {sizes.pop()}")


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _used(before: int | None, total: int | None) -> Usage:
    """The tokens of a request, which are all input."""
    count = total if before is None else before
    return Usage.unknown() if count is None else Usage(count, total_tokens=count if total is None else total)


def _cost(usage: Mapping[str, Any]) -> Any:
    if not any("cost" in name for name in usage):
        return None
    from arshai_kit.dialects.chat._reply import cost  # much to import, for those few who tell

    return cost(usage)


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
