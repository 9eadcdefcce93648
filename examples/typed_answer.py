"""An answer that is a value of your own type, not text to be parsed.

    python examples/typed_answer.py
    python examples/typed_answer.py openai:gpt-4o-mini

The small model in this process writes under a grammar that is made from the type, so that what comes out fits. Models
of providers are given the type's JSON Schema, in the way that each of them knows.
"""

# needs: local

import sys
from typing import Literal

from attrs import frozen

from arshai_kit import PartialOutput, extract, model, stream


@frozen
class Person:
    """Somebody who is spoken of."""

    name: str
    age: int
    city: str


@frozen
class Review:
    """What somebody thinks of something."""

    product: str
    verdict: Literal["good", "bad"]


def main(name: str = "local") -> None:
    """Ask the model called *name* for a person, then for a review that is seen while it is written."""
    it = model(name, temperature=0)
    alice = extract(it, "Alice is 42 years old and lives in Lisbon.", Person)
    print(f"{alice.name} will be {alice.age + 1} next year, in {alice.city}.")

    for event in stream(it, "The kettle is wonderful, I use it every day.", output=Review):
        match event:
            case PartialOutput(value):
                print(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
