"""Memory that does not lose a word."""

from arshai_kit.memory.records import Conversation, Memory, Note

__all__ = ["Conversation", "Memory", "Note"]
