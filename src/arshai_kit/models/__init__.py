"""Models are asked, never looked into: whatever answers an `Ask` with a plan of a `Response` is one."""

from arshai_kit.models.asks import Ask, OutputSpec, Prompt, Reasoning, Settings, ToolChoice, chosen, thread
from arshai_kit.models.endpoint import Dialect, Endpoint, Headers, Token, address, pairs
from arshai_kit.models.protocol import (
    UNFINISHED,
    UNKNOWN,
    Asked,
    Capabilities,
    Hearing,
    Model,
    check,
    evolve,
    is_model,
    overheard,
    retold,
    wrapped,
    written,
)

__all__ = [
    "UNFINISHED",
    "UNKNOWN",
    "Ask",
    "Asked",
    "Capabilities",
    "Dialect",
    "Endpoint",
    "Headers",
    "Hearing",
    "Model",
    "OutputSpec",
    "Prompt",
    "Reasoning",
    "Settings",
    "Token",
    "ToolChoice",
    "address",
    "check",
    "chosen",
    "evolve",
    "is_model",
    "overheard",
    "pairs",
    "retold",
    "thread",
    "wrapped",
    "written",
]
