"""Functions that make agents of models, and agents of agents."""

from arshai_kit.agents.approving import Approving, Decision, Pausing, approve
from arshai_kit.agents.combining import Parallel, Pipe, parallel, pipe
from arshai_kit.agents.drawing import to_mermaid
from arshai_kit.agents.guarding import Guarded, guard
from arshai_kit.agents.handing import HandOff, handoff, whose_turn
from arshai_kit.agents.insisting import Insisting, insist
from arshai_kit.agents.making import Agent, agent, placed
from arshai_kit.agents.prompts import latest
from arshai_kit.agents.routing import Choice, Route, route
from arshai_kit.agents.tools import as_tool

__all__ = [
    "Agent",
    "Approving",
    "Choice",
    "Decision",
    "Guarded",
    "HandOff",
    "Insisting",
    "Parallel",
    "Pausing",
    "Pipe",
    "Route",
    "agent",
    "approve",
    "as_tool",
    "guard",
    "handoff",
    "insist",
    "latest",
    "parallel",
    "pipe",
    "placed",
    "route",
    "to_mermaid",
    "whose_turn",
]
