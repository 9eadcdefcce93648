"""A functional, sync-first toolkit for LLM applications; `arshai_kit.aio` has the same names for async code.

A name is imported from its module when it is first asked for: `import arshai_kit` alone costs next to nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arshai_kit import aio as aio
    from arshai_kit.agents import agent, parallel, pipe, route
    from arshai_kit.completion import complete, extract, request, run, run_tools, stream
    from arshai_kit.embeddings import embed
    from arshai_kit.errors import ArshaiError
    from arshai_kit.models import evolve

    # Not from the package: mypy takes its names for modules of the same name.
    from arshai_kit.providers.azure import azure
    from arshai_kit.providers.compatible import openai_compatible
    from arshai_kit.providers.gateway import gateway
    from arshai_kit.providers.gemini import gemini
    from arshai_kit.providers.named import model
    from arshai_kit.providers.openai import openai
    from arshai_kit.providers.openrouter import openrouter
    from arshai_kit.records import (
        Audio,
        BackgroundFailed,
        BackgroundStarted,
        File,
        Finished,
        Image,
        Message,
        Notice,
        Opaque,
        PartialOutput,
        Response,
        StepFinished,
        StepStarted,
        Text,
        TextDelta,
        Thinking,
        ThinkingDelta,
        ToolCall,
        ToolCallDelta,
        ToolFailed,
        ToolFinished,
        ToolProgress,
        ToolResult,
        ToolRun,
        ToolSpec,
        ToolStarted,
        Usage,
        assistant,
        audio,
        file,
        image,
        system,
        tool_result,
        user,
    )
    from arshai_kit.retrieval import retrieve
    from arshai_kit.scope import using
    from arshai_kit.tools import background, tool

__all__ = [
    "ArshaiError",
    "Audio",
    "BackgroundFailed",
    "BackgroundStarted",
    "File",
    "Finished",
    "Image",
    "Message",
    "Notice",
    "Opaque",
    "PartialOutput",
    "Response",
    "StepFinished",
    "StepStarted",
    "Text",
    "TextDelta",
    "Thinking",
    "ThinkingDelta",
    "ToolCall",
    "ToolCallDelta",
    "ToolFailed",
    "ToolFinished",
    "ToolProgress",
    "ToolResult",
    "ToolRun",
    "ToolSpec",
    "ToolStarted",
    "Usage",
    "agent",
    "assistant",
    "audio",
    "azure",
    "background",
    "complete",
    "embed",
    "evolve",
    "extract",
    "file",
    "gateway",
    "gemini",
    "image",
    "model",
    "openai",
    "openai_compatible",
    "openrouter",
    "parallel",
    "pipe",
    "request",
    "retrieve",
    "route",
    "run",
    "run_tools",
    "stream",
    "system",
    "tool",
    "tool_result",
    "user",
    "using",
]

__version__ = "0.1.0"

_HOMES = {
    "agents": ("agent", "parallel", "pipe", "route"),
    "completion": ("complete", "extract", "request", "run", "run_tools", "stream"),
    "embeddings": ("embed",),
    "errors": ("ArshaiError",),
    "models": ("evolve",),
    "providers": ("azure", "gateway", "gemini", "model", "openai", "openai_compatible", "openrouter"),
    "retrieval": ("retrieve",),
    "scope": ("using",),
    "tools": ("background", "tool"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """The public *name*, from its home; whatever has none other is a record."""
    from importlib import import_module

    if name == "aio":
        return import_module("arshai_kit.aio")
    if name not in __all__:
        raise AttributeError(f"module 'arshai_kit' has no attribute {name!r}")
    found = getattr(import_module(f"arshai_kit.{_HOME.get(name, 'records')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "aio"]
