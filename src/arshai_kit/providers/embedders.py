"""Embedders are values, as models are: a name, an address and a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypedDict, Unpack

from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.dialects.vectors import BATCHED, COMPATIBLE, CONTENT, OPENAI, PREDICTED, Batch, VectorDialect
from arshai_kit.effects import Plan, Secret
from arshai_kit.errors import Misuse
from arshai_kit.models import Dialect, Endpoint, Token
from arshai_kit.providers.azure import azure
from arshai_kit.providers.common import Headers
from arshai_kit.providers.compatible import openai_compatible
from arshai_kit.providers.gemini import Credentials, gemini
from arshai_kit.providers.openai import openai
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

_BYTES_PER_TOKEN: Final = 3
"""About as many in every language: four in English, three in Chinese or Persian, where a token is a shorter word."""
_OWN: Final = ("max_batch", "max_bytes", "max_batch_tokens", "count", "query_prefix", "document_prefix")


class EmbedderOptions(TypedDict, total=False):
    """What every constructor of an embedder takes: how much goes into one request, and how it is asked.

    *max_batch* is the most texts of one request, *max_bytes* the most bytes of their UTF-8, and *max_batch_tokens* the
    most tokens, as *count* counts those of a text. *query_prefix* and *document_prefix* stand before each text of that
    kind, as some models want it. *extra* is merged into the body of each request, where it wins. The others are those
    of a model.
    """

    max_batch: int
    max_bytes: int | None
    max_batch_tokens: int | None
    count: Callable[[str], int]
    query_prefix: str
    document_prefix: str
    extra: Mapping[str, Any]
    timeout: float
    connect_timeout: float
    deadline: float
    max_body: int
    retry: Retry | int | None


def _text(_: Any, spot: Any, value: Any) -> None:
    if not isinstance(value, str):
        name = "query_prefix= and document_prefix= are" if spot.name == "prefix" else "task= is"
        raise Misuse(f"{name} text, not {value!r}; leave it out for none")


@frozen(eq=False, repr=False)
class Manner(Record):
    """How a provider is told what texts are for: by a *prefix* to each, or by the name of a *task*."""

    prefix: str = field(default="", validator=_text)
    task: str = field(default="", validator=_text)


def _count(_: Any, spot: Any, value: Any) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise Misuse(f"{spot.name}= is a whole number above zero, not {value!r}")


def _counts(_: Any, __: Any, value: Any) -> None:
    if not callable(value):
        raise Misuse(f"count= is a function that counts the tokens of a text, not {value!r}")


def estimated_tokens(text: str) -> int:
    """About how many tokens *text* has: a third of its bytes, which is on the safe side in most languages.

    >>> estimated_tokens("it may rain")
    4
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


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
    max_batch_tokens: int | None = field(default=None, validator=_count)
    count: Callable[[str], int] = field(default=estimated_tokens, repr=False, validator=_counts)

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
        manner = self._manner(kind)
        batch = Batch(tuple([manner.prefix + text for text in texts]), self.dimensions, manner.task)
        build, parse = self.dialect.build, self.dialect.parse
        return self.model.exchange(
            lambda endpoint: build(endpoint, batch), lambda endpoint, reply: parse(endpoint, batch, reply)
        )

    def keyed(self, kind: Kind) -> Any:
        """What the vector of a text depends on besides the names and the dimensions, as JSON."""
        manner = self._manner(kind)
        return [self.model.base_url, self.model.extra, manner.prefix, manner.task]

    def _manner(self, kind: Kind) -> Manner:
        return {"query": self.query, "document": self.document}.get(kind or "", self.plain)


def openai_embedder(
    name: str,
    *,
    dimensions: int | None = None,
    base_url: str | None = None,
    api_key: str | Secret | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: Headers = (),
    **options: Unpack[EmbedderOptions],
) -> RemoteEmbedder:
    """An embedding model of OpenAI's; address and key are found as those of `openai`.

    With *dimensions*, newer models give shorter vectors, with the length 1 all the same.

    >>> openai_embedder("text-embedding-3-small", dimensions=512, api_key="sk-1").dimensions
    512
    """
    where: dict[str, Any] = {"base_url": base_url, "organization": organization, "project": project}
    model = openai(name, api="chat", api_key=api_key, headers=headers, **where, **_settings(options))
    return _made(model, OPENAI, dimensions, {**_LIMITS, **options})


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
    """An embedding model that is deployed on Azure, as *deployment*; address and key are found as those of `azure`.

    >>> azure_embedder("embed", endpoint="https://me.openai.azure.com", api_key="1").model.base_url
    'https://me.openai.azure.com/openai/v1'
    """
    where: dict[str, Any] = {"endpoint": endpoint, "api_version": api_version, "api": "chat"}
    model = azure(deployment, api_key=api_key, token=token, headers=headers, **where, **_settings(options))
    return _made(model, OPENAI, dimensions, {**_LIMITS, **options})


def openai_compatible_embedder(
    name: str,
    *,
    base_url: str,
    dimensions: int | None = None,
    api_key: str | Secret | None = None,
    headers: Headers = (),
    **options: Unpack[EmbedderOptions],
) -> RemoteEmbedder:
    """An embedding model behind any server that speaks as OpenAI does: Ollama, vLLM, Mistral, OpenRouter, …

    The key is found as that of `openai_compatible`. A request has at most 32 texts, which nearly every server takes;
    *max_batch* says otherwise.

    >>> openai_compatible_embedder("nomic-embed-text", base_url="http://localhost:11434/v1", api_key="",
    ...     query_prefix="search_query: ", document_prefix="search_document: ").query
    Manner('search_query: ')
    """
    model = openai_compatible(name, base_url=base_url, api_key=api_key, headers=headers, **_settings(options))
    return _made(model, COMPATIBLE, dimensions, {**_limits(32, 16_000), **options})


def gemini_embedder(
    name: str,
    *,
    dimensions: int | None = None,
    task: str = "",
    project: str | None = None,
    location: str | None = None,
    credentials: Credentials | None = None,
    token: Token | None = None,
    base_url: str | None = None,
    api_key: str | Secret | None = None,
    headers: Headers = (),
    **options: Unpack[EmbedderOptions],
) -> RemoteEmbedder:
    """An embedding model of Google's: on the Gemini API or on Vertex AI, found and signed in to as by `gemini`.

    The kind of a text becomes the task type that Google knows for it; *task* is another for all texts (`CLUSTERING`,
    …), which `gemini-embedding-2` takes in words (`clustering`). Vectors of `gemini-embedding-001` that *dimensions*
    shortens do not have the length 1: `Vector.normalised()` gives it to them.

    >>> gemini_embedder("gemini-embedding-001", project="mine", token=lambda: "t").max_batch
    1
    """
    where: dict[str, Any] = {"project": project, "location": location, "credentials": credentials, "token": token}
    model = gemini(name, api_key=api_key, base_url=base_url, headers=headers, **where, **_settings(options))
    dialect, limits = _on_vertex(model.name) if model.provider == "vertex" else (BATCHED, _limits(100))
    manners = _by_words(task) if model.name.startswith("gemini-embedding-2") else _by_name(task)
    return _made(model, dialect, dimensions, {**limits, **options}, manners)


def _on_vertex(name: str) -> tuple[VectorDialect, EmbedderOptions]:
    """How the model *name* is asked on Vertex AI: those of Gemini take one text at a time."""
    if "gemini" not in name:
        return PREDICTED, _limits(250, 20_000)
    return (PREDICTED if name.endswith("-001") else CONTENT), _limits(1)


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


def _limits(texts: int, tokens: int | None = None) -> EmbedderOptions:
    return {"max_batch": texts, "max_bytes": None if tokens is None else tokens * _BYTES_PER_TOKEN}


_LIMITS: Final = _limits(2048, 300_000)


def _settings(options: EmbedderOptions) -> dict[str, Any]:
    """Those of *options* that are the model's own, none of which is unknown."""
    unknown = options.keys() - EmbedderOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(EmbedderOptions.__annotations__)
        raise Misuse(f"an embedder has no option {', '.join(sorted(unknown))}; known are {known}")
    return {name: value for name, value in options.items() if name not in _OWN}


def _made(
    model: Endpoint,
    dialect: VectorDialect,
    dimensions: int | None,
    options: EmbedderOptions,
    manners: tuple[Manner, Manner, Manner] = (_PLAIN, _PLAIN, _PLAIN),
) -> RemoteEmbedder:
    """The embedder that asks *model* in *dialect*."""
    plain, query, document = manners
    return RemoteEmbedder(
        evolve(model, dialect=SILENT),
        dialect,
        dimensions,
        options["max_batch"],
        options["max_bytes"],
        plain,
        Manner(options.get("query_prefix", query.prefix), query.task),
        Manner(options.get("document_prefix", document.prefix), document.task),
        options.get("max_batch_tokens"),
        options.get("count", estimated_tokens),
    )


def _no_answer(*_: Any) -> NoReturn:
    raise Misuse("an embedder answers no questions: embed(embedder, texts) gives vectors")


SILENT: Final = Dialect(_no_answer, _no_answer, _no_answer, _no_answer)
"""What an embedder's model speaks: nothing that can be asked with `complete`."""
