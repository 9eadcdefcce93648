"""Memory: one conversation over several runs, a user who is known in the next one, and what is sent of all that.

    python examples/memory_usage.py
    python examples/memory_usage.py --diagram
    REDIS_URL=redis://localhost:6379/0 python examples/memory_usage.py

A function plays the model here, by rules, so that it runs offline. In earnest, ask a provider:

    MODEL = openai("gpt-5.6-luna")
"""

import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen

from arshai_kit import agent
from arshai_kit.agents import to_mermaid
from arshai_kit.memory import (
    Memory,
    Remembering,
    composed,
    facts,
    in_memory,
    known,
    redis_memory,
    remembering,
    sqlite_memory,
    windowed,
)
from arshai_kit.models import Ask
from arshai_kit.testing import played_by


@frozen
class Profile:
    """What is worth knowing about a user; each field has a value for what is not known."""

    name: str = ""
    learns: tuple[str, ...] = ()


def listener(ask: Ask) -> Any:
    """What a model would do: answer from what it is sent, and from nothing else."""
    said = "\n".join([message.text for message in ask.messages])
    name = re.search(r"I am (\w+)|\"name\":\"(\w+)\"", said)
    if ask.output:  # it is asked for a profile
        return {"name": (name and name[1]) or "", "learns": re.findall(r"learn (\w+)", said)}
    if "my name" not in ask.messages[-1].text:
        return "I see."
    return f"You are {name[1] or name[2]}." if name else "I do not know your name."


MODEL = played_by(listener)


def store(folder: Path) -> Memory:
    """A memory for each environment; the rest of the program does not know which."""
    if os.environ.get("REDIS_URL"):
        return redis_memory(ttl=3600, prefix="example")  # for many machines
    return sqlite_memory(folder / "conversations.db")  # for one; `in_memory()` lasts as long as the process


def owner(key: str) -> str:
    """Whose conversation it is: `alex/monday` is one of `alex`."""
    return key.partition("/")[0]


def assistant(memory: Memory) -> Remembering:
    """An agent that recalls: the user's profile, and the latest three turns."""
    view = composed(facts(MODEL, Profile, about=owner, wait=True), windowed(turns=3))
    return remembering(agent(MODEL, name="assistant"), memory, view)


def talk(memory: Memory, key: str, *sentences: str) -> None:
    """Say *sentences* in the conversation *key*."""
    chat = assistant(memory)
    for sentence in sentences:
        print(f"{key}: {sentence} -> {chat(sentence, key=key).text}")


def main() -> None:
    """Talk, come back later, begin another conversation, and be forgotten."""
    with TemporaryDirectory() as folder:
        talk(store(Path(folder)), "alex/monday", "I am Alex, and I want to learn Python.")

        memory = store(Path(folder))  # as another process would, the next day
        talk(memory, "alex/monday", "What was my name again?", "Thanks.", "Bye.")
        talk(memory, "alex/friday", "Do you know my name?")
        talk(memory, "ann/friday", "Do you know my name?")

        conversation = memory.load("alex/monday")
        print(f"{len(conversation.messages)} messages, version {conversation.version}")
        print(f"known about alex: {known(memory, 'alex', Profile)}")
        for key in ("alex", "alex/monday", "alex/friday", "ann/friday"):
            memory.forget(key)
        print(f"forgotten: {known(memory, 'alex', Profile)}, {memory.load('alex/monday').messages}")
    talk(in_memory(ttl=1800), "test", "Do you know my name?")


if __name__ == "__main__":
    print(to_mermaid(assistant(in_memory()))) if "--diagram" in sys.argv else main()
