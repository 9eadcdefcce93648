"""Entries on their way into an index: embedded and written in batches, whatever documents they are of.

What a document had before is taken away once all of it is written, so that at no time anything of it is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import define, evolve

from arshai_kit.effects import Handle, Join, Plan, Start
from arshai_kit.embeddings import embed
from arshai_kit.index import Entry, Index, field, where
from arshai_kit.records.vectors import Vector
from arshai_kit.retrieval.asking import asked, space
from arshai_kit.retrieval.fingerprints import parts_of
from arshai_kit.retrieval.reading import Cut
from arshai_kit.retrieval.tallying import Tally

__all__ = ["Incoming", "Writer"]

_AT_ONCE: Final = 500


@define
class Incoming:
    """A document on its way in; *had*: the index has something of its *source*; *left*: what is to be written yet."""

    source: str
    size: int | None
    cut: Cut
    had: bool
    left: int = 0


@define
class _Piece:
    """An entry on its way, and the text that is embedded for it, where it needs a vector."""

    entry: Entry[Any]
    text: str
    of: Incoming


class Writer:
    """What writes into *index*; owned by one plan."""

    def __init__(
        self,
        index: Index[Any],
        embedder: Any,
        told: Callable[[str, Any], str],
        tally: Tally,
        *,
        batch: int,
        side_by_side: int,
    ) -> None:
        self.index, self.embedder, self.told, self.tally = index, embedder, told, tally
        self.batch, self.side_by_side = batch, side_by_side
        self.space = "" if embedder is None else space(embedder)
        self._waiting: list[_Piece] = []
        self._under_way: Handle[None] | None = None

    def take(self, document: Incoming) -> Plan[None]:
        """Let the entries of *document* go their way; those before it may be written meanwhile."""
        entries = document.cut.entries
        document.left = len(entries)
        if not entries:
            yield from self._done(document)
            return
        known = (yield from self._known(entries)) if document.had and self.embedder is not None else {}
        for entry in entries:
            text = self.told(entry.text, entry.fields)
            vector = known.get(entry.id, {}).get(text)
            self._waiting.append(_Piece(evolve(entry, vector=vector) if vector else entry, text, document))
        while len(self._waiting) >= self.batch:
            yield from self._write(self.batch)

    def end(self, *, everything: bool) -> Plan[None]:
        """Wait for what is under way; with *everything*, write what is left."""
        if everything and self._waiting:
            yield from self._write(self.batch)
        yield from self._waited()

    def _known(self, entries: Sequence[Entry[Any]]) -> Plan[dict[str, dict[str, Vector]]]:
        """The vectors that the index has of the same texts, embedded in the same way: by id, and what was embedded."""
        known: dict[str, dict[str, Vector]] = {}
        for place in range(0, len(entries), _AT_ONCE):
            part = entries[place : place + _AT_ONCE]
            how = parts_of(part[0].fields.document)[1]
            for old in (yield from asked(self.index, self.index.get, [each.id for each in part])):
                if old.vector is not None and parts_of(old.fields.document)[1] == how:
                    known[old.id] = {self.told(old.text, old.fields): old.vector}
        return known

    def _write(self, count: int) -> Plan[None]:
        """Write so many of those that wait, once those before them are written, and do not wait for that."""
        pieces, self._waiting = self._waiting[:count], self._waiting[count:]
        yield from self._waited()
        self._under_way = yield from Start(self._written(pieces))

    def _waited(self) -> Plan[None]:
        if self._under_way is not None:
            handle, self._under_way = self._under_way, None
            (outcome,) = yield from Join((handle,))
            outcome.unwrap()

    def _written(self, pieces: Sequence[_Piece]) -> Plan[None]:
        """Embed and write *pieces*, then take away what the documents had before that are complete now."""
        entries = yield from self._embedded(pieces)
        yield from asked(self.index, self.index.upsert, entries, self.space)
        self.tally.count(chunks=len(entries))
        ended: dict[int, Incoming] = {}
        for piece in pieces:
            piece.of.left -= 1
            if not piece.of.left:
                ended[id(piece.of)] = piece.of
        for document in ended.values():
            yield from self._done(document)

    def _embedded(self, pieces: Sequence[_Piece]) -> Plan[list[Entry[Any]]]:
        """The entries of *pieces*, with their vectors."""
        lacking = [piece for piece in pieces if piece.entry.vector is None]
        if self.embedder is None or not lacking:
            return [piece.entry for piece in pieces]
        texts = [piece.text for piece in lacking]
        found = yield from embed.plan(self.embedder, texts, kind="document", side_by_side=self.side_by_side)
        self.tally.spend(found)
        self.tally.count(embedded=len(texts))
        made: Mapping[int, Vector] = {id(piece): vector for piece, vector in zip(lacking, found, strict=True)}
        return [
            Entry(piece.entry.id, piece.entry.text, made[id(piece)], piece.entry.fields)
            if id(piece) in made
            else piece.entry
            for piece in pieces
        ]

    def _done(self, document: Incoming) -> Plan[None]:
        """Take away what the index had of *document* before, for all of it is there now."""
        if document.had:
            others = where(source=document.source) & (field("document") != document.cut.fingerprint)
            yield from asked(self.index, self.index.delete, others)
        kind = "skipped" if not document.cut.entries else "changed" if document.had else "new"
        self.tally.count(**{kind: (document.source,) if kind == "skipped" else 1})
        yield from self.tally.ended(document.source, document.size)
