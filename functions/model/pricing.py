"""The cost of tokens at the batch price. price_lists/ has one file for each version of the prices.

A job is priced with the list that was the newest when it was claimed. Never change a deployed list, and never
remove one while a job may need it: add a new file. An unknown model has no price.
"""

import re
from functools import cache, lru_cache
from importlib import resources

import msgspec

from functions.model.items import Usage

_DATED = re.compile(r"-\d{8}$")
_LATEST = "-latest"


class Price(msgspec.Struct, frozen=True):
    """A model's prices in US dollars per million tokens. The long prices apply above `long_above` prompt tokens."""

    input: float
    output: float
    long_above: int | None = None
    long_input: float = 0.0
    long_output: float = 0.0


class PriceList(msgspec.Struct, frozen=True):
    """The prices by model, and the price of cached tokens as a share of the input price."""

    version: str
    source: str
    cache: dict[str, float]
    models: dict[str, Price]

    def price_of(self, model: str) -> Price | None:
        """Return a model's price, also for dated names (``…-20251001``); None for an unknown model."""
        return self.models.get(_DATED.sub("", model).removesuffix(_LATEST))

    def cost_usd(self, model: str, usage: Usage) -> float | None:
        """Return the cost of a model's tokens in US dollars; None for an unknown model."""
        price = self.price_of(model)
        if price is None:
            return None
        short = self._cost(usage, "", price.input, price.output)
        return (
            short + self._cost(usage, "long_", price.long_input, price.long_output)
        ) / 1_000_000

    def _cost(self, usage: Usage, prefix: str, input_price: float, output_price: float) -> float:
        cached = sum(getattr(usage, prefix + name) * share for name, share in self.cache.items())
        tokens = getattr(usage, prefix + "input_tokens") + cached
        return float(
            tokens * input_price + getattr(usage, prefix + "output_tokens") * output_price
        )


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


def frozen(version: str) -> PriceList | None:
    """Return the list of this version; None if this deployment does not include it."""
    return _lists().get(version)


@lru_cache(maxsize=100)
def long_prompt_limit(model: str, version: str | None = None) -> int | None:
    """Return the prompt tokens above which the long price applies; None if the model has no long price.

    Args:
        model: the model's name.
        version: the version of the list; None for the newest.
    """
    prices = newest_price_list() if version is None else frozen(version)
    price = None if prices is None else prices.price_of(model)
    return None if price is None else price.long_above
