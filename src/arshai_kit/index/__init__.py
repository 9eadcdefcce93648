"""An index: passages found by meaning, by words, and by their fields."""

from arshai_kit.index.records import Entry, Hit, Index, Passage, Statistics

__all__ = ["Entry", "Hit", "Index", "Passage", "Statistics"]
