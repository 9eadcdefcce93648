"""A model that is only ever asked under a script."""

from __future__ import annotations

from attrs import field, frozen

from arshai_kit import Response
from arshai_kit.effects import Plan
from arshai_kit.models import Ask, Capabilities

__all__ = ["Toy"]


@frozen
class Toy:
    """What a script answers for."""

    name: str = "toy"
    provider: str = "toy"
    capabilities: Capabilities = field(factory=Capabilities)

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Never get here."""
        raise AssertionError("a scripted model is not asked itself")
