"""What usage costs. price_lists/ has one file for each version of the prices; docs/cost.md has the rules.

A job is priced with the list that was the newest when it was claimed. Never change a deployed list, and never
remove one while a job may need it: add a new file. What a list does not know makes a cost unknown, never lower.
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib import resources

import msgspec

from functions.model.items.counts import (
    CONTAINER,
    DUPLICATE_ROWS,
    LOST_ROWS,
    UNKNOWN_RESULT_ROWS,
    UNREADABLE_ROWS,
    Usage,
)

_DATED = re.compile(r"-\d{8}$")
_LATEST = "-latest"
_MILLION = 1_000_000
_READ = "cache_read_input_tokens"
_KINDS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_creation_1h_input_tokens",
    _READ,
)
_TOKENS = frozenset({*_KINDS, *("long_" + kind for kind in _KINDS)})
_SHORT_KINDS = dict(
    zip(_KINDS, ("input", "output", "cache_write", "cache_write", "cache_read"), strict=True)
)
_Rates = dict[str, tuple[float, float]]
"""What a token of each kind costs in a batch, and what it would cost without a cache, in US dollars."""
_ROWS = {
    UNREADABLE_ROWS: "the usage of {:,} succeeded rows cannot be read",
    UNKNOWN_RESULT_ROWS: "{:,} rows have a result of a type that is unknown here and may be billed",
    LOST_ROWS: "{:,} rows were sent and their results are lost, so they may have been billed",
    DUPLICATE_ROWS: "{:,} rows were sent again in duplicate batches, which were canceled; what these had answered is billed, too",
    CONTAINER: "{:,} answers ran code, which is billed by the hour, and no result says how long",
}


class Price(msgspec.Struct, frozen=True):
    """A model's prices in US dollars per million tokens. The long prices apply above `long_above` prompt tokens.

    Attributes:
        cache_read: the price of a token that was read from the cache, as a share of the input price.
        since: the first day of these prices, in ISO 8601; None for the first ones.
    """

    input: float
    output: float
    long_above: int | None = None
    long_input: float = 0.0
    long_output: float = 0.0
    cache_read: float | None = None
    since: str | None = None


class Bill(msgspec.Struct, frozen=True):
    """What usage costs in US dollars.

    Attributes:
        known_usd: the cost of everything that has a price.
        batch_saved_usd: how much more that would cost outside a batch.
        cache_saved_usd: how much more it would cost without a cache; negative if more was written than read.
        problems: why the cost is unknown; empty if it is known.
    """

    known_usd: float = 0.0
    batch_saved_usd: float = 0.0
    cache_saved_usd: float = 0.0
    problems: tuple[str, ...] = ()

    @property
    def usd(self) -> float | None:
        """The cost; None if it is unknown."""
        return None if self.problems else self.known_usd


class PriceList(msgspec.Struct, frozen=True):
    """The prices by model, and the rules by which they apply.

    Attributes:
        version: the name of its file.
        source: where the prices are from, and the day on which they were read.
        cache: the prices of cached tokens as shares of the input price, if a model has no share of its own.
        models: model → its price, or its prices in the order of `since` if they changed.
        batch: what tokens cost in a batch, as a share of the prices in `models`.
        standard: what they cost outside a batch, as a share of these prices.
        multipliers: property of a request → factor on the price of its tokens: ``inference_geo=us``.
        each: number in `usage` other than tokens → price of one, in US dollars, the same outside a batch.
        included: numbers in `usage` that are billed as part of another one.
    """

    version: str
    source: str
    cache: dict[str, float]
    models: dict[str, Price | list[Price]]
    batch: float = 1.0
    standard: float = 2.0
    multipliers: dict[str, float] = {}
    each: dict[str, float] = {}
    included: tuple[str, ...] = ("output_tokens_details.thinking_tokens",)

    def price_of(self, model: str, day: str | None = None) -> Price | None:
        """Return a model's batch price on a day, including under dated names (``…-20251001``); None for an unknown model.

        Args:
            model: the model's name.
            day: the day in ISO 8601; None for the newest price.
        """
        listed = self.models.get(undated(model))
        if listed is None:
            return None
        periods = listed if isinstance(listed, list) else [listed]
        begun = [price for price in periods if day is None or (price.since or "") <= day]
        return None if not begun else self._in_batch(begun[-1])

    def _in_batch(self, price: Price) -> Price:
        return msgspec.structs.replace(
            price,
            input=price.input * self.batch,
            output=price.output * self.batch,
            long_input=price.long_input * self.batch,
            long_output=price.long_output * self.batch,
        )

    def cost_usd(self, model: str, usage: Usage, day: str | None = None) -> float | None:
        """Return the cost in US dollars of `bill`; None if it is unknown."""
        return self.bill(model, usage, day).usd

    def bill(self, model: str, usage: Usage, day: str | None = None) -> Bill:
        """Return what a model's usage in a batch costs.

        Args:
            model: the model's name in the API's answers.
            usage: what it used.
            day: the day on which the batch ended, in ISO 8601; None for the newest price.
        """
        price = self.price_of(model, day)
        rates = {} if price is None else self._rates(price)
        members = [(name, number) for name, number in usage.items() if number]
        return total_bill(self._bill(model, rates, name, number) for name, number in members)

    def _rates(self, price: Price) -> _Rates:
        rates: _Rates = {}
        shares = self.cache
        if price.cache_read is not None:
            shares = shares | {_READ: price.cache_read}
        tiers = [("", price.input, price.output)]
        if price.long_above is not None:
            tiers.append(("long_", price.long_input, price.long_output))
        for prefix, input_, output in tiers:
            rates[f"{prefix}input_tokens"] = (input_ / _MILLION, input_ / _MILLION)
            rates[f"{prefix}output_tokens"] = (output / _MILLION, output / _MILLION)
            for name, share in shares.items():
                rates[prefix + name] = (input_ * share / _MILLION, input_ / _MILLION)
        return rates

    def _bill(self, model: str, rates: _Rates, member: str, number: int) -> Bill:
        """Return what one member of usage costs."""
        name, _, property_ = member.partition("[")
        if property_:
            surcharge = self.multipliers.get(property_.removesuffix("]"), 1.0) - 1.0
            return self._bill_tokens(rates.get(name, (0.0, 0.0)), number * surcharge)
        if name in rates:
            return self._bill_tokens(rates[name], number)
        if name in self.each:
            return Bill(known_usd=number * self.each[name])
        if name in self.included or name in self.multipliers:
            return Bill()
        return Bill(problems=(self._problem(model, name, number),))

    def _bill_tokens(self, rate: tuple[float, float], tokens: float) -> Bill:
        cost, uncached = rate[0] * tokens, rate[1] * tokens
        return Bill(cost, cost * (self.standard / self.batch - 1.0), uncached - cost)

    def _problem(self, model: str, name: str, number: int) -> str:
        """Return why the cost of a member of usage is unknown."""
        if name in _ROWS:
            return _ROWS[name].format(number)
        if name in _TOKENS:
            return f"the price list {self.version} has no price for the model {model}"
        return f"the price list {self.version} has no price for {name} in the usage of {model} ({number:,})"


def undated(model: str) -> str:
    """Return a model's name without a date (``…-20251001``) or ``-latest``."""
    return _DATED.sub("", model).removesuffix(_LATEST)


def kind_of(member: str) -> str:
    """Return the kind of token of a member of usage: input, output, cache_write, cache_read, or other for no token."""
    return _SHORT_KINDS.get(member.partition("[")[0].removeprefix("long_"), "other")


def total_bill(bills: Iterable[Bill]) -> Bill:
    """Return the sum of several bills."""
    known = batch_saved = cache_saved = 0.0
    problems = dict[str, None]()
    for bill in bills:
        known += bill.known_usd
        batch_saved += bill.batch_saved_usd
        cache_saved += bill.cache_saved_usd
        problems |= dict.fromkeys(bill.problems)
    return Bill(known, batch_saved, cache_saved, tuple(problems))


@cache
def _lists() -> dict[str, PriceList]:
    """Read the deployed lists, oldest first."""
    files = resources.files("functions.model").joinpath("price_lists").iterdir()
    texts = [file.read_bytes() for file in files if file.name.endswith(".json")]
    lists = [msgspec.json.decode(text, type=PriceList) for text in texts]
    return {prices.version: prices for prices in sorted(lists, key=lambda prices: prices.version)}


def newest_price_list() -> PriceList:
    """Return the newest list, which prices the jobs that are claimed now."""
    return [*_lists().values()][-1]


def find_price_list(version: str) -> PriceList | None:
    """Return the list of this version; None if this deployment does not include it."""
    return _lists().get(version)


@lru_cache(maxsize=100)
def long_prompt_limit(model: str, version: str | None = None) -> int | None:
    """Return the prompt tokens above which the long price applies; None if the model has no long price.

    Args:
        model: the model's name.
        version: the version of the list; None for the newest.
    """
    prices = newest_price_list() if version is None else find_price_list(version)
    price = None if prices is None else prices.price_of(model)
    return None if price is None else price.long_above
