"""From documents to answers that say where they are from."""

from arshai_kit.retrieval.retrieving import Mode, Question, retrieve

__all__ = ["Mode", "Question", "retrieve"]
