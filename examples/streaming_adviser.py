"""A financial adviser that streams: prices and news come in while they are looked up, alerts stay in the background.

    python examples/streaming_adviser.py
    python examples/streaming_adviser.py --diagram

Functions play the model and the exchange here, so that it runs offline. In earnest, ask a provider:

    MODEL = openai("gpt-5.6-luna")
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

from attrs import frozen

from arshai_kit import (
    BackgroundStarted,
    Finished,
    TextDelta,
    ToolCall,
    ToolProgress,
    agent,
    aio,
    background,
    tool,
    using,
)
from arshai_kit.agents import to_mermaid
from arshai_kit.models import Ask
from arshai_kit.records import ToolResult
from arshai_kit.testing import played_by

TICKS = {"AAPL": (148.5, 150.25, 149.0, 144.75, 139.9, 141.2), "MSFT": (402.0, 405.5, 404.0, 399.0)}
NEWS = {"AAPL": ("Strong third quarter", "A new telephone"), "MSFT": ("A new office",)}


@frozen
class Quote:
    """What a share costs, and by how much that is more than at first."""

    symbol: str
    price: float
    change: float


def quotes(symbol: str) -> Iterator[Quote]:
    """Follow the price of a share for a moment; the last quote counts."""
    first = TICKS[symbol][0]
    for price in TICKS[symbol][:3]:
        yield Quote(symbol, price, round(price - first, 2))


async def news(symbol: str) -> AsyncIterator[list[str]]:
    """Read the news about a share; what was found so far is told as it comes in."""
    for number in range(len(NEWS[symbol])):
        await asyncio.sleep(0)  # here a real one waits for the network
        yield list(NEWS[symbol][: number + 1])


async def price_alert(symbol: str, below: float) -> None:
    """Watch a share, and tell the user when it falls below a price."""
    for price in TICKS[symbol]:
        await asyncio.sleep(0)
        if price < below:
            print(f"\n(alert: {symbol} is at ${price:.2f}, below ${below:.2f})")
            return


def analyst(ask: Ask) -> Any:
    """What a model would do: look up every share that is named, set the alert, then weigh what it has heard."""
    parts = [part for message in ask.messages for part in message.parts if isinstance(part, ToolResult)]
    quoted = [json.loads(str(part.content)) for part in parts if part.name == "quotes"]
    read = [headline for part in parts if part.name == "news" for headline in json.loads(str(part.content))]
    if parts:
        prices = [f"{each['symbol']} is at ${each['price']:.2f}, {each['change']:+.2f} today." for each in quoted]
        return f"{' '.join(prices)} In the news: {', '.join(read)}. Buy only what you can do without."
    said = ask.messages[-1].text
    symbols, limit = re.findall("|".join(TICKS), said), re.search(r"below \$(\d+)", said)
    calls = [ToolCall("", name, {"symbol": symbol}) for symbol in symbols for name in ("quotes", "news")]
    alerts = [ToolCall("", "price_alert", {"symbol": each, "below": float(limit[1])}) for each in symbols if limit]
    return [*calls, *alerts] or "Which share do you mean?"


MODEL = played_by(analyst)
adviser = agent(
    MODEL,
    name="adviser",
    system="You are a financial adviser. Look up prices and news, set the alerts that are wished for, promise nothing.",
    tools=[tool(quotes, eager=True), tool(news, eager=True), background(price_alert)],
)


async def main(question: str = "What about AAPL? I may buy; tell me when it falls below $140.") -> None:
    """Answer *question*, showing what happens while it happens."""
    print(f"user: {question}")
    async with using(), aio.stream(adviser, question) as events:  # at the end of `using`, the alerts have ended, too
        async for event in events:
            match event:
                case ToolProgress(call, value):
                    print(f"  {call.name}: {value}")
                case BackgroundStarted(call):
                    print(f"  {call.name} goes on in the background")
                case TextDelta(text):
                    print(text, end="", flush=True)
                case Finished(response):
                    print(f"\n  [{len(response.tool_runs)} tools]")


if __name__ == "__main__":
    if "--diagram" in sys.argv:
        print(to_mermaid(adviser))
    else:
        asyncio.run(main(*sys.argv[1:]))
