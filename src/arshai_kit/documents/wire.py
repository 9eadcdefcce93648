"""A document and what went wrong, as bytes between two processes: JSON, so that nothing that comes can run anything."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from arshai_kit.documents.records import Block, Document, Limits
from arshai_kit.errors import BadDocument, DocumentTooLarge

__all__ = ["HEADER", "asked", "packed", "packed_error", "question", "unpacked"]

HEADER: Final = 12
"""Each message begins with its length, in so many digits."""

_LONE: Final = re.compile("[\ud800-\udfff]")
_TOLD: Final = ("media_type", "pages", "title", "author", "created", "modified", "language", "metadata", "notices")
_ERRORS: Final = {"BadDocument": BadDocument, "DocumentTooLarge": DocumentTooLarge, "ImportError": ImportError}


def question(kind: str, limits: Limits) -> bytes:
    """What a reader is asked for, before the bytes of the document."""
    told = {
        name: getattr(limits, name) for name in ("size", "unfolded", "text", "blocks", "pages", "seconds", "memory")
    }
    return orjson.dumps({"kind": kind, "limits": told})


def asked(data: bytes | bytearray) -> tuple[str, Limits]:
    """What `question` made."""
    told = orjson.loads(data)
    return str(told["kind"]), Limits(**told["limits"], isolated=False)


def packed(document: Document) -> bytes:
    """*document* as `unpacked` takes it."""
    told: dict[str, Any] = {name: getattr(document, name) for name in _TOLD}
    told["blocks"] = [(block.kind, block.start, block.end, block.level) for block in document.blocks]
    return orjson.dumps({"text": document.text, "told": told})


def packed_error(error: Exception) -> bytes:
    """What went wrong, as `unpacked` raises it again."""
    kind = next((name for name in ("DocumentTooLarge", "ImportError") if type(error).__name__ == name), "BadDocument")
    return orjson.dumps({"error": kind, "message": _LONE.sub("?", str(error))[:2000]})


def unpacked(data: bytes) -> Document:
    """The document that `packed` has packed; or the error."""
    told = orjson.loads(data)
    if "error" in told:
        raise _ERRORS[told["error"]](told["message"])
    blocks = [Block(*each) for each in told["told"].pop("blocks")]
    return Document(told["text"], blocks=blocks, **told["told"])
