"""Help for testing programs that use models: scripted answers, recordings, a clock, and strategies for hypothesis."""

from typing import TYPE_CHECKING, Any

from arshai_kit.testing.cassette import recorded, replayed
from arshai_kit.testing.clock import Clock, clock
from arshai_kit.testing.embedder import HashedEmbedder, hashed_embedder
from arshai_kit.testing.errors import RecordedError
from arshai_kit.testing.played import Played, played_by
from arshai_kit.testing.script import Answer, Script, scripted

__all__ = [
    "Answer",
    "Clock",
    "HashedEmbedder",
    "Played",
    "RecordedError",
    "Script",
    "clock",
    "hashed_embedder",
    "played_by",
    "recorded",
    "replayed",
    "scripted",
    "strategies",
]

if TYPE_CHECKING:
    from arshai_kit.testing import strategies as strategies


def __getattr__(name: str) -> Any:
    """Import what needs hypothesis when it is asked for: it takes a third of a second, and not every test wants it."""
    if name != "strategies":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module("arshai_kit.testing.strategies")
