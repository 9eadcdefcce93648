"""What a reply cost, or that nobody knows: an unknown price is never zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Context, Decimal, Inexact
from typing import Any, Final, Protocol, TypeAlias

import attrs
from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Now, Plan
from arshai_kit.errors import ArshaiError, Misuse, need
from arshai_kit.models import Ask, Capabilities, is_model
from arshai_kit.records import Response, Usage

__all__ = [
    "Money",
    "Price",
    "PricedModel",
    "Prices",
    "Pricing",
    "Published",
    "Spend",
    "cost",
    "dollars",
    "priced",
    "published",
]

Money: TypeAlias = Decimal | float | str
"""US dollars; a `float` stands for the shortest number that prints like it."""

_EXACT: Final = Context(prec=400, traps=[Inexact])
_PER_MILLION: Final = -6
_NOTHING: Final = Decimal(0)


def dollars(money: Money | None, word: str = "money") -> Decimal | None:
    """*money*, exactly; *word* names what it is for, should it be no amount.

    >>> dollars(0.1), dollars("2"), dollars(None)
    (Decimal('0.1'), Decimal('2'), None)
    """
    if money is None:
        return None
    try:
        amount = money if isinstance(money, Decimal) else Decimal(str(money))
    except ArithmeticError:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0 or isinstance(money, bool):
        raise Misuse(f"{word}= is a number of US dollars from 0, not {money!r}")
    return amount


@frozen(eq=False, repr=False)
class Spend(Record):
    """Tokens and US dollars that were spent, or may be; *money* is `None` where nobody knows."""

    tokens: int = 0
    money: Decimal | None = field(default=_NOTHING, converter=dollars)

    def __add__(self, other: Spend) -> Spend:
        some, others = self.money, other.money
        return Spend(self.tokens + other.tokens, None if some is None or others is None else _EXACT.add(some, others))

    def __sub__(self, other: Spend) -> Spend:
        """What is left when *other* is gone: nothing, where that was more."""
        some, others = self.money, other.money
        left = None if some is None or others is None else max(_NOTHING, _EXACT.subtract(some, others))
        return Spend(max(0, self.tokens - other.tokens), left)


class Pricing(Protocol):
    """A table of prices."""

    def __call__(self, usage: Usage, name: str, provider: str, *, requests: int, at: float | None) -> Decimal | None:
        """What *usage* of the model called *name* costs at the time *at* (now), if it is known."""
        ...


@frozen(eq=False, repr=False)
class Price(Record):
    """What one model costs, in US dollars per million tokens; *request* is for each request.

    Reasoning is output unless it has a price of its own. Any other kind of tokens that is used without having a price
    makes the cost unknown.
    """

    input: Decimal | None = field(default=None, converter=dollars)
    output: Decimal | None = field(default=None, converter=dollars)
    cached_input: Decimal | None = field(default=None, converter=dollars)
    cache_write: Decimal | None = field(default=None, converter=dollars)
    reasoning: Decimal | None = field(default=None, converter=dollars)
    audio_input: Decimal | None = field(default=None, converter=dollars)
    audio_output: Decimal | None = field(default=None, converter=dollars)
    image_input: Decimal | None = field(default=None, converter=dollars)
    image_output: Decimal | None = field(default=None, converter=dollars)
    request: Decimal | None = field(default=None, converter=dollars)

    def of(self, usage: Usage, requests: int = 1) -> Decimal | None:
        """What *usage* costs; `None` where a part of it is not known.

        >>> Price(input=2, output=8, cached_input="0.5").of(Usage(1000, 100, cached_tokens=600))
        Decimal('0.0019000')
        """
        counts = _counts(usage, apart=self.reasoning is not None)
        if counts is None or (self._hides_reasoning() and "reasoning_tokens" in usage.missing):
            return None
        total = _EXACT.multiply(self.request or _NOTHING, Decimal(requests))
        for kind, count in counts.items():
            price: Decimal | None = getattr(self, kind, None)
            if count and price is None:
                return None
            if price is not None:
                spent = _EXACT.multiply(price, Decimal(count)).scaleb(_PER_MILLION, _EXACT)
                total = _EXACT.add(total, spent)
        return total

    def rates(self) -> tuple[Decimal, Decimal] | None:
        """The dearest price for a million tokens of any kind that go in, and that come out."""
        if self.input is None or self.output is None:
            return None
        both = [[getattr(self, kind) for kind in (whole, *parts)] for whole, parts in _INSIDE.items()]
        went_in, out = [max([price for price in prices if price is not None]) for prices in both]
        return went_in, out

    def _hides_reasoning(self) -> bool:
        """Whether reasoning costs more than other output, so that not to know how much there was makes a difference."""
        return self.reasoning is not None and (self.output is None or self.reasoning > self.output)


_INSIDE: Final = {
    "input": ("cached_input", "cache_write", "audio_input", "image_input"),
    "output": ("reasoning", "audio_output", "image_output"),
}


def _counts(usage: Usage, *, apart: bool) -> dict[str, int] | None:
    """The tokens of each kind, none of them counted twice; `None` where the counts contradict each other."""
    if not usage.reported:
        return None
    counts = {**usage.kinds, "cached_input": usage.cached_tokens, "reasoning": usage.reasoning_tokens if apart else 0}
    counts |= {"input": usage.input_tokens, "output": usage.output_tokens}
    for whole, parts in _INSIDE.items():
        counts[whole] -= sum(counts.get(part, 0) for part in parts)
    return None if any(count < 0 for count in counts.values()) else counts


def _table(table: Mapping[str, Any]) -> tuple[tuple[str, Price], ...]:
    return tuple([(name, _price(name, price)) for name, price in table.items()])


def _price(name: str, price: Any) -> Price:
    if isinstance(price, Price):
        return price
    kinds = [spot.name for spot in attrs.fields(Price)]
    if not isinstance(price, Mapping) or (strange := [kind for kind in price if kind not in kinds]):
        said = type(price).__name__ if not isinstance(price, Mapping) else ", ".join(map(str, strange))
        raise Misuse(f"{name}: a price is a Price(…) or a mapping with some of {', '.join(kinds)}, not {said}")
    return Price(**price)


@frozen(eq=False, repr=False)
class Prices(Record):
    """Prices of yours: a name (`"gpt-5"`), who provides it too (`"azure:gpt-5"`), or a beginning (`"gpt-5*"`).

    Values are `Price` records, or mappings from kinds of tokens to US dollars per million. *otherwise* is asked about
    what is not named here.

    >>> prices = Prices({"small*": {"input": 1, "output": "2.5"}})
    >>> prices(Usage(1_000_000, 2), "small-2026", "")
    Decimal('1.0000050')
    """

    table: tuple[tuple[str, Price], ...] = field(converter=_table)
    otherwise: Any = None

    def __call__(
        self, usage: Usage, name: str, provider: str, *, requests: int = 1, at: float | None = None
    ) -> Decimal | None:
        """What *usage* costs by these prices; `None` where they do not say."""
        price = self.price(name, provider)
        if price is None and self.otherwise is not None:
            return self.otherwise(usage, name, provider, requests=requests, at=at)  # type: ignore[no-any-return]  # a Pricing
        return None if price is None else price.of(usage, requests)

    def price(self, name: str, provider: str = "") -> Price | None:
        """The price of a model: the one that names it in full, or the longest beginning of its name."""
        table = dict(self.table)
        for full in (f"{provider}:{name}", name):
            if full in table:
                return table[full]
            fits = [key for key in table if key.endswith("*") and full.startswith(key[:-1])]
            if fits:
                return table[max(fits, key=len)]
        return None


_THEIRS: Final = {"gemini": "google", "vertex": "google", "xai": "x-ai", "moonshot": "moonshotai"}
"""What the published table calls the providers that we call otherwise."""
_KINDS: Final = {
    "cache_write": "cache_write_tokens",
    "audio_input": "input_audio_tokens",
    "audio_output": "output_audio_tokens",
    "image_input": "input_image_tokens",
    "image_output": "output_image_tokens",
}


_PRICED_APART: Final = ("input", "output", "input_audio", "output_audio")


@frozen(eq=False, repr=False)
class Published(Record):
    """The prices that the package `genai-prices` brings along: a snapshot, nothing is fetched."""

    def __call__(
        self, usage: Usage, name: str, provider: str, *, requests: int = 1, at: float | None = None
    ) -> Decimal | None:
        """What *usage* costs by the published prices; `None` where they do not say."""
        counts = _counts(usage, apart=False)
        if counts is None:
            return None
        told = {theirs: counts[ours] for ours, theirs in _KINDS.items() if counts.get(ours)}
        told |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        told["cache_read_tokens"] = usage.cached_tokens
        told["output_reasoning_tokens"] = usage.reasoning_tokens
        return _calculated({key: count for key, count in told.items() if count}, name, provider, requests, at)

    def rates(self, name: str, provider: str, went_in: int, at: float | None = None) -> tuple[Decimal, Decimal] | None:
        """The dearest price for a million tokens of any kind that go in, and that come out, when *went_in* go in."""
        found = _found({"input_tokens": went_in, "output_tokens": 1}, name, provider, at)
        prices = {} if found is None else vars(found.model_price)
        if prices.get("input_mtok") is None or prices.get("output_mtok") is None:
            return None
        rates = {
            key: _rate(price, went_in) for key, price in prices.items() if key.endswith("_mtok") and price is not None
        }
        out = max([rate for key, rate in rates.items() if "output" in key])
        return max([rate for key, rate in rates.items() if "output" not in key]), out


def _found(told: dict[str, int], name: str, provider: str, at: float | None) -> Any:
    """What the package says of so many tokens; `None` where it knows no such model, or the counts cannot be."""
    from datetime import UTC, datetime

    from genai_prices import Usage as Used
    from genai_prices import calc_price

    when = None if at is None else datetime.fromtimestamp(at, UTC)
    try:
        return calc_price(Used(**told), name, provider_id=_theirs(provider), genai_request_timestamp=when)
    except (LookupError, ValueError):
        return None


def _calculated(told: dict[str, int], name: str, provider: str, requests: int, at: float | None) -> Decimal | None:
    found = _found(told, name, provider, at)
    prices = None if found is None else found.model_price
    if any(told.get(f"{way}_tokens") and getattr(prices, f"{way}_mtok", None) is None for way in _PRICED_APART):
        return None  # the package would take sound without a price for text, which costs a tenth of it
    tiers = [tier.start for price in vars(prices).values() for tier in getattr(price, "tiers", ())] if prices else []
    if found is None or (requests > 1 and any(start < told.get("input_tokens", 0) for start in tiers)):
        return None  # which request had how many of these tokens, nobody knows
    return found.total_price  # type: ignore[no-any-return]  # a Decimal


def _rate(price: Any, went_in: int) -> Decimal:
    """The highest price for a million tokens of one kind, when *went_in* go in."""
    tiers = [tier.price for tier in getattr(price, "tiers", ()) if tier.start < went_in]
    highest: Decimal = max([getattr(price, "base", price), *tiers])
    return highest


def _theirs(provider: str) -> str | None:
    """The provider as the table calls it; what it cannot know is not taken for another that sounds like it."""
    from genai_prices.data_snapshot import get_snapshot

    name = _THEIRS.get(provider, provider)
    if name and name not in {each.id for each in get_snapshot().providers}:
        raise LookupError(name)
    return name or None


def published() -> Published:
    """The well-kept table of prices that the package `genai-prices` brings along (the extra `prices`)."""
    try:
        import genai_prices  # noqa: F401  # it is loaded here, once, not in the middle of a call
    except ImportError:
        need("genai-prices", "prices")
    return Published()


def known(prices: Pricing | None) -> Pricing:
    """*prices*, or else the published ones where they are installed, or else none."""
    if prices is not None:
        if not callable(prices):
            raise Misuse(f"prices= takes Prices({{…}}) or published(), not {type(prices).__name__}")
        return prices
    try:
        return published()
    except ImportError:
        return Prices({})


def cost(
    spent: Response | Usage, model: Any = "", prices: Pricing | None = None, *, at: float | None = None
) -> Decimal | None:
    """What *spent* cost in US dollars, `None` when nobody knows.

    What the provider said goes before *prices*, which are by default the published ones, where they are installed.
    *model* is the one that was asked, or its name. Of *prices* that change, those at the time *at* count (now).

    >>> table = Prices({"small": Price(input=1, output=2)})
    >>> cost(Usage(500_000, 1), "small", table), cost(Usage(1, 1), "large", table)
    (Decimal('0.500002'), None)
    """
    usage, requests = spent, 1
    if isinstance(spent, Response):
        if spent.cost is not None:
            return spent.cost
        usage, requests = spent.usage, max(1, sum(message.role == "assistant" for message in spent.messages))
    table = known(prices)
    for name, provider in called(spent, model):
        found = table(usage, name, provider, requests=requests, at=at)  # type: ignore[arg-type]  # it is a Usage by now
        if found is not None:
            return found
    return None


def leaves(model: Any) -> Iterator[Any]:
    """The models that *model* asks in the end: those that wrap no other."""
    inner = (model.model,) if is_model(getattr(model, "model", None)) else getattr(model, "models", ())
    if not inner:
        yield model
    for each in inner:
        yield from leaves(each)


def called(spent: Response | Usage, model: Any) -> Iterator[tuple[str, str]]:
    """The names, each with its provider, that whoever answered goes by; of several models, only who it was."""
    if isinstance(model, str):
        known = [(model, "")] if model else []
        provider, colon, name = model.partition(":")
        known += [(name, provider)] if colon and name else []
    else:
        known = [(each.name, each.provider) for each in leaves(model)]
    said = spent.model if isinstance(spent, Response) else ""
    if not said:
        yield from known if isinstance(model, str) or len(set(known)) == 1 else ()
        return
    own = getattr(spent, "provider", "") or (known[0][1] if len({each[1] for each in known}) == 1 else "")
    yield said, own
    fits = [each for each in known if said.startswith(each[0])]
    if fits or len(set(known)) == 1 or isinstance(model, str):
        yield from [max(fits, key=lambda each: len(each[0]))] if fits else known


@frozen(eq=False, repr=False)
class PricedModel(Record):
    """A model whose responses say what they cost."""

    model: Any
    prices: Pricing

    @property
    def name(self) -> str:
        """What the wrapped model is called."""
        return self.model.name  # type: ignore[no-any-return]  # a model's name is a string

    @property
    def provider(self) -> str:
        """Who provides the wrapped model."""
        return self.model.provider  # type: ignore[no-any-return]

    @property
    def capabilities(self) -> Capabilities:
        """What the wrapped model is known to take."""
        return self.model.capabilities  # type: ignore[no-any-return]

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The answer of the model, and its cost; what a broken one had so far says it too."""
        at = yield from Now()
        try:
            return self._told((yield from self.model.ask(ask, stream=stream)), at)
        except ArshaiError as error:
            if isinstance(error.partial, Response):
                error.partial = self._told(error.partial, at)
            raise

    def _told(self, response: Response, at: float) -> Response:
        return (
            response
            if response.cost is not None
            else evolve(response, cost=cost(response, self.model, self.prices, at=at))
        )


def priced(model: Any, prices: Pricing | None = None) -> PricedModel:
    """*model*, whose responses say in `cost` what they cost, where the provider does not and *prices* do.

    Each answer of a run is priced by itself, and the response of the run has the sum, or `None` if one is unknown.
    """
    if not is_model(model):
        raise Misuse(f"priced wraps a model, not {type(model).__name__}; inside an agent, wrap the model that it asks")
    return PricedModel(model, known(prices))
