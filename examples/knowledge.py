"""From a folder of documents to cited answers: ingest, retrieve, cite, check, and an agent that searches by itself.

    python examples/knowledge.py
    python examples/knowledge.py "Who brings the butter?"
    python examples/knowledge.py --model openai:gpt-5.6-luna "Who brings the butter?"

The folder beside this file holds Markdown, HTML, PDF, CSV and plain text. The vectors are made in this process. Without
`--model` a function plays the model: it quotes what it is given.
"""

# needs: documents
# needs: local-embeddings

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arshai_kit import ToolCall, complete, model, retrieve, run_tools
from arshai_kit.chunking import chunking
from arshai_kit.index import Index, sqlite_index, where
from arshai_kit.local import local_embedder
from arshai_kit.models import Ask, Model
from arshai_kit.retrieval import check, cite, compress, ingest, knowledge_tool, links
from arshai_kit.testing import played_by

FOLDER = Path(__file__).parent / "knowledge"
QUESTIONS = ("Who repairs the roof?", "How long is my paid holiday?")
EMBEDDER = local_embedder()


def plays(ask: Ask) -> str | ToolCall:
    """Search, if there is a tool for it; else quote the sentence that has most words of the question."""
    asked = [message.text for message in ask.messages if message.role == "user"][-1]
    said = ask.messages[-1]
    if ask.tools and said.role == "user":
        return ToolCall("1", "search_knowledge", {"question": asked})
    given = "".join([str(getattr(part, "content", "") or getattr(part, "text", "")) for part in said.parts])
    words = {word[:4] for word in re.findall(r"\w{4,}", asked.splitlines()[-1].lower())}
    found = [(sum(word in text.lower() for word in words), text, number) for text, number in quotes(given)]
    _, text, number = max(found, key=lambda each: each[0])
    return f"{text} [{number}]"


def quotes(given: str) -> Iterator[tuple[str, str]]:
    """The sentences of the passages in *given*, each with the number of its passage."""
    for number, text in re.findall(r'number="(\d+)".*?>\n(.*?)\n</passage', given, re.DOTALL):
        for sentence in re.split(r"(?<=[a-z0-9][.!?])\s|\n(?=[#A-Z\d])|\n\n|\[…\]", text):
            if len(sentence.split()) > 3 and not sentence.startswith("#"):
                yield " ".join(sentence.split()), number


def answered(index: Index[Any], asked: Model, question: str) -> None:
    """Answer *question* out of three passages, cut down to what has to do with it, and say where the answer is from."""
    hits = retrieve(index, question, embedder=EMBEDDER, limit=3)
    given = tuple([each for hit in hits for each in compress([hit], tokens=40, question=question)])
    answer = complete(asked, cite(question, given))
    found = check(answer, given)
    print(f"{question}\n  {answer.text}")
    for link in links(given):
        if link.number in found.cited:
            print(f"  {link.number}: {Path(link.target).name}, {link.text}")
    for sentence in found.unsupported:
        print(f"  no passage bears this: {sentence.text}")


def main(asked: Model, questions: tuple[str, ...]) -> None:
    """Ingest the folder twice, ask it, and let an agent ask it."""
    with TemporaryDirectory() as place:
        index = sqlite_index(Path(place) / "knowledge.sqlite")
        for _ in range(2):
            report = ingest(index, FOLDER, embedder=EMBEDDER, chunker=chunking(size=200, how="page"))
            print(
                f"{report.documents} documents: {report.new} new, {report.unchanged} unchanged, {report.chunks} chunks"
            )
        for question in questions:
            answered(index, asked, question)
        menu = where(source=str(FOLDER / "allergens.txt"))
        (hit, *_) = retrieve(index, "What is in the walnut loaf?", embedder=EMBEDDER, where=menu, mode="dense")
        print(f"by meaning, and in one document alone: {hit.text.splitlines()[0]} ({hit.score:.2f})")
        search = knowledge_tool(index, embedder=EMBEDDER, fields=["media_type"], limit=2)
        print(f"the agent: {run_tools(asked, 'Whom do I call when an oven breaks?', [search]).text}")
        index.close()


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["--model"]:
        main(model(words[1]), tuple(words[2:]) or QUESTIONS)
    else:
        main(played_by(plays), tuple(words) or QUESTIONS)
