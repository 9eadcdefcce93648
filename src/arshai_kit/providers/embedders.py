"""Embedders are values, as models are: a name, an address and a key."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, TypedDict, Unpack

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.dialects.vectors import BATCHED, COMPATIBLE, CONTENT, OPENAI, PREDICTED, Batch, VectorDialect
from arshai_kit.effects import Plan, Secret
from arshai_kit.errors import MissingKey, Misuse
from arshai_kit.models import Dialect, Endpoint, Token
from arshai_kit.providers.common import Headers, address, chosen_key, named, pairs
from arshai_kit.records.vectors import Embeddings, Kind
from arshai_kit.retry import Retry

__all__ = [
    "EmbedderOptions",
    "Manner",
    "RemoteEmbedder",
    "azure_embedder",
    "gemini_embedder",
    "openai_compatible_embedder",
    "openai_embedder",
]

_OPENAI: Final = "https://api.openai.com/v1"
_GOOGLE: Final = "https://generativelanguage.googleapis.com/v1beta"
_BYTES_PER_TOKEN: Final = 3
"""About as many in every language: four in English, three in Chinese or Persian, where a token is a shorter word."""


class EmbedderOptions(TypedDict, total=False):
    """What every constructor of an embedder takes: how much goes into one request, and how it is asked.

    *max_batch* is the most texts of one request and *max_bytes* the most bytes of their UTF-8, *query_prefix* and
    *document_prefix* stand before each text of that kind, as some models want it. *extra* is merged into the body of
    each request, where it wins. The others are those of a model.
    """

    max_batch: int
    max_bytes: int | None
    query_prefix: str
    document_prefix: str
    extra: Mapping[str, Any]
    timeout: float
    connect_timeout: float
    deadline: float
    max_body: int
    retry: Retry | int | None


@frozen(eq=False, repr=False)
class Manner(Record):
    """How a provider is told what texts are for: by a *prefix* to each, or by the name of a *task*."""

    prefix: str = ""
    task: str = ""


def _count(_: Any, spot: Any, value: Any) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise Misuse(f"{spot.name}= is a whole number above zero, not {value!r}")


_PLAIN: Final = Manner()


@frozen(eq=False, repr=False)
class RemoteEmbedder(Record):
    """An embedder that speaks HTTP: *model* says where it lives and with which key, *dialect* how it is asked.

    `evolve(embedder, retry=5)` changes what is *model*'s, too.
    """

    model: Endpoint
    dialect: VectorDialect = field(repr=False)
    dimensions: int | None = field(default=None, validator=_count)
    max_batch: int = field(default=32, validator=_count)
    max_bytes: int | None = field(default=None, validator=_count)
    plain: Manner = _PLAIN
    query: Manner = _PLAIN
    document: Manner = _PLAIN

    @property
    def name(self) -> str:
        """What the provider calls it."""
        return self.model.name

    @property
    def provider(self) -> str:
        """Who provides it."""
        return self.model.provider

    def embed(self, texts: Sequence[str], *, kind: Kind = None) -> Plan[Embeddings]:
        """The vectors of *texts*, in one request."""
        manner = {"query": self.query, "document": self.document}.get(kind or "", self.plain)
        batch = Batch(tuple([manner.prefix + text for text in texts]), self.dimensions, manner.task)
        build, parse = self.dialect.build, self.dialect.parse
        return self.model.exchange(
            lambda endpoint: build(endpoint, batch), lambda endpoint, reply: parse(endpoint, batch, reply)
        )


def openai_embedder(
    name: str,
    *,
    dimensions: int | None = None,
    base_url: str | None = None,
    api_key: str | Secret | None = None,
    headers: Headers = (),
    **options: Unpack[EmbedderOptions],
) -> RemoteEmbedder:
    """An embedding model of OpenAI; the key is in `OPENAI_API_KEY`, the address may be in `OPENAI_BASE_URL`.

    With *dimensions*, newer models give shorter vectors, with the length 1 all the same.

    >>> openai_embedder("text-embedding-3-small", dimensions=512, api_key="sk-1").dimensions
    512
    """
    how: dict[str, Any] = {"base_url": base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI, "headers": headers}
    how["api_key"] = _needed(chosen_key(api_key, "OPENAI_API_KEY"), api_key, "OPENAI_API_KEY")
    return _made(name, OPENAI, dimensions, {**_LIMITS, **options}, provider="openai", **how)


def azure_embedder(
    deployment: str,
    *,
    endpoint: str | None = None,
    dimensions: int | None = None,
    api_version: str | None = None,
    api_key: str | Secret | None = None,
    token: Token | None = None,
    headers: Headers = (),
    **options: Unpack[EmbedderOptions],
) -> RemoteEmbedder:
    """An embedding model at your address on Azure, by the name of its *deployment*.

    *endpoint* is as in `https://NAME.openai.azure.com`, by default `AZURE_OPENAI_ENDPOINT`; the key is in
    `AZURE_OPENAI_API_KEY`, or *token* gives one of Entra ID. With an *api_version*, the dated address is used.

    >>> azure_embedder("embed", endpoint="https://me.openai.azure.com", api_key="1").model.base_url
    'https://me.openai.azure.com/openai/v1'
    """
    where = endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT", "")
    if not where:
        raise Misuse("endpoint= (or AZURE_OPENAI_ENDPOINT) is the address of your Azure resource")
    how: dict[str, Any] = {"base_url": _azure(address(where), deployment, api_version), "headers": headers}
    if token is None:
        key = _needed(chosen_key(api_key, "AZURE_OPENAI_API_KEY"), api_key, "AZURE_OPENAI_API_KEY")
        how |= {"api_key": key, "key_header": "api-key"}
    return _made(deployment, OPENAI, dimensions, {**_LIMITS, **options}, provider="azure", token=token, **how)


def openai_compatible_embedder(
    name: str,
    *,
    base_url: str,
    dimensions: int | None = None,
    api_key: str | Secret | None = None,
    headers: Headers = (),
    provider: str = "openai-compatible",
    **options: Unpack[EmbedderOptions],
) -> RemoteEmbedder:
    """An embedding model behind any server that speaks as OpenAI does: Ollama, vLLM, Mistral, OpenRouter, …

    Without *api_key* the environment's `OPENAI_COMPATIBLE_API_KEY` counts, and without that no key is sent. A request
    has at most 32 texts, which nearly every server takes; *max_batch* says otherwise.

    >>> openai_compatible_embedder("nomic-embed-text", base_url="http://localhost:11434/v1", api_key="",
    ...     query_prefix="search_query: ", document_prefix="search_document: ").query
    Manner('search_query: ')
    """
    key = chosen_key(api_key, "OPENAI_COMPATIBLE_API_KEY")
    how: dict[str, Any] = {"base_url": base_url, "api_key": key, "headers": headers, "provider": provider}
    return _made(name, COMPATIBLE, dimensions, {**_limits(32, 16_000), **options}, **how)


def gemini_embedder(
    name: str,
    *,
    dimensions: int | None = None,
    task: str = "",
    project: str | None = None,
    location: str = "global",
    token: Token | None = None,
    base_url: str | None = None,
    api_key: str | Secret | None = None,
    headers: Headers = (),
    **options: Unpack[EmbedderOptions],
) -> RemoteEmbedder:
    """An embedding model of Google: by key on the Gemini API, or on Vertex AI in a *project* and *location*.

    The key is in `GOOGLE_API_KEY` or `GEMINI_API_KEY`; on Vertex AI, *token* gives an access token. The kind of a text
    becomes the task type that Google knows for it; *task* is another for all texts (`CLUSTERING`, …), which
    `gemini-embedding-2` takes in words (`clustering`). Vectors of `gemini-embedding-001` that *dimensions* shortens
    do not have the length 1: `Vector.normalised()` gives it to them.

    >>> gemini_embedder("gemini-embedding-001", project="mine", token=lambda: "t").max_batch
    1
    """
    name = named(name).removeprefix("models/")
    manners = _by_words(task) if name.startswith("gemini-embedding-2") else _by_name(task)
    how: dict[str, Any] = {"provider": "gemini", "headers": headers}
    if project is None and token is None:
        key = chosen_key(api_key, "GOOGLE_API_KEY") or chosen_key(api_key, "GEMINI_API_KEY")
        how |= {"api_key": _needed(key, api_key, "GOOGLE_API_KEY"), "key_header": "x-goog-api-key"}
        dialect, limits, how["base_url"] = BATCHED, _limits(100, None), base_url or _GOOGLE
    else:
        (dialect, limits), how["token"] = _on_vertex(name), _tokens(token)
        how["base_url"] = base_url or _vertex(project, location)
    return _made(name, dialect, dimensions, {**limits, **options}, manners, **how)


def _limits(texts: int, tokens: int | None) -> EmbedderOptions:
    return {"max_batch": texts, "max_bytes": None if tokens is None else tokens * _BYTES_PER_TOKEN}


_LIMITS: Final = _limits(2048, 300_000)


def _made(
    name: str,
    dialect: VectorDialect,
    dimensions: int | None,
    options: EmbedderOptions,
    manners: tuple[Manner, Manner, Manner] = (_PLAIN, _PLAIN, _PLAIN),
    **how: Any,
) -> RemoteEmbedder:
    """The embedder of all this; what of *options* is its own does not go to its model."""
    unknown = options.keys() - EmbedderOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(EmbedderOptions.__annotations__)
        raise Misuse(f"an embedder has no option {', '.join(sorted(unknown))}; known are {known}")
    given: dict[str, Any] = {**how, **options}
    own = {each: given.pop(each) for each in ("max_batch", "max_bytes")}
    plain, query, document = manners
    query = Manner(given.pop("query_prefix", query.prefix), query.task)
    document = Manner(given.pop("document_prefix", document.prefix), document.task)
    given |= {"base_url": address(given["base_url"]), "headers": pairs(given["headers"])}
    model = Endpoint(name=named(name), dialect=_SILENT, **given)
    return RemoteEmbedder(model, dialect, dimensions, **own, plain=plain, query=query, document=document)


def _needed(key: Secret | None, given: str | Secret | None, variable: str) -> Secret | None:
    """*key*, if there is one, or it was said that there is none."""
    if key is None and given is None:
        raise MissingKey(f"there is no API key: pass api_key= or set {variable}")
    return key


def _azure(endpoint: str, deployment: str, api_version: str | None) -> str:
    base = endpoint.rstrip("/").removesuffix("/openai/v1").removesuffix("/openai")
    if api_version is None:
        return f"{base}/openai/v1"
    return f"{base}/openai/deployments/{named(deployment)}?api-version={api_version}"


def _vertex(project: str | None, location: str) -> str:
    if not project:
        raise Misuse("project= is the id of your project on Vertex AI, which a token belongs to")
    host = "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
    return f"https://{host}/v1/projects/{project}/locations/{location}"


def _on_vertex(name: str) -> tuple[VectorDialect, EmbedderOptions]:
    """How the model *name* is asked on Vertex AI: those of Gemini take one text at a time."""
    if "gemini" not in name:
        return PREDICTED, _limits(250, 20_000)
    return (PREDICTED if name.endswith("-001") else CONTENT), _limits(1, None)


def _tokens(token: Token | None) -> Token:
    if token is None:
        raise MissingKey("Vertex AI takes access tokens: pass token=, a function that returns one")
    return token


def _by_name(task: str) -> tuple[Manner, Manner, Manner]:
    """The manners of models that know names of tasks."""
    query, document = [Manner(task=task or f"RETRIEVAL_{kind}") for kind in ("QUERY", "DOCUMENT")]
    return Manner(task=task), query, document


def _by_words(task: str) -> tuple[Manner, Manner, Manner]:
    """The manners of models that are told in the text itself what it is for."""
    if task:
        told = Manner(f"task: {task} | query: ")
        return told, told, told
    return _PLAIN, Manner("task: search result | query: "), Manner("title: none | text: ")


def _no_answer(*_: Any) -> NoReturn:
    raise Misuse("an embedder answers no questions: embed(embedder, texts) gives vectors")


_SILENT: Final = Dialect(_no_answer, _no_answer, _no_answer, _no_answer)
