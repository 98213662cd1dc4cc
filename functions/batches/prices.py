"""What tokens cost at the batch price. Prices are data with a date: prices.json; an unknown model has none."""

import re
from functools import cache, lru_cache
from importlib import resources

import msgspec

from functions.batches.items import Usage

_DATED = re.compile(r"-\d{8}$")
_LATEST = "-latest"


class Price(msgspec.Struct, frozen=True):
    """US dollars per million tokens; above `long_above` tokens of prompt, the long ones."""

    input: float
    output: float
    long_above: int | None = None
    long_input: float = 0.0
    long_output: float = 0.0


class PriceList(msgspec.Struct, frozen=True):
    """Prices by model, and by what a cached token costs of an input token."""

    version: str
    source: str
    cache: dict[str, float]
    models: dict[str, Price]


@cache
def price_list() -> PriceList:
    """Read the prices that were deployed."""
    text = resources.files("functions.batches").joinpath("prices.json").read_bytes()
    return msgspec.json.decode(text, type=PriceList)


def price_of(model: str) -> Price | None:
    """Find a model's price, dated names (``…-20251001``) included; None where it is unknown."""
    name = _DATED.sub("", model).removesuffix(_LATEST)
    return price_list().models.get(name)


@lru_cache(maxsize=100)
def long_above(model: str) -> int | None:
    """Say above how many tokens of prompt a model costs the long price; None where it has none."""
    price = price_of(model)
    return None if price is None else price.long_above


def cost_usd(model: str, usage: Usage) -> float | None:
    """Say what a model's tokens cost; None for a model without a known price."""
    price = price_of(model)
    if price is None:
        return None
    millions = _cost(usage, "", price.input, price.output)
    return (millions + _cost(usage, "long_", price.long_input, price.long_output)) / 1_000_000


def _cost(usage: Usage, prefix: str, input_price: float, output_price: float) -> float:
    cached = sum(
        getattr(usage, prefix + name) * share for name, share in price_list().cache.items()
    )
    tokens = getattr(usage, prefix + "input_tokens") + cached
    return float(tokens * input_price + getattr(usage, prefix + "output_tokens") * output_price)
