"""What the simulator bills, in its own arithmetic, so that the relay's figures can be compared with it.

Prices are Anthropic's standard prices of November 2026 in US dollars per million tokens, from
https://platform.claude.com/docs/en/about-claude/pricing. A token at one dollar per million costs one micro-dollar.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

_DATED = re.compile(r"-\d{8}$|-latest$")
_BATCH = Fraction(1, 2)
_WRITE_5M, _WRITE_1H = Fraction(5, 4), Fraction(2)
_US = Fraction(11, 10)
_SEARCH_MICRO_USD = 10_000


class _Price(NamedTuple):
    """A model's prices: per million tokens, and for what is read from the cache as a share of the input."""

    input: Fraction
    output: Fraction
    read: Fraction


def _price(input_: str, output: str, read: str = "0.1") -> _Price:
    return _Price(Fraction(input_), Fraction(output), Fraction(read))


_OPUS, _SONNET = _price("5", "25"), _price("3", "15")
_PRICES = {
    "claude-fable-5-2": _price("8", "40", "0.025"),
    "claude-fable-5-1": _price("10", "50", "0.025"),
    "claude-mythos-5-1": _price("10", "50", "0.025"),
    "claude-fable-5": _price("10", "50"),
    "claude-mythos-5": _price("10", "50"),
    "claude-opus-5-5": _price("4", "20", "0.05"),
    **dict.fromkeys((f"claude-opus-{version}" for version in ("5", "4-8", "4-7", "4-6", "4-5")), _OPUS),
    "claude-opus-4-1": _price("15", "75"),
    "claude-sonnet-5-5": _price("2", "10", "0.05"),
    "claude-sonnet-5": _price("2", "10"),
    **dict.fromkeys((f"claude-sonnet-{version}" for version in ("4-6", "4-5", "4")), _SONNET),
    "claude-haiku-5-5": _price("0.1", "0.5"),
    "claude-haiku-4-5": _price("1", "5"),
}  # fmt: skip
_LONG = {"claude-haiku-5-5": (100_000, _price("0.5", "2.5"))}
"""Model → the prompt tokens above which another price applies, and that price."""
_EARLIER = {"claude-sonnet-5-5": ("2026-10-07", _price("2", "10"))}
"""Model → the first day of its price in `_PRICES`, and the price before that day."""


def undated(model: str) -> str:
    """Return a model's name without a date (``…-20251001``) or ``-latest``."""
    return _DATED.sub("", model)


def micro_usd(model: str, usage: Mapping[str, Any], day: str) -> Fraction | None:
    """Return what one answer in a batch is billed, in millionths of a US dollar; None for a model without a price.

    Args:
        model: the model of the answer.
        usage: its `usage`.
        day: the day on which its batch ended, in ISO 8601, UTC.
    """
    parts = micro_usd_by_kind(model, usage, day)
    return None if parts is None else sum(parts.values(), Fraction())


def micro_usd_by_kind(
    model: str, usage: Mapping[str, Any], day: str
) -> dict[str, Fraction] | None:
    """Return `micro_usd` by the cost report's kinds of token, and for ``web_search``."""
    created = usage.get("cache_creation") or {}
    hour = created.get("ephemeral_1h_input_tokens", 0)
    written = usage.get("cache_creation_input_tokens") or 0
    read = usage.get("cache_read_input_tokens") or 0
    price = _price_of(undated(model), usage["input_tokens"] + written + read, day)
    if price is None:
        return None
    factor = _BATCH * (_US if usage.get("inference_geo") == "us" else 1)
    searches = int((usage.get("server_tool_use") or {}).get("web_search_requests", 0))
    return {
        "uncached_input_tokens": price.input * usage["input_tokens"] * factor,
        "cache_creation.ephemeral_5m_input_tokens": price.input * (written - hour) * _WRITE_5M * factor,
        "cache_creation.ephemeral_1h_input_tokens": price.input * hour * _WRITE_1H * factor,
        "cache_read_input_tokens": price.input * read * price.read * factor,
        "output_tokens": price.output * usage["output_tokens"] * factor,
        "web_search": Fraction(searches * _SEARCH_MICRO_USD),
    }  # fmt: skip


def _price_of(model: str, prompt_tokens: int, day: str) -> _Price | None:
    above, long_price = _LONG.get(model, (None, None))
    if above is not None and prompt_tokens > above:
        return long_price
    since, earlier = _EARLIER.get(model, ("", None))
    return earlier if day < since else _PRICES.get(model)
