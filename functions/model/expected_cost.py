"""The figures of an estimate as users read them, in status.json, `job.planned` and the manifest."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from functions.model.estimate import ExpectedTokens
from functions.model.items import MICRO, Job
from functions.model.pricing import PriceList, find_price_list

_CASES = ("low", "expected", "worst")


def estimate_figures(job: Job) -> dict[str, Any] | None:
    """Return what a job is expected to use and cost, by its own price list. None before everything is planned.

    A figure is None if it is unknown: without earlier jobs, how much of `max_tokens` the answers take; without a
    price, what they cost.
    """
    if job.estimate is None:
        return None
    models = job.estimate.models
    cases = {case: [*models.items()] for case in _CASES}
    cases["worst"] += job.estimate.second.items()
    prices = find_price_list(job.price_list)
    return {
        "counted_rows": job.estimate.counted_rows,
        "input_tokens": sum(tokens.input for tokens in models.values()),
        "output_tokens": {
            case: _sum(_output(tokens, case) for _, tokens in expected)
            for case, expected in cases.items()
        },
        "cost_usd": {case: _cost_usd(prices, expected, case) for case, expected in cases.items()},
    }


def known_worst_micro_usd(price_list: str, models: Mapping[str, ExpectedTokens]) -> int:
    """Return what requests cost at most, in millionths of a US dollar. Models without a price count nothing."""
    prices = find_price_list(price_list)
    costs = [_model_cost_usd(prices, model, tokens, "worst") for model, tokens in models.items()]
    return math.ceil(sum(cost or 0.0 for cost in costs) * MICRO)


def _output(tokens: ExpectedTokens, case: str) -> int | None:
    output: int | None = getattr(tokens, f"output_{case}")
    return output


def _sum[N: (int, float)](numbers: Iterable[N | None]) -> N | None:
    """Return the sum; None if any number is unknown."""
    known = list(numbers)
    return None if None in known else sum(number for number in known if number is not None)


def _cost_usd(
    prices: PriceList | None, models: Iterable[tuple[str, ExpectedTokens]], case: str
) -> float | None:
    costs = [_model_cost_usd(prices, model, tokens, case) for model, tokens in models]
    total = _sum(costs)
    return None if total is None else round(total, 6)


def _model_cost_usd(
    prices: PriceList | None, model: str, tokens: ExpectedTokens, case: str
) -> float | None:
    output = _output(tokens, case)
    if prices is None or output is None:
        return None
    price = prices.price_of(model)
    is_long = (
        price is not None
        and price.long_above is not None
        and tokens.input > price.long_above * tokens.requests
    )
    prefix = "long_" if is_long else ""
    usage = {f"{prefix}input_tokens": tokens.input, f"{prefix}output_tokens": output}
    return prices.cost_usd(model, usage)
