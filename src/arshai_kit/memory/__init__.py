"""Memory that does not lose a word."""

from arshai_kit.memory.facts import facts, known
from arshai_kit.memory.in_process import in_memory
from arshai_kit.memory.in_redis import redis_memory
from arshai_kit.memory.in_sqlite import sqlite_memory
from arshai_kit.memory.records import Conversation, Memory, Note
from arshai_kit.memory.redacting import cards, emails, redacted
from arshai_kit.memory.relevance import relevant
from arshai_kit.memory.remembering import Remembering, remembering
from arshai_kit.memory.summaries import summarised
from arshai_kit.memory.tokens import estimated, tokenizer
from arshai_kit.memory.views import Recalled, composed, pinned, windowed

__all__ = [
    "Conversation",
    "Memory",
    "Note",
    "Recalled",
    "Remembering",
    "cards",
    "composed",
    "emails",
    "estimated",
    "facts",
    "in_memory",
    "known",
    "pinned",
    "redacted",
    "redis_memory",
    "relevant",
    "remembering",
    "sqlite_memory",
    "summarised",
    "tokenizer",
    "windowed",
]
