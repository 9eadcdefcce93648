"""Functions that make agents of models, and agents of agents."""

from arshai_kit.agents.making import Agent, agent, placed

__all__ = ["Agent", "agent", "placed"]
