"""A real language model, in this process, answers a question that it gets wrong without a tool.

    python examples/first_tool.py
    python examples/first_tool.py "What is 6 times 7?"

The model (SmolLM2-135M-Instruct) is very small. Its calls are decoded under a grammar: it chooses whether to call and
with which of the question's numbers; in its final sentence the numbers may only be those of the question or the result.
"""

# needs: local

import sys

from arshai_kit import Finished, TextDelta, ToolFinished, ToolStarted, stream, tool
from arshai_kit.local import local


def multiply(a: int, b: int) -> int:
    """Multiply two numbers.

    Args:
        a: The first factor.
        b: The second factor.
    """
    return a * b


def main(question: str = "What is 23 times 17?") -> str:
    """Answer *question*, showing each word and each call as it happens."""
    print(f"question: {question}")
    model = local(temperature=0)
    calculator = tool(multiply, example=("What is 12 times 5?", {"a": 12, "b": 5}))
    for event in stream(model, question, tools=[calculator]):
        match event:
            case ToolStarted(call):
                print(f"the model calls {call.name}({', '.join(f'{k}={v}' for k, v in call.arguments.items())})")
            case ToolFinished(call, result):
                print(f"the function {call.name} answers {result}")
                print("answer: ", end="")
            case TextDelta(text):
                print(text, end="", flush=True)
            case Finished(response):
                print()
                return response.text
    raise AssertionError("a stream ends with Finished")


if __name__ == "__main__":
    main(*sys.argv[1:])
