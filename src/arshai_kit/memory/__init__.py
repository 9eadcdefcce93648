"""Memory that does not lose a word."""

from arshai_kit.memory.records import Conversation, Memory, Note
from arshai_kit.memory.views import Recalled

__all__ = ["Conversation", "Memory", "Note", "Recalled"]
