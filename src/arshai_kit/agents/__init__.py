"""Functions that make agents of models, and agents of agents."""

from arshai_kit.agents.combining import Parallel, Pipe, parallel, pipe
from arshai_kit.agents.insisting import Insisting, insist
from arshai_kit.agents.making import Agent, agent, placed
from arshai_kit.agents.routing import Choice, Route, route
from arshai_kit.agents.tools import as_tool

__all__ = [
    "Agent",
    "Choice",
    "Insisting",
    "Parallel",
    "Pipe",
    "Route",
    "agent",
    "as_tool",
    "insist",
    "parallel",
    "pipe",
    "placed",
    "route",
]
