"""Pictures and documents are parts of a message: from a file, or from an address that the provider reads itself.

    python examples/image_and_pdf.py
    python examples/image_and_pdf.py --live

Without `--live` no provider is asked: the answers are those that OpenAI and Google once gave to these very questions
(see recordings/README.md). With it, the keys are OPENAI_API_KEY, and GOOGLE_API_KEY or GEMINI_API_KEY.
"""

import sys
from pathlib import Path

from arshai_kit import TextDelta, complete, file, gemini, image, openai, stream, testing, user

RECORDINGS = Path(__file__).parent / "recordings"
REPORT = "https://raw.githubusercontent.com/posit-dev/chatlas/main/tests/apples.pdf"


def main(api_key: str | None = None) -> None:
    """Show one provider a picture, another a document, and the first a document that lies elsewhere."""
    pixel = image(RECORDINGS / "pixel.png")
    reply = complete(openai("gpt-4o-mini", api_key=api_key), user("What color is this pixel?", pixel))
    print(f"{pixel} -> {reply.text}")

    document = file(RECORDINGS / "hello.pdf")
    question = "What text is in this PDF document? Reply in one short sentence."
    reply = complete(gemini("gemini-2.5-flash", api_key=api_key), user(question, document))
    print(f"{document} -> {reply.text}")

    report = file(REPORT, media_type="application/pdf")
    print(f"{report} -> ", end="")
    for event in stream(openai("gpt-5.4", api_key=api_key), user("What's the title of this document?", report)):
        if isinstance(event, TextDelta):
            print(event.text, end="", flush=True)
    print()


if __name__ == "__main__":
    if "--live" in sys.argv[1:]:
        main()
    else:
        with testing.replayed(RECORDINGS / "image_and_pdf.jsonl"):
            main(api_key="")
