"""A restaurant's assistant: four tools that it waits for, and four that run in the background while it answers.

    python examples/restaurant.py
    python examples/restaurant.py --diagram

A function plays the model here: it reads the question as a model would, more simply. In earnest, ask a provider:

    MODEL = openai("gpt-5.6-luna")
"""

import json
import re
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from arshai_kit import BackgroundStarted, TextDelta, ToolCall, ToolFinished, agent, background, stream, using
from arshai_kit.agents import to_mermaid
from arshai_kit.models import Ask
from arshai_kit.records import ToolResult
from arshai_kit.testing import played_by

MENU = {"Mushroom risotto": (18.5, "vegetarian"), "Lentil stew": (12.0, "vegetarian"), "Trout": (22.0, "fish")}
FREE = {"19:00": 2, "19:30": 6, "20:15": 4}  # seats
BOOKS: list[str] = []  # what the systems behind the restaurant have been told


def current_time() -> str:
    """Tell the date and the time at the restaurant."""
    return datetime.now().astimezone().strftime("%A, %H:%M")


def free_tables(party_size: int) -> list[str]:
    """Tell when there is a table for so many people tonight."""
    return [time for time, seats in FREE.items() if seats >= party_size]


def recommendations(diet: str = "", up_to: float = 100.0) -> list[dict[str, Any]]:
    """Recommend dishes that suit a diet and a budget for each guest."""
    fitting = [(dish, price) for dish, (price, kind) in MENU.items() if price <= up_to and diet in ("", kind)]
    return [{"dish": dish, "price": price} for dish, price in fitting]


def bill(subtotal: float, tip_percent: float = 20.0, tax_rate: float = 0.08) -> dict[str, float]:
    """Work out the tax, the tip and the total of a bill."""
    tax, tip = round(subtotal * tax_rate, 2), round(subtotal * tip_percent / 100, 2)
    return {"tax": tax, "tip": tip, "total": round(subtotal + tax + tip, 2)}


def log_interaction(kind: str) -> None:
    """Note for the statistics what a guest has asked for."""
    BOOKS.append(f"statistics: {kind}")


async def schedule_reminder(time: str) -> None:
    """Remind the guest an hour before a table is theirs."""
    BOOKS.append(f"reminder: an hour before {time}")


def update_preferences(diet: str) -> None:
    """Keep in the guest's profile what they eat."""
    BOOKS.append(f"profile: {diet}")


def start_campaign(occasion: str) -> None:
    """Have marketing write to the guest about an occasion."""
    BOOKS.append(f"marketing: {occasion}")


WORDS: dict[str, Callable[[Any], str]] = {
    "free_tables": lambda times: f"We have a table at {' and at '.join(times)}.",
    "recommendations": lambda dishes: f"I recommend {' or '.join([each['dish'] for each in dishes])}.",
    "bill": lambda sums: f"Your bill comes to ${sums['total']:.2f}, of which ${sums['tip']:.2f} is the tip.",
}


def waiter(ask: Ask) -> Any:
    """What a model would do: look everything up, all at the same time, then tell it."""
    parts = [part for message in ask.messages for part in message.parts]
    found = {part.name: part.content for part in parts if isinstance(part, ToolResult)}
    if found:
        return " ".join([words(json.loads(str(found[name]))) for name, words in WORDS.items() if name in found])
    said = ask.messages[-1].text
    people, owed = re.search(r"for (\d+)", said), re.search(r"\$(\d+)", said)
    calls = [("current_time", dict[str, Any]()), ("log_interaction", {"kind": "a question"})]
    if people:
        calls += [("free_tables", {"party_size": int(people[1])}), ("schedule_reminder", {"time": "19:30"})]
    if "vegetarian" in said:
        calls += [("recommendations", {"diet": "vegetarian"}), ("update_preferences", {"diet": "vegetarian"})]
    if owed:
        calls += [("bill", {"subtotal": float(owed[1])}), ("start_campaign", {"occasion": "a large bill"})]
    return [ToolCall("", name, arguments) for name, arguments in calls]


MODEL = played_by(waiter)
restaurant = agent(
    MODEL,
    name="restaurant",
    system="You are the assistant of a restaurant. Look up what you can, and set up what the guest may want later.",
    tools=[
        *(current_time, free_tables, recommendations, bill),
        *map(background, (log_interaction, schedule_reminder, update_preferences, start_campaign)),
    ],
)


def main(request: str = "A table for 4 at seven? One of us is a vegetarian. And what would $85 be with a tip?") -> None:
    """Answer *request*, showing each tool as it runs."""
    print(f"guest: {request}")
    with using():  # at its end, what runs in the background has ended, too
        for event in stream(restaurant, request):
            match event:
                case ToolFinished(call, result):
                    print(f"  {call.name} -> {result}")
                case BackgroundStarted(call):
                    print(f"  {call.name} goes on in the background")
                case TextDelta(text):
                    print(text, end="", flush=True)
    print("\nafterwards:", *sorted(BOOKS), sep="\n  ")


if __name__ == "__main__":
    print(to_mermaid(restaurant)) if "--diagram" in sys.argv else main(*sys.argv[1:])
