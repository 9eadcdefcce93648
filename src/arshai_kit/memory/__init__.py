"""Memory that does not lose a word."""

from arshai_kit.memory.in_process import in_memory
from arshai_kit.memory.in_redis import redis_memory
from arshai_kit.memory.records import Conversation, Memory, Note
from arshai_kit.memory.views import Recalled

__all__ = ["Conversation", "Memory", "Note", "Recalled", "in_memory", "redis_memory"]
