"""An intelligent help desk: triage says who answers, and how sure that is; what is critical goes to people who can act.

    python examples/multi_agent_system.py
    python examples/multi_agent_system.py --diagram

Functions play the models here, by rules, so that it runs offline; in earnest, ask those of providers.
"""

import json
import re
import sys
from typing import Any, Literal

from attrs import frozen

from arshai_kit import Finished, Notice, ToolCall, agent, background, evolve, pipe, route, stream, using
from arshai_kit.agents import Choice, approve, handoff, to_mermaid
from arshai_kit.memory import in_memory, remembering
from arshai_kit.models import Ask
from arshai_kit.testing import played_by

REQUESTS = ("Hello?", "It answers 500.", "Still, and production is down!", "Please refund $49.", "Slow login.")
MAIL: list[str] = []  # what the management reads


@frozen
class Triage:
    """What a request is about."""

    why: str
    topic: Literal["technical", "billing", "general"]
    urgency: Literal["low", "critical"]
    confidence: float


@frozen
class Resolution:
    """What the user is told, and what happens next."""

    message: str
    resolved: bool
    next_steps: list[str]


def search_docs(words: str) -> str:
    """Search the documentation."""
    return "It answers 500 where a key has expired: make a new one." if "500" in words else "Nothing is known."


def refund(amount: float) -> str:
    """Pay an amount back."""
    return f"${amount:g} are on their way back to you."


def open_ticket(words: str) -> str:
    """Open a ticket of the highest priority."""
    return f"I have opened a ticket: {words!r}."


def notify(words: str) -> None:
    """Tell the management that a customer is in trouble."""
    MAIL.append(words)


def manager(call: ToolCall) -> bool | str:
    """Decides about each refund: a rule here; asking a person is as good."""
    return call.arguments["amount"] <= 100 or "More than $100 is paid back by letter only."


def escalating(found: str) -> Choice:
    """The rules of the house, on what triage has found: who is in real trouble gets those who can act."""
    it = Triage(**json.loads(found))
    return Choice("escalation" if it.urgency == "critical" else it.topic, it.confidence, it.why)


def classifier(ask: Ask) -> Any:
    """Plays the model of triage: it looks for words, in the latest request first, then in those before."""
    said = [message.text for message in reversed(ask.messages) if message.role == "user"]
    words = {"technical": "500|API|login", "billing": "charged|refund|invoice"}
    hits = [topic for text in said for topic, pattern in words.items() if re.search(pattern, text)] or ["general"]
    urgency, sure = "critical" if "production" in said[0] else "low", 0.3 if hits[0] == "general" else 0.9
    return {"why": f"it says {said[0]!r}", "topic": hits[0], "urgency": urgency, "confidence": sure}


def specialist(ask: Ask) -> Any:
    """Plays the others: it uses all its tools, then tells what came of it, or hands over if that is nothing."""
    last = max(number for number, message in enumerate(ask.messages) if message.role == "user")
    values = {"words": (said := ask.messages[last].text), "amount": float(re.sub(r"\D", "", said) or 0)}
    own = {each.name: each.parameters["properties"] for each in ask.tools if not each.name.startswith("hand_off")}
    told: list[Any] = [part for message in ask.messages[last:] if message.role == "tool" for part in message.parts]
    found = {part.name: str(part.content) for part in told if part.name in own}
    if own and not found:
        return [ToolCall("", name, {each: values[each] for each in wanted}) for name, wanted in own.items()]
    if "Nothing is known." in found.values():
        return ToolCall("", "hand_off_to_escalation", {"reason": "the documentation does not help"})
    steps = ["an engineer calls you within 15 minutes"] if "open_ticket" in found else ["tell us what comes of it"]
    message = next(iter(found.values()), "What is it about: the product, or what it costs?")
    return {"message": message, "resolved": bool(found) and "open_ticket" not in found, "next_steps": steps}


FAST, STRONG = played_by(classifier), played_by(specialist)  # or openai("gpt-5.6-luna"), gemini(…)
triage = agent(FAST, name="triage", system="Say what the user wants.", output=Triage)
billing = agent(STRONG, system="Settle what was paid.", tools=[refund], output=Resolution)
escalation = evolve(billing, name="escalation", system="Have people act.", tools=[open_ticket, background(notify)])
technical = evolve(billing, system="Solve technical problems.", tools=[search_docs, handoff(escalation)])
general = evolve(billing, system="Find out what it is about.", tools=())
team = {"technical": technical, "billing": approve(billing, manager), "escalation": escalation, "general": general}
helpdesk = route(pipe(triage, escalating), team, default="general", sure=0.6)
desk = remembering(helpdesk, in_memory(ttl=3600))  # or redis_memory(), which all servers share


def main(*requests: str, session: str = "user-7") -> None:
    """Handle *requests*, each with all that was said before it in this *session*."""
    for request in requests:
        print(f"user: {request}")
        with using():  # at its end, what runs in the background has ended, too
            for event in stream(desk, request, key=session):
                match event:
                    case Notice("routed" | "handed_off" as kind, name, data=data):
                        print(f"  [{kind}: {name}, {data}]")
                    case Finished(response):
                        print(f"{response.answered_by}: {response.output}")
    print(f"The management reads: {MAIL}")


if __name__ == "__main__":
    print(to_mermaid(desk)) if "--diagram" in sys.argv else main(*sys.argv[1:] or REQUESTS)
