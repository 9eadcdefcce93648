"""Help for testing programs that use models: scripted answers, recordings, a clock, and strategies for hypothesis."""

from arshai_kit.testing import strategies as strategies
from arshai_kit.testing.cassette import recorded, replayed
from arshai_kit.testing.clock import Clock, clock
from arshai_kit.testing.errors import RecordedError
from arshai_kit.testing.script import Answer, Script, scripted

__all__ = [
    "Answer",
    "Clock",
    "RecordedError",
    "Script",
    "clock",
    "recorded",
    "replayed",
    "scripted",
    "strategies",
]
