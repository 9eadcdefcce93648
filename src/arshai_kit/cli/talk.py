"""Shows one answer as it comes, and says what became of it."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Any

from arshai_kit._json import dumps
from arshai_kit.cli.screen import aside, complain, is_watched, say, waiting
from arshai_kit.codec import to_json
from arshai_kit.completion import run_tools
from arshai_kit.completion import stream as streamed
from arshai_kit.errors import ArshaiError, BadAnswer, Unauthorized
from arshai_kit.models import Ask, Model, Prompt, check, thread
from arshai_kit.records import (
    BackgroundFailed,
    BackgroundStarted,
    Event,
    Finished,
    Notice,
    Response,
    TextDelta,
    ToolCall,
    ToolFailed,
    ToolFinished,
    ToolProgress,
    ToolRun,
    ToolStarted,
)

__all__ = ["Heard", "answer", "blame", "shown", "verdict"]

_LONGEST = 200
_UNUSABLE = {
    "length": "the answer is cut off: it reached the most tokens (--max-tokens)",
    "content_filter": "the provider blocked the answer",
    "refusal": "the model refuses",
    "error": "the provider broke the answer off",
}


def answer(model: Model, prompt: Prompt, heard: Heard, *, as_json: bool, stream: bool, **options: Any) -> int:
    """Ask once, and print the answer; the exit code."""
    check(model, Ask(thread(prompt)))
    typed = options["output"] is not None
    if stream and not as_json and not typed:
        return verdict(shown(streamed(model, prompt, **options), heard), model)
    with waiting():
        response = run_tools(model, prompt, **options)
    for run in response.tool_runs:
        heard.note(_told(run))
    if as_json:
        heard.words(to_json(response))
    elif typed:
        heard.words(dumps(response.output).decode())
    else:
        _retold(response, heard)
    heard.end_line()
    return verdict(response, model)


def _retold(response: Response, heard: Heard) -> None:
    """Show the words that a stream of *response* would have shown."""
    for message in response.messages:
        if message.role == "assistant" and message.text:
            heard.end_line()
            heard.words(message.text)


def verdict(response: Response, model: Model) -> int:
    """The exit code that *response* of *model* deserves; what is wrong with it is said."""
    wrong = _UNUSABLE.get(response.finish_reason)
    if response.finish_reason == "length" and not _limited(response, model):
        wrong = "the answer is cut off: the model can write no more, or its context is full"
    if wrong is None and not response.text and response.output is None:
        wrong = f"the model gave no words (it finished with {response.raw_finish_reason or response.finish_reason})"
    if wrong is None:
        return 0
    complain(f"{wrong}: {response.refusal}" if response.refusal else wrong)
    return 3


def _limited(response: Response, model: Model) -> bool:
    """Whether *response* is as long as *model* was allowed to answer; if nobody counted, it is taken to be."""
    most: int | None = getattr(model, "max_tokens", None)
    used = response.usage
    return most is not None and ("output_tokens" in used.missing or used.output_tokens >= most)


def blame(error: Exception) -> str:
    """What went wrong, in words for whoever typed the command.

    >>> blame(BadAnswer("the answer is no JSON", text="Well, ..."))
    "the answer is no JSON; the model said: 'Well, ...'"
    """
    match error:
        case BadAnswer(text=text) if text:
            return f"{error}; the model said: {_cut(repr(text))}"
        case Unauthorized():
            return f"{error}; arshai-kit doctor says which keys are set"
    return str(error) or type(error).__name__


class Heard:
    """What of an answer has been shown; *notes* shows calls of tools even where nobody looks on."""

    def __init__(self, *, notes: bool = False) -> None:
        self.notes = notes
        self.texts: list[str] = []
        self.ended = True

    def words(self, text: str) -> None:
        """Show more words."""
        self.texts.append(text)
        self.ended = text.endswith("\n")
        say(text)

    def note(self, text: str) -> None:
        """Show a line beside the answer, to whoever looks on or wants it."""
        if self.notes or is_watched(sys.stderr):
            aside(text)

    def end_line(self) -> None:
        """Let what comes next begin a line."""
        if not self.ended:
            self.ended = True
            say("\n")

    def begin_anew(self, why: str) -> None:
        """The words so far are void: what comes next is the answer from its beginning."""
        self.end_line()
        self.texts.clear()
        self.note(why)

    def interrupted(self) -> None:
        """Let what comes next begin a line: a terminal has written `^C` into this one."""
        self.ended = self.ended and not is_watched(sys.stdout)
        self.end_line()

    @property
    def text(self) -> str:
        """All words so far."""
        return "".join(self.texts)


def shown(events: Any, heard: Heard) -> Response:
    """Show *events* as they come; the response at their end."""
    response = Response(())
    try:
        with waiting() as spinner, closing(events):
            for event in events:
                match event:
                    case TextDelta(text) if text:
                        spinner.stop()
                        heard.words(text)
                    case Finished(response):
                        pass
                    case Notice("restarted", name, why):
                        spinner.stop()
                        heard.begin_anew(f"× {name}: {_cut(why)}: the answer begins anew")
                        spinner.start()
                    case _ if note := _noted(event):
                        spinner.stop()
                        heard.end_line()
                        heard.note(note)
                        spinner.start()
    except KeyboardInterrupt:
        heard.interrupted()
        raise
    except ArshaiError:
        heard.end_line()
        raise
    heard.end_line()
    return response


def _noted(event: Event) -> str:
    """What is worth a word beside the answer."""
    match event:
        case ToolStarted(call):
            return f"→ {_call(call)}"
        case ToolProgress(call, value):
            return f"… {call.name}: {_cut(value)}"
        case ToolFinished(call, result):
            return f"← {call.name}: {_cut(result)}"
        case ToolFailed(call, error) | BackgroundFailed(call, error):
            return f"× {call.name}: {_cut(error)}"
        case BackgroundStarted(call):
            return f"→ {_call(call)}, in the background"
        case Notice("retrying", name, why, {"seconds": float() | int() as seconds}):
            return f"× {name}: {_cut(why)}: trying again in {seconds:.1f} s"
        case Notice("fell_back", name, why, {"to": str() as other}):
            return f"× {name}: {_cut(why)}: asking {other}"
        case Notice("waiting", name, _, {"seconds": float() | int() as seconds}):
            return f"… {name}: waiting for {seconds:.1f} s"
    return ""


def _told(run: ToolRun) -> str:
    return f"→ {_call(run.call)}\n{'×' if run.error else '←'} {run.call.name}: {_cut(run.result)}"


def _call(call: ToolCall) -> str:
    """*call* as a programmer writes it.

    >>> _call(ToolCall("1", "add", {"a": 1, "b": 2}))
    'add(a=1, b=2)'
    """
    if call.broken is not None:
        return f"{call.name}({_cut(call.broken)})"
    return f"{call.name}({', '.join(f'{name}={_cut(repr(value))}' for name, value in call.arguments.items())})"


def _cut(value: Any) -> str:
    r"""*value* in a line that fits the eye.

    >>> _cut("one\ntwo")
    'one two'
    """
    text = " ".join(value.split()) if isinstance(value, str) else f"{value!r}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
