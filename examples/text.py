"""Words in, words out: one question, the next turn of the conversation, and an answer that streams.

    python examples/text.py
    python examples/text.py openai:gpt-4o-mini

By default the small model in this process answers; it is quick and free, and knows little.
"""

# needs: local

import sys

from arshai_kit import Finished, TextDelta, complete, model, stream, system


def main(name: str = "local") -> None:
    """Talk with the model called *name*, as the command line names it."""
    it = model(name, temperature=0, max_tokens=60)

    question = (system("You answer in one short sentence."), "What is the capital of France?")
    first = complete(it, question)
    print(f"{first.text}  [{first.finish_reason}, {first.usage.total_tokens} tokens]")

    # A response stands for the messages of its run: a conversation is what was said so far, and what you say now.
    for event in stream(it, (*question, first, "Name a river that flows through it.")):
        match event:
            case TextDelta(text):
                print(text, end="", flush=True)
            case Finished(response):
                print(f"  [{response.finish_reason}, {response.usage.total_tokens} tokens]")


if __name__ == "__main__":
    main(*sys.argv[1:])
