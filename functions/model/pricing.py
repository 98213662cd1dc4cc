"""What tokens cost at the batch price. Prices are data: price_lists/ has a file for each list, named by its version.

A list is never changed once it is deployed, and never removed while a job may still be priced by it: a new one is put
beside it. A job is priced by the list that was the newest when it was claimed. An unknown model has no price.
"""

import re
from functools import cache, lru_cache
from importlib import resources

import msgspec

from functions.model.items import Usage

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

    def price_of(self, model: str) -> Price | None:
        """Find a model's price, dated names (``…-20251001``) included; None where it is unknown."""
        return self.models.get(_DATED.sub("", model).removesuffix(_LATEST))

    def cost_usd(self, model: str, usage: Usage) -> float | None:
        """Say what a model's tokens cost; None for a model without a known price."""
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
    """Read the lists that were deployed, the oldest first."""
    files = resources.files("functions.model").joinpath("price_lists").iterdir()
    texts = [file.read_bytes() for file in files if file.name.endswith(".json")]
    lists = [msgspec.json.decode(text, type=PriceList) for text in texts]
    return {one.version: one for one in sorted(lists, key=lambda one: one.version)}


def price_list() -> PriceList:
    """Give the newest list: the one that a job is priced by that is claimed now."""
    return [*_lists().values()][-1]


def frozen(version: str) -> PriceList | None:
    """Give the list that a job was claimed under; None if this deployment has it no more."""
    return _lists().get(version)


@lru_cache(maxsize=100)
def long_above(model: str, version: str | None = None) -> int | None:
    """Say above how many tokens of prompt a model costs the long price; None where it has none.

    Args:
        model: its name.
        version: of the list; the newest if left out.
    """
    prices = price_list() if version is None else frozen(version)
    price = None if prices is None else prices.price_of(model)
    return None if price is None else price.long_above
