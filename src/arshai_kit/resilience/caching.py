"""What a model has been asked before, it is not asked again: the same question to the same model, kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from functools import partial
from hashlib import sha256
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, overload

import attrs
from attrs import field, frozen

from arshai_kit.codec import from_json, to_json, to_plain
from arshai_kit.cost import PricedModel
from arshai_kit.effects import Emit, Now, Plan, Secret
from arshai_kit.embeddings import Embedder
from arshai_kit.errors import Misuse, RunError
from arshai_kit.models import Ask, Endpoint, is_model, overheard, retold
from arshai_kit.records import Notice, Response, Usage
from arshai_kit.resilience.around import Around, asking, named
from arshai_kit.resilience.caching_vectors import CachedEmbedder, Key
from arshai_kit.resilience.embedding import is_embedder
from arshai_kit.resilience.flights import Flights, Seat, followed

__all__ = ["Cached", "cached", "identity", "keepable"]

_VERSION: Final = 1
"""Of what a key is made of; another one finds nothing of what was kept before."""
_WHOLE: Final = frozenset({"stop", "tool_calls"})
_NOTHING: Final = frozenset(
    {
        *("api_key", "key_header", "token", "timeout", "connect_timeout"),
        *("deadline", "max_body", "retry", "idempotency_header", "capabilities"),
    }
)
"""What an endpoint has that changes nothing of its answers."""


@frozen(eq=False, repr=False)
class Cached(Around):
    """A model whose answers are kept; *fresh* asks it all the same, and keeps what it answers now."""

    cache: Any
    key: Callable[[Any, Ask], Any] | None = None
    fresh: bool = False
    patience: float = 60.0
    flights: Flights = field(
        default=attrs.Factory(lambda self: getattr(self.cache, "flights", None) or Flights(), takes_self=True),
        eq=False,
        repr=False,
        init=False,  # with another cache, who asks the same there is nobody that is waited for here
    )

    def __attrs_post_init__(self) -> None:
        if self.key is None:
            identity(self.model)
        if any(isinstance(each, Cached) and self._meets(each) for each in _within(self.model)):
            raise Misuse("the model keeps its answers in this very cache already; wrap it once")

    def _meets(self, inner: Cached) -> bool:
        """Whether who asks *inner* may wait for who asks this one, which waits for it."""
        if inner.cache is not self.cache or (inner.key is None) is not (self.key is None):
            return False
        return self.key is not None or identity(inner.model) == identity(self.model)

    def key_of(self, ask: Ask) -> str:
        """What the answer to *ask* is kept under."""
        own = self.key
        told = {"ask": to_plain(ask), "model": identity(self.model)} if own is None else {"key": own(self.model, ask)}
        try:
            text = json.dumps({"v": _VERSION, **told}, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise Misuse(f"key= gives text, or other JSON: {error}") from error
        return sha256(text.encode()).hexdigest()

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """What is kept, else what the model answers; asked once however many ask at the same time."""
        key = self.key_of(ask)
        if self.fresh:
            anew: Response = yield from _fresh(self.model).ask(ask, stream=stream)
            yield from self._kept(key, anew)
            return anew
        there, found = yield from self._found(key)
        if found is not None:
            return (yield from self._hit(found, "answered before", stream=stream))
        return (yield from self._once(key, ask, there=there, stream=stream))

    def _once(self, key: str, ask: Ask, *, there: bool, stream: bool) -> Plan[Response]:
        """What another is answered who asks the same right now, else what the model answers."""
        seat = Seat(key)
        try:
            found = _read((yield from followed(self.flights, seat, self.patience)))
            if found is not None:
                return (yield from self._hit(found, "asked by another at the same time", stream=stream))
            if there:  # another may have been answered before this one began to lead
                _, found = yield from self._found(key)
            if found is not None:
                self.flights.land(seat, to_json(found))
                return (yield from self._hit(found, "answered before", stream=stream))
            plan = self.model.ask(ask, stream=stream)
            response = yield from overheard(plan, seat.hear) if stream else plan
            self.flights.land(seat, (yield from self._kept(key, response)))
            return response  # type: ignore[no-any-return]  # a model answers with a Response
        finally:
            self.flights.land(seat)

    def _found(self, key: str) -> Plan[tuple[bool, Response | None]]:
        """Whether the cache is there, and what it has."""
        try:
            text = yield from asking(self.cache, self.cache.get, key, (yield from Now()))
        except RunError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a store raises, the model is asked then
            yield from self._away("read", error)
            return False, None
        return True, _read(text)

    def _kept(self, key: str, response: Response) -> Plan[str | None]:
        """*response* as text, for who asks the same right now; kept for later if it is whole."""
        text = _written(response)
        if text is not None and keepable(response):
            try:
                yield from asking(self.cache, self.cache.put, key, text, (yield from Now()))
            except RunError:
                raise
            except Exception as error:  # noqa: BLE001  # the answer is there, whatever becomes of the store
                yield from self._away("written", error)
        return text

    def _away(self, what: str, error: Exception) -> Plan[None]:
        told = f"the cache cannot be {what}: {type(error).__name__}: {error}"
        yield from Emit((Notice("cache_failed", self.name, told),))

    def _hit(self, found: Response, why: str, *, stream: bool) -> Plan[Response]:
        """*found*, told as it would be by the model; it costs nothing, or sums would count it twice."""
        usage = found.usage
        saved = {name: getattr(usage, name) for name in ("input_tokens", "output_tokens") if name not in usage.missing}
        yield from Emit((Notice("cache_hit", self.name, why, saved), *(retold(found) if stream else ())))
        return attrs.evolve(found, usage=Usage(), cost=Decimal(0))


@overload
def cached(model: Embedder, cache: Any, *, key: Key | None = None, patience: float = 60.0) -> CachedEmbedder: ...
@overload
def cached(
    model: Any, cache: Any, *, key: Callable[[Any, Ask], Any] | None = None, patience: float = 60.0
) -> Cached: ...
def cached(model: Any, cache: Any, *, key: Any = None, patience: float = 60.0) -> Cached | CachedEmbedder:
    """*model*, which is not asked again what it has answered before; or an embedder, which embeds no text again.

    That is in *cache*, a `MemoryCache`, `SqliteCache`, `RedisCache`, or whatever else has their `get` and `put`. It is
    the same when the whole question is, and the model: its provider, address, name and settings, never its key. *key*,
    a function of the model and the question, tells instead what is the same, by text or other JSON; of an embedder it
    is a function of that, a text, and its kind.

    Of several that ask the same at the same time, one calls; the others wait for it for *patience* seconds, then ask
    for themselves. `evolve(cached_model, fresh=True)` asks anew.
    """
    if not is_model(model) and not is_embedder(model):
        raise Misuse(
            f"cached wraps a model or an embedder, not {named(model)}: what an agent does besides answering cannot be"
            " kept"
        )
    if not (callable(getattr(cache, "get", None)) and callable(getattr(cache, "put", None))):
        raise Misuse(f"a cache has get and put, as MemoryCache() has them; {type(cache).__name__} has not")
    if key is not None and not callable(key):
        raise Misuse(f"key= is a function of a model and a question, not {type(key).__name__}")
    if type(patience) not in (int, float) or not patience >= 0:
        raise Misuse(f"patience= is a number of seconds, not {patience!r}")
    return (Cached if is_model(model) else CachedEmbedder)(model, cache, key, patience=patience)


def _within(model: Any) -> Iterator[Any]:
    """*model*, and all that it asks."""
    yield model
    for each in (getattr(model, "model", None), *getattr(model, "models", ())):
        if is_model(each):
            yield from _within(each)


def _fresh(model: Any) -> Any:
    """*model*, of which no cache is read, however far inside."""
    if not attrs.has(type(model)):
        return model
    changes: dict[str, Any] = {"fresh": True} if isinstance(model, Cached) and not model.fresh else {}
    for name in {spot.name for spot in attrs.fields(type(model))} & {"model", "models"}:
        held = getattr(model, name)
        inner = _fresh(held) if name == "model" else tuple([_fresh(each) for each in held])
        if inner is not held and inner != held:
            changes[name] = inner
    return attrs.evolve(model, **changes) if changes else model


# What is kept


def keepable(response: Response) -> bool:
    """Whether *response* is a whole answer: not cut, filtered, refused, empty, or with a call that cannot be read.

    >>> from arshai_kit.records import assistant
    >>> keepable(Response((assistant("Oslo."),))), keepable(Response((assistant("Osl"),), "length"))
    (True, False)
    """
    messages = (response.message, *[each.message for each in response.candidates])
    reasons = {response.finish_reason, *[each.finish_reason for each in response.candidates]}
    broken = any(call.broken is not None for message in messages for call in message.tool_calls)
    return reasons <= _WHOLE and all(message.parts for message in messages) and not broken and not response.refusal


def _written(response: Response) -> str | None:
    """*response* as text, if that gives it back; without the limits of its provider, which are of then."""
    try:
        text = to_json(attrs.evolve(response, rate_limits=()))
    except Exception:  # noqa: BLE001  # whatever a model of somebody's put into it
        return None
    return text if response.output is None or _read(text) == response else None


def _read(text: Any) -> Response | None:
    """The response that *text* holds; what cannot be read is not there."""
    if not isinstance(text, str | bytes):
        return None
    try:
        found = from_json(text)
    except Exception:  # noqa: BLE001  # whoever wrote it, it is no answer
        return None
    return found if isinstance(found, Response) else None


# Which model it is


def identity(model: Any) -> Any:
    """What tells *model* from those that may answer otherwise, as JSON; refused, if nothing does.

    >>> from arshai_kit.providers import openai_compatible
    >>> one, other = [openai_compatible("any", base_url="http://localhost", api_key=key) for key in ("sk-1", "sk-2")]
    >>> identity(one) == identity(other), identity(one) == identity(attrs.evolve(other, temperature=0))
    (True, False)
    """
    kind = type(model)
    if isinstance(model, PricedModel) or kind.__module__.startswith("arshai_kit.resilience."):  # they change no answer
        models = getattr(model, "models", None)
        return identity(model.model) if models is None else [identity(each) for each in models]
    if not attrs.has(kind):
        raise Misuse(f"nothing tells {kind.__name__} {named(model)!r} from another: {_REMEDY}")
    return _record(model, _NOTHING if isinstance(model, Endpoint) else frozenset())


_REMEDY: Final = "cached(model, cache, key=…) takes a function of the model and the question that does"


def _record(value: Any, without: frozenset[str] = frozenset()) -> Any:
    names = [spot.name for spot in attrs.fields(type(value)) if spot.eq and spot.name not in without]
    return {"type": _named(type(value)), **{name: _plain(getattr(value, name)) for name in names}}


def _plain(value: Any) -> Any:
    """*value* as JSON that no other value has, but for keys."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() | Decimal() | Enum():
            return {type(value).__name__: str(value)}
        case bytes():
            return {"bytes": sha256(value).hexdigest()}
        case Secret():
            return {"secret": None}
        case Mapping() if all(isinstance(key, str) for key in value):
            return {"items": {key: _plain(each) for key, each in value.items()}}
        case tuple() | list():
            return [_plain(each) for each in value]
        case frozenset() | set():
            return {"set": sorted(json.dumps(_plain(each), sort_keys=True) for each in value)}
    return _function(value)


def _function(value: Any) -> Any:
    """A function, or a record, as JSON; whatever else there is cannot be told apart."""
    match value:
        case FunctionType() | BuiltinFunctionType() | type():
            return _named(value)
        case MethodType():
            return [_plain(value.__self__), value.__name__]
        case partial():
            return ["partial", _plain(value.func), _plain(value.args), _plain(value.keywords)]
        case _ if is_model(value):
            return identity(value)
        case _ if attrs.has(type(value)):
            return _record(value)
    raise Misuse(f"nothing tells one {type(value).__name__} from another: {_REMEDY}")


def _named(value: Any) -> str:
    name = f"{value.__module__}:{value.__qualname__}"
    if "<" in name:
        raise Misuse(f"{name} has no name of its own: {_REMEDY}")
    return name
