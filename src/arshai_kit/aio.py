"""The async face: the same names as `arshai_kit`, to be awaited; nothing else is in here."""

from arshai_kit import completion, embeddings, retrieval
from arshai_kit.agents import agent, parallel, pipe, route
from arshai_kit.completion import request
from arshai_kit.errors import ArshaiError
from arshai_kit.faces import awaiting, awaiting_stream
from arshai_kit.models import evolve
from arshai_kit.providers import azure, gateway, gemini, model, openai, openai_compatible, openrouter
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

complete = awaiting(completion.complete)
embed = awaiting(embeddings.embed)
extract = awaiting(completion.extract)
retrieve = awaiting(retrieval.retrieve)
run = awaiting(completion.run)
run_tools = awaiting(completion.run_tools)
stream = awaiting_stream(completion.stream)
