"""What has been embedded before is not embedded again: the same text by the same model, kept as its vector's bytes.

What comes is kept as it comes, one request after the other, so that a run that ends in the middle has lost one at most.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import attrs
from attrs import field, frozen

from arshai_kit.effects import Emit, Instant, Now, Plan
from arshai_kit.embeddings import Kept
from arshai_kit.errors import BadReply, Misuse, RunError
from arshai_kit.records import Notice
from arshai_kit.records.vectors import Embeddings, Kind, Vector, joined
from arshai_kit.resilience.around import asking
from arshai_kit.resilience.embedding import EmbedderAround
from arshai_kit.resilience.flights import Flights, Seat, awaited

__all__ = ["CachedEmbedder", "Key", "read", "written"]

Key = Callable[[Any, str, Kind], Any]
"""What is the same: text or other JSON for an embedder, a text, and its kind."""

_VERSION: Final = 1
"""Of what a key is made of; another one finds nothing of what was kept before."""
_CUT: Final = "~"
"""Behind a vector: its text was too long, and the beginning was read."""
_MANY: Final = 1000
"""Texts that a cache is asked for at a time."""


@frozen(eq=False, repr=False)
class CachedEmbedder(EmbedderAround):
    """An embedder whose vectors are kept; *fresh* asks it all the same, and keeps what it gives now."""

    cache: Any
    key: Key | None = None
    fresh: bool = False
    patience: float = 60.0
    flights: Flights = field(
        default=attrs.Factory(lambda self: getattr(self.cache, "flights", None) or Flights(), takes_self=True),
        eq=False,
        repr=False,
        init=False,  # with another cache, who asks the same there is nobody that is waited for here
    )

    def __attrs_post_init__(self) -> None:
        inner = self.embedder
        while isinstance(inner, EmbedderAround):
            if getattr(inner, "cache", None) is self.cache:
                raise Misuse("the embedder keeps its vectors in this very cache already; wrap it once")
            inner = inner.embedder

    def keys_of(self, texts: Iterable[str], kind: Kind) -> dict[str, str]:
        """What the vector of each of *texts* is kept under."""
        if self.key is not None:
            own = self.key
            return {text: _hashed("", _json([_VERSION, own(self.embedder, text, kind)])) for text in texts}
        space = _json([_VERSION, self.provider, self.name, self.dimensions, self.keyed(kind)])
        return {text: _hashed(space, text) for text in texts}

    def kept(self, texts: Sequence[str], kind: Kind) -> Plan[Mapping[str, Kept]]:
        """What the cache has of *texts*, of which it tells; one that cannot be read has nothing."""
        found: dict[str, Kept] = {}
        if not self.fresh:
            yield from self._find(self.keys_of(texts, kind), found)
        if found:
            yield from Emit((Notice("cache_hit", self.name, "embedded before", {"texts": len(found)}),))
        return found

    def embed(self, texts: Sequence[str], *, kind: Kind = None) -> Plan[Embeddings]:
        """What is kept, and the rest from the embedder; of those that ask the same at the same time, one asks it."""
        keys = self.keys_of(texts, kind)
        found: dict[str, Kept] = {}
        if self.fresh:
            asked = yield from self._asked(keys, tuple(keys), kind, found)
        else:
            asked = yield from self._together(keys, kind, found)
        told = [found[text] for text in texts]
        return attrs.evolve(
            asked,
            vectors=[vector for vector, _ in told],
            truncated=[place for place, (_, cut) in enumerate(told) if cut],
            model=asked.model or self.name,
            provider=asked.provider or self.provider,
        )

    def _together(self, keys: Mapping[str, str], kind: Kind, found: dict[str, Kept]) -> Plan[Embeddings]:
        """Add to *found* all that is not kept; what others ask for right now is waited for, and asked if they fail."""
        seats = {text: Seat(key) for text, key in keys.items()}
        try:
            mine = yield from Instant(_led, self.flights, seats)
            yield from self._find({text: keys[text] for text in mine}, found)
            self._land(seats, found)
            first = yield from self._asked(keys, [text for text in mine if text not in found], kind, found)
            self._land(seats, found)
            yield from self._followed(seats, found)
            rest = yield from self._asked(keys, [text for text in keys if text not in found], kind, found)
        finally:
            self._land(seats, found)
            for seat in seats.values():
                self.flights.land(seat)
        return joined((first, rest))

    def _asked(
        self, keys: Mapping[str, str], texts: Sequence[str], kind: Kind, found: dict[str, Kept]
    ) -> Plan[Embeddings]:
        """What the embedder gives for *texts*, which is kept, and added to *found*."""
        if not texts:
            return joined(())
        asked: Embeddings = yield from self.embedder.embed(tuple(texts), kind=kind)
        if len(asked) != len(texts):
            raise BadReply(f"{len(texts)} texts went to {self.name}, {len(asked)} came back")
        cut = frozenset(asked.truncated)
        fresh = {text: (vector, place in cut) for place, (text, vector) in enumerate(zip(texts, asked, strict=True))}
        found.update(fresh)
        yield from self._keep({keys[text]: written(*kept) for text, kept in fresh.items()})
        return asked

    def _land(self, seats: Mapping[str, Seat], found: Mapping[str, Kept]) -> None:
        """Tell who waits for what has been *found*."""
        for text in seats.keys() & found.keys():
            self.flights.land(seats[text], written(*found[text]))

    def _followed(self, seats: Mapping[str, Seat], found: dict[str, Kept]) -> Plan[None]:
        """Add to *found* what the others are answered who asked first, for as long as there is patience with them."""
        began = yield from Now()
        for text, seat in seats.items():
            if text not in found:
                left = max(0.0, self.patience - (yield from Now()) + began)
                kept = read((yield from awaited(self.flights, seat, left)), self.dimensions)
                found.update({} if kept is None else {text: kept})

    # The cache

    def _find(self, keys: Mapping[str, str], found: dict[str, Kept]) -> Plan[None]:
        """Add to *found* what the cache has under *keys*."""
        names = list(keys.values())
        texts: dict[str, str] = {}
        try:
            for start in range(0, len(names), _MANY):
                texts.update((yield from _got(self.cache, names[start : start + _MANY])))
        except RunError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a store raises, the embedder is asked then
            yield from self._away("read", error)
        known = {text: read(texts.get(key), self.dimensions) for text, key in keys.items()}
        found.update({text: kept for text, kept in known.items() if kept is not None})

    def _keep(self, texts: Mapping[str, str]) -> Plan[None]:
        try:
            yield from _put(self.cache, texts)
        except RunError:
            raise
        except Exception as error:  # noqa: BLE001  # the vectors are there, whatever becomes of the store
            yield from self._away("written", error)

    def _away(self, what: str, error: Exception) -> Plan[None]:
        told = f"the cache cannot be {what}: {type(error).__name__}: {error}"
        yield from Emit((Notice("cache_failed", self.name, told),))


def _led(flights: Flights, seats: Mapping[str, Seat]) -> list[str]:
    """Those that nobody else is asking for right now."""
    return [text for text, seat in seats.items() if not flights.board(seat)]


def _got(cache: Any, keys: list[str]) -> Plan[Mapping[str, str]]:
    now = yield from Now()
    if hasattr(cache, "get_many"):
        return (yield from asking(cache, cache.get_many, keys, now)) if keys else {}
    found: dict[str, str] = {}
    for key in keys:
        text = yield from asking(cache, cache.get, key, now)
        found.update({} if text is None else {key: text})
    return found


def _put(cache: Any, texts: Mapping[str, str]) -> Plan[None]:
    now = yield from Now()
    if hasattr(cache, "put_many"):
        yield from asking(cache, cache.put_many, texts, now)
        return
    for key, text in texts.items():
        yield from asking(cache, cache.put, key, text, now)


# What is kept


def written(vector: Vector, cut: bool) -> str:  # noqa: FBT001  # a pair, as it is kept
    """*vector* as text.

    >>> written(Vector.of((1, 2)), False), read(written(Vector.of((1, 2)), True), 2)
    ('AACAPwAAAEA=', (Vector(1, 2), True))
    """
    return b64encode(vector.data).decode() + (_CUT if cut else "")


def read(text: Any, dimensions: int | None) -> Kept | None:
    """The vector that *text* holds; what cannot be read, or is of another size, is not there."""
    if not isinstance(text, str | bytes):
        return None
    try:
        told = text if isinstance(text, str) else text.decode()
        vector = Vector(b64decode(told.removesuffix(_CUT), validate=True)).checked()
    except ValueError:  # Misuse is one
        return None
    return (vector, told.endswith(_CUT)) if len(vector) and dimensions in (None, len(vector)) else None


def _json(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Misuse(f"key= gives text, or other JSON: {error}") from error


def _hashed(space: str, text: str) -> str:
    """The key for *text* in *space*: of both lengths, or two pairs might make the same one."""
    return sha256(f"embedding {len(space)} {space} {text}".encode("utf-8", "surrogatepass")).hexdigest()
