"""One prompt and one tool, any provider: the same records go in, the same records come out.

    python examples/any_provider.py
    python examples/any_provider.py --live openai:gpt-4o-mini gemini:gemini-2.5-pro

Without `--live` no provider is asked: the words are those that each of them once streamed for this very question (see
recordings/README.md). With it, the models named are asked, each with its own key: OPENAI_API_KEY, GOOGLE_API_KEY,
OPENROUTER_API_KEY, OPENAI_COMPATIBLE_API_KEY.
"""

import sys
from pathlib import Path
from typing import Any

from arshai_kit import Finished, TextDelta, ToolStarted, model, stream, system, testing, user

RECORDING = Path(__file__).parent / "recordings" / "any_provider.jsonl"
MODELS = (
    "openai:gpt-4o-mini",
    "gemini:gemini-2.5-pro",
    "openrouter:anthropic/claude-haiku-4.5",
    "openai-compatible:moonshotai/kimi-k2.5@https://api.avian.io/v1",
)


def weather(location: str) -> str:
    """Get weather information for a location.

    Args:
        location: the city
    """
    return "40 C" if location.startswith("Florence") else "unknown"


def main(*names: str, **options: Any) -> None:
    """Ask each of the models called *names* the same, and show what happens while it happens."""
    question = (system("You are a helpful assistant"), user("What's the weather in Florence,Italy?"))
    for name in names or MODELS:
        print(f"\n{name}")
        for event in stream(model(name, max_tokens=4000, **options), question, tools=[weather]):
            match event:
                case ToolStarted(call):
                    print(f"[calls {call.name}({dict(call.arguments)})]")
                case TextDelta(text):
                    print(text, end="", flush=True)
                case Finished(response):
                    print(f"\n[{response.usage.input_tokens} tokens in, {response.usage.output_tokens} out]")


if __name__ == "__main__":
    if "--live" in sys.argv[1:]:
        main(*[name for name in sys.argv[1:] if name != "--live"])
    else:
        with testing.replayed(RECORDING):
            main(api_key="")
