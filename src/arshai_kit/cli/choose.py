"""What the words of a command line stand for: models, tools, schemas."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from arshai_kit.errors import Misuse
from arshai_kit.models import Model
from arshai_kit.providers import openai_compatible

__all__ = ["chosen_model", "found_tool", "read_schema"]

NAMES = "local, local:PATH.gguf, or openai-compatible:NAME@URL"


def chosen_model(text: str) -> Model:
    """The model called *text*.

    >>> chosen_model("openai-compatible:llama3.2@http://localhost:11434/v1").name
    'llama3.2'
    """
    provider, _, rest = text.partition(":")
    match provider:
        case "local":
            from arshai_kit.local import local

            return local(rest or None)
        case "openai-compatible":
            name, at, url = rest.rpartition("@")
            if name and at and url:
                return openai_compatible(name, base_url=url)
    raise Misuse(f"{text!r} names no model: --model takes {NAMES}")


def found_tool(text: str) -> Any:
    """The function (or `tool(…)`) that *text* names, as `module:function`; the working directory is searched too."""
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise Misuse(f"{text!r} names no tool: --tool takes module:function")
    if "" not in sys.path and (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for step in name.split("."):
            found = getattr(found, step)
    except (ImportError, AttributeError) as error:
        raise Misuse(f"--tool {text}: {error}") from error
    if not callable(found):
        raise Misuse(f"--tool {text}: it is no function but {type(found).__name__}")
    return found


def read_schema(text: str | None) -> dict[str, Any] | None:
    """The JSON Schema that *text* is, or that is in the file it names."""
    if text is None:
        return None
    try:
        schema = json.loads(text if text.lstrip().startswith("{") else Path(os.fsdecode(text)).read_text("utf-8"))
    except OSError as error:
        raise Misuse(f"--schema {text}: {error.strerror}") from error
    except ValueError as error:
        raise Misuse(f"--schema is no JSON: {error}") from error
    if not isinstance(schema, dict):
        raise Misuse("--schema is no JSON object")
    return schema
