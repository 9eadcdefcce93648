"""What an index has of each source, told by the fingerprints of its entries: whole, in part, or of another state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from arshai_kit.retrieval.fingerprints import mark, parts_of

__all__ = ["Held"]


@frozen
class Held:
    """How many entries an index has of each source, and of each fingerprint, under what tells its source."""

    sources: Mapping[str, int] = field(factory=dict)
    prints: Mapping[str, Mapping[str, int]] = field(factory=dict)

    @classmethod
    def of(cls, facets: Mapping[str, Any]) -> Held:
        """What the statistics of an index tell, asked for the facets `source` and `document`."""
        prints: dict[str, dict[str, int]] = {}
        for fingerprint, count in dict(facets.get("document", ())).items():
            prints.setdefault(fingerprint.partition("-")[0], {})[fingerprint] = count
        return cls(dict(facets.get("source", ())), prints)

    def known(self, source: str, how: str) -> str:
        """What `mark_of` gives of the state of *source* that the index has, whole and made in this way; else nothing.

        >>> from arshai_kit.retrieval.fingerprints import mark_of
        >>> state = mark_of("a.md", "2cf2", "0123456789ab")
        >>> whole = Held.of({"source": (("a.md", 3),), "document": ((f"{state}-3", 3),)})
        >>> part = Held.of({"source": (("a.md", 2),), "document": ((f"{state}-3", 2),)})
        >>> whole.known("a.md", "0123456789ab") == state, part.known("a.md", "0123456789ab")
        (True, '')
        """
        for fingerprint in self.prints.get(mark(source, length=16), ()):
            made, own, _ = parts_of(fingerprint)
            if own == how and self.whole(source, fingerprint):
                return made
        return ""

    def whole(self, source: str, fingerprint: str) -> bool:
        """Whether the index has of *source* what *fingerprint* names, all of it and nothing else."""
        found = self.prints.get(fingerprint.partition("-")[0], {}).get(fingerprint, 0)
        return found == parts_of(fingerprint)[2] == self.sources.get(source, 0)
