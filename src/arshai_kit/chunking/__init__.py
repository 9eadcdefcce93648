"""Chunks: a document cut where it may be cut, each piece knowing where it stood."""

from arshai_kit.chunking.records import Chunk

__all__ = ["Chunk"]
