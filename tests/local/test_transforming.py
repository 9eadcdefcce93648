"""A model of sentence-transformers is an embedder like any other: told the kind, named where it cuts, asked in turn."""

from __future__ import annotations

import copy
import os
import pickle
import struct
import sys
import threading
from decimal import Decimal
from importlib.resources import files
from math import isclose
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import evolve

from arshai_kit.embeddings import Embedder, Vector, embed
from arshai_kit.errors import BadReply, Misuse
from arshai_kit.local import SentenceTransformerEmbedder, sentence_transformer
from arshai_kit.records import Usage
from arshai_kit.resilience import MemoryCache, cached
from tests.core.worlds import World, everywhere

# -- a stand-in: what is used of SentenceTransformer, with its signatures of release 5 --


class Row:
    """A row of an array of NumPy's."""

    def __init__(self, numbers: list[float]) -> None:
        self.numbers = numbers

    def astype(self, kind: str) -> Row:
        assert kind == "<f4"
        return self

    def tobytes(self) -> bytes:
        return struct.pack(f"<{len(self.numbers)}f", *self.numbers)


class Model:
    """Vectors of the length of a text, and of the prompt before it."""

    max_seq_length: int | None = 8
    prompts: ClassVar = {"query": "find: ", "document": ""}

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.used = list[str]()

    def tokenizer(self, texts: list[str], *, truncation: bool, verbose: bool) -> dict[str, Any]:
        assert not truncation
        return {"input_ids": [[101, *map(len, text.split()), 102] for text in texts]}

    def encode(self, texts: list[str], prompt: str = "", truncate_dim: int | None = None, **how: Any) -> list[Row]:
        assert how == {"normalize_embeddings": True, "show_progress_bar": False}
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.used += texts
        rows = [Row([float(len(text)), float(len(prompt)), 1.0][:truncate_dim]) for text in texts]
        self.inside -= 1
        return rows

    def encode_query(self, texts: list[str], prompt: str | None = None, **how: Any) -> list[Row]:
        return self.encode(texts, prompt or self.prompts["query"], **how)


class Older(Model):
    """One without methods for kinds, and with a tokenizer of another make."""

    tokenizer = None  # type: ignore[assignment]
    encode_query = None  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        if name == "encode_query":
            raise AttributeError(name)
        return super().__getattribute__(name)


def made(model: Any = None, **options: Any) -> SentenceTransformerEmbedder:
    found = model or Model()
    return sentence_transformer("me/model", load=lambda: found, **options)


def test_it_is_an_embedder() -> None:
    embedder = made()
    found = embed(embedder, ["a", "b c"])
    assert isinstance(embedder, Embedder)
    assert [*found] == [Vector.of((1, 0, 1)), Vector.of((3, 0, 1))]
    assert (found.model, found.provider, found.cost) == ("me/model", "sentence-transformers", Decimal(0))
    assert found.usage == Usage(3 + 4)
    assert repr(embedder) == "SentenceTransformerEmbedder('me/model', path='me/model')"


def test_the_model_is_told_the_kind() -> None:
    assert embed(made(), "a", kind="query")[0] == Vector.of((1, 6, 1))
    assert embed(made(), "a", kind="document")[0] == Vector.of((1, 0, 1))
    assert embed(made(query_prefix="q: "), "a", kind="query")[0] == Vector.of((1, 3, 1))
    assert embed(made(Older(), document_prefix="passage: "), "a", kind="document")[0] == Vector.of((1, 9, 1))
    assert embed(made(Older(), query_prefix="q: "), "a", kind="query")[0] == Vector.of((1, 3, 1))


def test_what_is_cut_is_named_with_what_stands_before_it() -> None:
    five, six = "a b c d e", "a b c d e f"
    assert embed(made(), [five, six, f"{six} g"]).truncated == (2,)
    found = embed(made(), [five, six], kind="query")
    assert (found.truncated, found.usage) == ((1,), Usage(16))
    assert not embed(made(Older()), [f"{six} {six}"]).usage.reported
    endless = Model()
    endless.max_seq_length = None
    assert embed(made(endless), f"{six} {six}").truncated == ()


def test_fewer_dimensions_are_asked_for_and_seen_to() -> None:
    assert embed(made(dimensions=2), "a")[0] == Vector.of((1, 0))
    with pytest.raises(BadReply, match="vectors of 4 dimensions were asked for"):
        embed(made(dimensions=4), "a")


@everywhere
def test_every_world_gives_the_same_and_loads_once(world: World) -> None:
    model, loads = Model(), list[int]()

    def load() -> Model:
        loads.append(1)
        return model

    embedder = sentence_transformer("me/model", load=load, max_batch=2)
    found = world.run(lambda: embed.plan(embedder, ["a", "bb", "ccc", "dddd", "e"]))
    assert [vector[0] for vector in found] == [1, 2, 3, 4, 1]
    assert (len(loads), model.most) == (1, 1)


def test_threads_ask_it_one_after_the_other() -> None:
    model = Model()
    embedder = made(model)
    threads = [threading.Thread(target=lambda: embed(embedder, ["a"] * 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(model.used), model.most) == (200, 1)


def test_copies_share_the_model_and_pickles_load_their_own() -> None:
    embedder = sentence_transformer("me/model", load=Model)
    embed(embedder, "a")
    sent: Any = pickle.loads(pickle.dumps(embedder))
    assert sent == embedder == copy.deepcopy(embedder)
    assert evolve(embedder, max_batch=3)._loaded is copy.deepcopy(embedder)._loaded is embedder._loaded
    assert sent._loaded._model is None
    assert embed(sent, "a") == embed(embedder, "a")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_loads_its_own() -> None:
    embedder = sentence_transformer("me/model", load=Model)
    embed(embedder, "a")
    mine = embedder._loaded._model
    embedder._loaded._lock.acquire()  # as if another thread were asking it while this one forks
    child = os.fork()
    if not child:
        os._exit(0 if len(embed(embedder, "a")) == 1 and embedder._loaded._model is not mine else 1)
    embedder._loaded._lock.release()
    assert os.waitpid(child, 0)[1] == 0


def test_its_vectors_can_be_kept_for_each_kind() -> None:
    model = Model()
    embedder = cached(made(model), MemoryCache())
    for kind in ("query", "document", "query"):
        embed(embedder, "a", kind=kind)
    assert model.used == ["a", "a"]
    embed(evolve(embedder, embedder=evolve(embedder.embedder, query_prefix="q: ")), "a", kind="query")
    assert model.used == ["a", "a", "a"]


def test_a_folder_is_named_for_itself(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for given in (tmp_path / "mine", str(tmp_path / "mine")):
        embedder = sentence_transformer(given, load=Model)
        assert (embedder.name, embedder.path) == ("mine", str(tmp_path / "mine"))
    with pytest.raises(Misuse, match="there is no folder"):
        sentence_transformer(tmp_path / "other", load=Model)


def test_mistakes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ({"dimensions": 0}, {"max_batch": 1.5}):
        with pytest.raises(Misuse, match="above zero"):
            made(**wrong)
    with pytest.raises(Misuse, match="load= is a function"):
        sentence_transformer("m", load="m")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"arshai-kit\[sentence-transformers\]"):
        sentence_transformer("m")


# -- a real one, very small --


@pytest.mark.needs("sentence-transformers")
@pytest.mark.filterwarnings("ignore")  # torch and its neighbours warn of each other
def test_a_real_model_is_read_from_its_folder(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel, BertTokenizer

    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text(files("arshai_kit.local").joinpath("bert-base-uncased.txt").read_text("utf-8"), "utf-8")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(**small)).save_pretrained(tmp_path / "bert")
    BertTokenizer(str(vocabulary)).save_pretrained(tmp_path / "bert")
    bert = models.Transformer(str(tmp_path / "bert"), max_seq_length=16)
    SentenceTransformer(modules=[bert, models.Pooling(16)], device="cpu").save(str(tmp_path / "tiny"))
    embedder = sentence_transformer(tmp_path / "tiny", device="cpu")
    texts = ["a river", "two rivers and more", "river " * 30]
    found = embed(embedder, texts)
    assert (found.truncated, found.usage, {len(vector) for vector in found}) == ((2,), Usage(4 + 6 + 16), {16})
    alone = [embed(embedder, text)[0] for text in texts]
    for one, other in zip(found, alone, strict=True):
        assert all(isclose(a, b, abs_tol=1e-5) for a, b in zip(one, other, strict=True))
    assert len(embed(evolve(embedder, dimensions=4), "a", kind="query")[0]) == 4
