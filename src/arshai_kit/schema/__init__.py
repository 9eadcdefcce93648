"""Types to JSON Schema, JSON to types: what a model is told to send, and what is made of what it sent."""

from arshai_kit.schema.document import json_schema
from arshai_kit.schema.misfit import Misfit
from arshai_kit.schema.plain import unstructured
from arshai_kit.schema.reshape import strict
from arshai_kit.schema.settling import Settling, settled
from arshai_kit.schema.signatures import Described, arguments, describe
from arshai_kit.schema.structuring import structured

__all__ = [
    "Described",
    "Misfit",
    "Settling",
    "arguments",
    "describe",
    "json_schema",
    "settled",
    "strict",
    "structured",
    "unstructured",
]
