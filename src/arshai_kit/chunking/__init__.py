"""Chunks: a document cut where it may be cut, each piece knowing where it stood."""

from arshai_kit.chunking.cutting import By, Chunking, How, chunk, chunking
from arshai_kit.chunking.duplicates import Duplicate, Seen, alike, likeness, near_duplicates, signature
from arshai_kit.chunking.meaning import Semantic, semantic
from arshai_kit.chunking.records import Chunk
from arshai_kit.chunking.sentences import sentences

__all__ = [
    "By",
    "Chunk",
    "Chunking",
    "Duplicate",
    "How",
    "Seen",
    "Semantic",
    "alike",
    "chunk",
    "chunking",
    "likeness",
    "near_duplicates",
    "semantic",
    "sentences",
    "signature",
]
