"""A model in this process: SmolLM2-135M-Instruct, or a GGUF file of yours.

So small a model cannot be trusted to call tools by itself (it made no call in twelve tries). So its decoding is
constrained: it chooses greedily between `name {arguments}` and `none` under a grammar, strings and numbers of the
arguments may only be copied from the question, and (`grounded`) a sentence that follows a result may hold no number
but those of the question and the results, and a typed answer copies its words and numbers where it can. That makes
calls well formed and numbers agree by construction; it makes no words true.
"""

from __future__ import annotations

from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import attrs
from attrs import evolve, field, frozen

from arshai_kit._json import EMPTY, exact
from arshai_kit.effects import Call, Emit, Plan, Random, Sleep
from arshai_kit.errors import BadAnswer, Misuse
from arshai_kit.local.copying import NONE, form_grammar, grounded_grammar, pick_grammar
from arshai_kit.local.grammar import Grammar
from arshai_kit.local.prompts import Talk, answer_turns, chat_turns, output_turns, pick_turns, result_text, talk
from arshai_kit.local.runtime import Engine, Sampling, Session, Setup, Turns, absent, shipped_weights, usual_threads
from arshai_kit.local.shapes import json_grammar
from arshai_kit.models import Ask, Capabilities, Settings
from arshai_kit.records import FinishReason, Response, TextDelta, ToolCall, ToolCallDelta, ToolSpec, Usage, assistant

__all__ = ["LocalModel", "local"]

WARM = 0.7
"""The temperature of prose when nobody says one."""
WAIT = 0.01
"""Seconds between two looks whether it is a session's turn."""
LONGEST_CALL = 256
"""Tokens of a call when nobody says how many."""
_TAKES = Capabilities(tools=True, images=False, files=False, audio=False, json_schema=True, json_object=False)
_REFUSED = ("reasoning", "presence_penalty", "frequency_penalty", "logprobs", "candidates", "extra")


@frozen
class Said:
    """What a session has said, why it ended, and what that used."""

    text: str
    finish: FinishReason
    usage: Usage


@frozen(kw_only=True, eq=False, repr=False)
class LocalModel(Settings):
    """A model in this process; make one with `local()`."""

    name: str
    path: str = ""
    grounded: bool = True
    min_p: float = 0.2
    threads: int = 1
    context: int = 2048
    provider: str = "local"
    capabilities: Capabilities = _TAKES
    _engine: Engine = field(factory=Engine, eq=False, repr=False)

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Answer *ask*, a few tokens at a time: closing the plan stops it between two of them."""
        how = _settled(self, ask.settings)
        said = talk(ask.messages)
        spent = Usage()
        if (grammar := _choice(ask.tools, said, how.tool_choice)) is not None:
            limit = how.max_tokens or LONGEST_CALL
            greedy = evolve(how, temperature=0, stop=None, max_tokens=limit)
            picked = yield from _spoken(greedy, pick_turns(ask.tools, said), grammar, stream=False)
            if picked.text != NONE:
                return (yield from _called(how, picked, said, stream=stream))
            spent = picked.usage
        told = yield from _told(how, ask, said, stream=stream)
        return _response(how, told, (told.text,), spent)


def local(
    path: str | Path | None = None,
    *,
    temperature: float | None = None,
    max_tokens: int | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float = 0.2,
    stop: str | tuple[str, ...] | None = None,
    seed: int | None = None,
    tool_choice: str | None = None,
    grounded: bool = True,
    threads: int | None = None,
    context: int = 2048,
) -> LocalModel:
    """A model that runs in this process, without key or network: SmolLM2-135M-Instruct, or the GGUF file at *path*.

    *temperature* (0.7) is for prose alone: tools are chosen and typed answers written with the likeliest words that
    fit. *seed* makes prose repeatable; without one it is drawn. *grounded* allows a sentence that follows a tool's
    result no figure but those of the question and the results, and makes a typed answer copy its words and numbers
    from there (turn it off for answers that are to be invented). *context* is the most tokens of prompt and answer
    together, *threads* by default half of the processors, four at most.

    The weights are loaded at the first question and kept for as long as the value, or a copy of it, lives.

    So small a model is good for trying things out, for tests and for demonstrations: it chats in simple English,
    picks among a few tools that each have an example (`tool(fn, example=…)`), fills their arguments with words and
    numbers of the question, tells their results in a sentence, and fills in small forms. It does not know facts, count
    or reason, and nothing that it says of its own should be believed.

    Raises `ImportError`, naming what to install, when the runtime or the weights are not there.
    """
    if find_spec("cyllama") is None:
        raise ImportError(absent())
    found = Path(shipped_weights() if path is None else path).expanduser()
    if not found.is_file():
        raise Misuse(f"there is no file {str(found)!r}: name a GGUF file, or install the shipped weights")
    return LocalModel(
        name=found.stem,
        path="" if path is None else str(found),
        temperature=temperature,
        max_tokens=max_tokens,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        stop=stop,
        seed=seed,
        tool_choice=tool_choice,
        grounded=grounded,
        threads=usual_threads() if threads is None else threads,
        context=context,
    )


# What is asked


def _settled(model: LocalModel, settings: Settings) -> LocalModel:
    """*model* with the *settings* of one question; raises `Misuse` for what it cannot do."""
    given = {spot.name: getattr(settings, spot.name) for spot in attrs.fields(Settings)}
    how = evolve(model, **{name: value for name, value in given.items() if value not in (None, EMPTY)})
    for name in _REFUSED:
        if getattr(how, name) not in (None, EMPTY, "none", 1 if name == "candidates" else None):
            raise Misuse(f"the local model has no {name}: leave it out")
    if (how.temperature or 0) < 0 or not 0 < (1 if how.top_p is None else how.top_p) <= 1:
        raise Misuse("temperature is 0 or more, and top_p above 0 and at most 1")
    if "" in (how.stop or ()):
        raise Misuse("stop= holds an empty text, which every answer begins with: leave it out")
    if not (0 <= how.min_p <= 1 and (how.top_k or 0) >= 0 and (how.max_tokens is None or how.max_tokens > 0)):
        raise Misuse("min_p is from 0 to 1, top_k 0 or more, and max_tokens 1 or more")
    return how


def _choice(tools: tuple[ToolSpec, ...], said: Talk, choice: str | None) -> Grammar | None:
    """The grammar of the calls that may be made now; `None` when the answer is to be in words."""
    if not tools or choice == "none" or (said.now.results and choice in (None, "auto")):
        return None
    named = tools if choice in (None, "auto", "required") else tuple(tool for tool in tools if tool.name == choice)
    if not named:
        raise Misuse(f"tool_choice names {choice!r}, but the tools are {', '.join(tool.name for tool in tools)}")
    text = "\n".join((said.now.question, *map(result_text, said.now.results)))
    grammar = pick_grammar(named, text, none=choice in (None, "auto"))
    if grammar is None and choice not in (None, "auto"):
        raise BadAnswer("the local model copies arguments from the question, which holds none for this tool")
    return grammar


# What is said


def _told(how: LocalModel, ask: Ask, said: Talk, *, stream: bool) -> Plan[Said]:
    """The answer in words, or in JSON where that was asked for."""
    if ask.output is not None:
        if ask.output.mode != "json_schema":
            raise Misuse("the local model writes JSON that fits a schema: ask for the mode json_schema")
        schema, results = ask.output.schema, "\n".join(map(result_text, said.now.results))
        grammar = form_grammar(schema, said.now.question, results) if how.grounded else json_grammar(schema)
        return (yield from _spoken(evolve(how, temperature=0), output_turns(said, schema), grammar, stream=stream))
    warmth = WARM if how.temperature is None else how.temperature
    seed = int((yield from Random()) * 2**32) if warmth and how.seed is None else how.seed
    how = evolve(how, temperature=warmth, seed=seed)
    if not said.now.results:
        return (yield from _spoken(how, chat_turns(said), None, stream=stream))
    return (yield from _spoken(how, answer_turns(said), _grounds(said) if how.grounded else None, stream=stream))


def _grounds(said: Talk) -> Grammar:
    """What a sentence about the results may say; what failed need not be repeated."""
    known = "\n".join((said.now.question, *(result_text(each) for each in said.now.results if each.is_error)))
    return grounded_grammar(known, [result_text(each) for each in said.now.results if not each.is_error])


def _spoken(how: LocalModel, turns: Turns, grammar: Grammar | None, *, stream: bool) -> Plan[Said]:
    """What the model says to *turns*, told as it comes when *stream*."""
    sampling = Sampling(how.temperature or 0, how.top_p or 1, how.top_k or 0, how.min_p, how.seed or 0, grammar)
    setup = Setup(how.path or shipped_weights(), how.context, how.threads)
    session = Session(how._engine, setup, sampling, how.stop or ())  # noqa: SLF001  # it is this module's record
    try:
        size = yield from Call(session.prepare, turns, how.max_tokens)
        while (left := (yield from Call(session.sit))) < 0:
            yield from Sleep(WAIT)
        known = size - left
        while left > 0:
            left = yield from Call(session.read)
        texts: list[str] = []
        finish = ""
        count = 0
        while not finish:
            text, finish, count = yield from Call(session.say)
            texts.append(text)
            if text and stream:
                yield from Emit((TextDelta(text),))
    finally:
        session.close()
    return Said("".join(texts), "stop" if finish == "stop" else "length", Usage(size, count, known))


def _called(how: LocalModel, picked: Said, said: Talk, *, stream: bool) -> Plan[Response]:
    """The response that asks for a tool; a call that was cut off asks for nothing."""
    if picked.finish != "stop":
        return _response(how, picked, (), Usage())
    name, _, arguments = picked.text.partition(" ")
    before = sum(len(asked.calls) for asked in said.asked)
    call = ToolCall(f"call_{before + 1}", name, exact(arguments))
    if stream:
        yield from Emit((ToolCallDelta(0, name, arguments, call),))
    return _response(how, evolve(picked, finish="tool_calls"), (call,), Usage())


def _response(how: LocalModel, told: Said, parts: tuple[str | ToolCall, ...], spent: Usage) -> Response:
    return Response(
        (assistant(*parts),),
        told.finish,
        told.finish,
        spent + told.usage,
        Decimal(0),
        how.name,
        how.provider,
    )
