"""A plan's faces: `blocking` and `streaming` for sync code, `awaiting` and `awaiting_stream` for async code."""

from arshai_kit._adrive import AwaitingStream, adrive, awaiting
from arshai_kit._drive import blocking, drive, streaming

__all__ = ["adrive", "awaiting", "awaiting_stream", "blocking", "drive", "streaming"]

awaiting_stream = AwaitingStream
