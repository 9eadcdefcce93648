"""From documents to answers that say where they are from."""

from arshai_kit.retrieval.checking import Checked, Sentence, check
from arshai_kit.retrieval.citing import INSTRUCTIONS, Link, cite, links, passages
from arshai_kit.retrieval.compressing import compress
from arshai_kit.retrieval.ingesting import headed, ingest, plain
from arshai_kit.retrieval.knowledge import knowledge_tool
from arshai_kit.retrieval.reports import Progress, Report
from arshai_kit.retrieval.retrieving import Mode, Question, retrieve

__all__ = [
    "INSTRUCTIONS",
    "Checked",
    "Link",
    "Mode",
    "Progress",
    "Question",
    "Report",
    "Sentence",
    "check",
    "cite",
    "compress",
    "headed",
    "ingest",
    "knowledge_tool",
    "links",
    "passages",
    "plain",
    "retrieve",
]
