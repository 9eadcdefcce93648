"""Texts as vectors: which of some texts is nearest in meaning to a question.

    python examples/embeddings.py
    python examples/embeddings.py --live

Without `--live` nobody is asked: the vectors are those that Google once sent for these very texts (see
recordings/README.md). With it, the key is GOOGLE_API_KEY or GEMINI_API_KEY.
"""

import sys
from pathlib import Path

from arshai_kit import embed, testing
from arshai_kit.embeddings import Embedder, similarity
from arshai_kit.providers import gemini_embedder

RECORDING = Path(__file__).parent / "recordings" / "embeddings.jsonl"
LANGUAGES = ("Ruby", "Python", "JavaScript")
SAYING = "Ruby is a programmer's best friend"


def nearest(embedder: Embedder, question: str, texts: tuple[str, ...]) -> list[tuple[float, str]]:
    """The *texts*, the one nearest to *question* first, each after its likeness."""
    (sought,), found = embed(embedder, question), embed(embedder, texts)
    return sorted(((similarity(sought, each), text) for each, text in zip(found, texts, strict=True)), reverse=True)


def main(api_key: str | None = None) -> None:
    """Compare by a model of meaning, then by letters alone, as tests do."""
    meaning = gemini_embedder("gemini-embedding-001", dimensions=768, api_key=api_key)
    for embedder in (meaning, testing.hashed_embedder()):
        print(f"{embedder.provider} {embedder.name}: {SAYING!r} is like")
        for likeness, text in nearest(embedder, SAYING, LANGUAGES):
            print(f"  {likeness:5.2f}  {text}")


if __name__ == "__main__":
    if "--live" in sys.argv[1:]:
        main()
    else:
        with testing.replayed(RECORDING):
            main(api_key="")
