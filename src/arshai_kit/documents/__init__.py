"""Documents: a folder, a file, an address or bytes in; text with its structure out."""

from arshai_kit.documents.records import Block, BlockKind, Document, Unreadable

__all__ = ["Block", "BlockKind", "Document", "Unreadable"]
