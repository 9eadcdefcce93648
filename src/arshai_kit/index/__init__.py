"""An index: passages found by meaning, by words, and by their fields."""

from arshai_kit.index.filters import EVERYTHING, Field, Filter, field, named, where
from arshai_kit.index.fusing import blend, fuse
from arshai_kit.index.in_process import in_memory_index
from arshai_kit.index.in_sqlite import sqlite_index
from arshai_kit.index.records import Entry, Hit, Index, Passage, Statistics
from arshai_kit.index.walking import every

__all__ = [
    "EVERYTHING",
    "Entry",
    "Field",
    "Filter",
    "Hit",
    "Index",
    "Passage",
    "Statistics",
    "blend",
    "every",
    "field",
    "fuse",
    "in_memory_index",
    "named",
    "sqlite_index",
    "where",
]
