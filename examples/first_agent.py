"""Your first agent: a model, what it is told, and a function that it may call. An agent is a function, so it combines.

    python examples/first_agent.py
    python examples/first_agent.py openai:gpt-4o-mini

By default the small model in this process answers (SmolLM2-135M-Instruct). It knows little, but its calls are decoded
under a grammar: it chooses whether to call, and with which numbers of the question.
"""

# needs: local

import sys

from arshai_kit import Finished, TextDelta, ToolStarted, agent, evolve, model, pipe, stream, tool
from arshai_kit.agents import Agent, Pipe, to_mermaid


def multiply(a: int, b: int) -> int:
    """Multiply two numbers.

    Args:
        a: The first factor.
        b: The second factor.
    """
    return a * b


def headline(text: str) -> str:
    """Any function from a prompt to an answer is an agent, too."""
    return f"*** {text.upper().rstrip('.')} ***"


def teacher(name: str) -> Agent:
    """A teacher of arithmetic, whom the model called *name* plays."""
    shown = tool(multiply, example=("What is 12 times 5?", {"a": 12, "b": 5}))
    return agent(model(name, temperature=0, max_tokens=30), tools=[shown], name="teacher")


def newspaper(name: str) -> Pipe:
    """What the teacher says, as a headline."""
    return pipe(teacher(name), headline)


def main(name: str = "local") -> None:
    """Ask an agent, watch one in a line with another, draw them, and change one."""
    guide = agent(model(name, temperature=0, max_tokens=60), system="You answer in one short sentence.", name="guide")
    response = guide("What is the capital of France?")
    print(f"{guide.name}: {response.text}  [{response.usage.total_tokens} tokens]")

    paper = newspaper(name)
    for event in stream(paper, "What is 23 times 17?"):
        match event:
            case ToolStarted(call, path=speaker):
                print(f"{speaker} calls {call.name}({', '.join(f'{k}={v}' for k, v in call.arguments.items())})")
            case TextDelta(text):
                print(text, end="", flush=True)
            case Finished(response):
                print(f"\n{response.text}")
    print(to_mermaid(paper))

    # Agents are values: this is another one, which has no tools, and must guess.
    print(f"without the tool: {evolve(teacher(name), tools=())('What is 23 times 17?').text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
