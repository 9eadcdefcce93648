"""Chunks: a document cut where it may be cut, each piece knowing where it stood."""

from arshai_kit.chunking.cutting import By, Chunking, How, chunk, chunking
from arshai_kit.chunking.records import Chunk
from arshai_kit.chunking.sentences import sentences

__all__ = ["By", "Chunk", "Chunking", "How", "chunk", "chunking", "sentences"]
