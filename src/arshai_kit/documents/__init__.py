"""Documents: a folder, a file, an address or bytes in; text with its structure out."""

from arshai_kit.documents.finding import find
from arshai_kit.documents.parsing import parse
from arshai_kit.documents.reading import load, read
from arshai_kit.documents.records import Block, BlockKind, Document, Found, Limits, Unreadable

__all__ = ["Block", "BlockKind", "Document", "Found", "Limits", "Unreadable", "find", "load", "parse", "read"]
