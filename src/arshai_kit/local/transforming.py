"""Models of `sentence-transformers` as embedders: from the hub, from a folder, or made by a function of yours."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Call, Plan
from arshai_kit.errors import BadReply, Misuse, need
from arshai_kit.records.responses import Usage
from arshai_kit.records.vectors import Embeddings, Kind, Vector

__all__ = ["SentenceTransformerEmbedder", "sentence_transformer"]


class Loaded:
    """A model, loaded when it is first asked, and asked by one thread at a time; a fork and a pickle load it anew."""

    def __init__(self) -> None:
        self._begin()

    def __reduce__(self) -> tuple[Any, ...]:
        return Loaded, ()

    def __deepcopy__(self, _: Any) -> Loaded:
        return self

    def _begin(self) -> None:
        self._lock = Lock()
        self._model: Any = None
        self._process = os.getpid()

    def vectors(
        self, load: Callable[[], Any], texts: Sequence[str], kind: Kind, prefix: str, dimensions: int | None
    ) -> tuple[list[bytes], list[int], int | None]:
        """The vectors of *texts* as bytes, how many tokens each text has, and how many are read.

        There are no numbers of tokens where the tokenizer is of a make that is not known here.
        """
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            if self._model is None:
                self._model = load()
            model = self._model
            how = {"prompt": prefix} if prefix else {}
            encode = getattr(model, f"encode_{kind}", model.encode)  # newer releases have one for each kind
            rows = encode(
                list(texts), normalize_embeddings=True, show_progress_bar=False, truncate_dim=dimensions, **how
            )
            before = prefix or getattr(model, "prompts", {}).get(kind) or ""
            counts = _counts(model, [before + text for text in texts])
        return [row.astype("<f4").tobytes() for row in rows], counts, getattr(model, "max_seq_length", None)


def _counts(model: Any, texts: Sequence[str]) -> list[int]:
    try:
        found = model.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
    except (AttributeError, TypeError, LookupError, ValueError):
        return []
    return [len(numbers) for numbers in found]


@frozen(eq=False, repr=False)
class SentenceTransformerEmbedder(Record):
    """An embedder that is a model of `sentence-transformers`; make one with `sentence_transformer()`."""

    name: str
    path: str
    dimensions: int | None = None
    device: str | None = None
    query_prefix: str = ""
    document_prefix: str = ""
    load: Callable[[], Any] | None = field(default=None, repr=False)
    max_batch: int = 32
    max_bytes: int | None = field(default=None, kw_only=True)
    provider: str = field(default="sentence-transformers", kw_only=True)
    _loaded: Loaded = field(factory=Loaded, eq=False, repr=False, kw_only=True)

    def embed(self, texts: Sequence[str], *, kind: Kind = None) -> Plan[Embeddings]:
        """The vectors of *texts*, each of the length 1."""
        load, prefix = self.load or self._from_hub, self._prefix(kind)
        rows, counts, most = yield from Call(self._loaded.vectors, load, texts, kind, prefix, self.dimensions)
        vectors = [Vector(row).checked() for row in rows]
        if self.dimensions and any(len(vector) != self.dimensions for vector in vectors):
            raise BadReply(f"vectors of {self.dimensions} dimensions were asked for, and {self.name} gives others")
        cut = [place for place, count in enumerate(counts) if most and count > most]
        read = sum([min(count, most or count) for count in counts])
        usage = Usage(read) if counts else Usage.unknown()
        return Embeddings(vectors, usage, Decimal(0), self.name, self.provider, cut)

    def keyed(self, kind: Kind) -> Any:
        """What a vector depends on besides its text and this embedder's name: the model may have words for a kind."""
        return [kind, self._prefix(kind)]

    def _prefix(self, kind: Kind) -> str:
        return {"query": self.query_prefix, "document": self.document_prefix}.get(kind or "", "")

    def _from_hub(self) -> Any:
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(self.path, device=self.device)


def sentence_transformer(
    name: str | Path,
    *,
    dimensions: int | None = None,
    device: str | None = None,
    query_prefix: str = "",
    document_prefix: str = "",
    max_batch: int = 32,
    load: Callable[[], Any] | None = None,
) -> SentenceTransformerEmbedder:
    """A model of `sentence-transformers`: its name on the Hugging Face hub, or the folder that holds it.

    The prefixes stand before each text of that kind; without one, a model's own prompts for `query` and `document` are
    used. *dimensions* shortens vectors, of a model made for that. *load* makes the model in place of
    `SentenceTransformer(name, device=device)`, where that needs more: a revision, a quantised backend, code of its own.

    What is not on the disk is fetched from the hub when the first text comes; `HF_HUB_OFFLINE=1` forbids that.
    """
    if load is None and find_spec("sentence_transformers") is None:
        need("sentence-transformers", "sentence-transformers")
    for spot, value in (("dimensions", dimensions), ("max_batch", max_batch)):
        if value is not None and (type(value) is not int or value < 1):
            raise Misuse(f"{spot}= is a whole number above zero, not {value!r}")
    if load is not None and not callable(load):
        raise Misuse(f"load= is a function that makes the model, not {load!r}")
    path = Path(name).expanduser()
    here = path.is_dir()
    if not here and isinstance(name, Path):
        raise Misuse(f"there is no folder {str(path)!r}")
    return SentenceTransformerEmbedder(
        path.resolve().name if here else str(name),
        str(path) if here else str(name),
        dimensions,
        device,
        query_prefix,
        document_prefix,
        load,
        max_batch,
    )
