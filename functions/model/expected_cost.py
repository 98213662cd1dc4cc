"""The figures of an estimate as users read them, in status.json, `job.planned` and the manifest."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from functions.model.demand import Demands
from functions.model.estimate import ExpectedTokens, Sample, estimate
from functions.model.items.job import Job
from functions.model.items.work_item import MICRO
from functions.model.pricing import Bill, PriceList, find_price_list, total_bill

UNKNOWN_WORST = "a model or a region has no price, or rows may be billed for input whose length is not known here, such as a PDF, a document at a URL or web search results"
"""Why the worst cost of a job is unknown, in a sentence."""
_CASES = ("low", "expected", "worst")
_SEARCHES = "server_tool_use.web_search_requests"


def estimate_figures(job: Job) -> dict[str, Any] | None:
    """Return what a job is expected to use and cost, by its own price list. None before everything is planned.

    A figure is None if it is unknown: without earlier jobs, how much of `max_tokens` the answers use; without a
    price, what they cost.
    """
    if job.estimate is None:
        return None
    models = job.estimate.models
    cases = {case: [*models.items()] for case in _CASES}
    cases["worst"] += job.estimate.second_requests.items()
    prices = prices_of(job)
    return {
        "counted_rows": job.estimate.counted_rows,
        "input_tokens": sum(tokens.input for tokens in models.values()),
        "output_tokens": {
            case: _sum(_output(tokens, case) for _, tokens in expected)
            for case, expected in cases.items()
        },
        "cost_usd": {case: _cost_usd(prices, expected, case) for case, expected in cases.items()},
    }


def prices_of(job: Job) -> PriceList:
    """Return the price list of a job; one without prices if this deployment does not include it."""
    listed = find_price_list(job.price_list)
    return listed or PriceList(version=job.price_list, source="", cache={}, models={})


def known_worst_micro_usd(job: Job, demands: Demands, samples: Mapping[str, Sample]) -> int:
    """Return the known part of what requests of a job cost at most, in millionths of a US dollar.

    Args:
        job: the job, by whose price list they are priced.
        demands: what they may use.
        samples: the job's requests whose input tokens were counted.
    """
    prices, models = prices_of(job), estimate(demands, samples, {}).models
    costs = (_worst_bill(prices, *model_tokens) for model_tokens in models.items())
    return math.ceil(total_bill(costs).known_usd * MICRO)


def _output(tokens: ExpectedTokens, case: str) -> int | None:
    output: int | None = getattr(tokens, f"output_{case}")
    return output


def _sum[N: (int, float)](numbers: Iterable[N | None]) -> N | None:
    """Return the sum; None if any number is unknown."""
    known = list(numbers)
    return None if None in known else sum(number for number in known if number is not None)


def _cost_usd(
    prices: PriceList, models: Iterable[tuple[str, ExpectedTokens]], case: str
) -> float | None:
    costs = [_model_cost_usd(prices, model, tokens, case) for model, tokens in models]
    total = _sum(costs)
    return None if total is None else round(total, 6)


def _model_cost_usd(
    prices: PriceList, model: str, tokens: ExpectedTokens, case: str
) -> float | None:
    if case == "worst":
        return None if tokens.unbounded else _worst_bill(prices, model, tokens).usd
    output = _output(tokens, case)
    return None if output is None else _bill(prices, model, tokens, output).usd


def _bill(prices: PriceList, model: str, tokens: ExpectedTokens, output: int) -> Bill:
    """Return what tokens cost, at the long prices if prompts are long on average."""
    price = prices.price_of(model)
    is_long = (
        price is not None
        and price.long_above is not None
        and tokens.input > price.long_above * tokens.requests
    )
    prefix = "long_" if is_long else ""
    usage = {f"{prefix}input_tokens": tokens.input, f"{prefix}output_tokens": output}
    return prices.bill(model, usage)


def _worst_bill(prices: PriceList, model: str, tokens: ExpectedTokens) -> Bill:
    """Return the known part of what requests cost at most."""
    usage = {
        "input_tokens": max(tokens.input, tokens.input_worst) + tokens.extra_input,
        "output_tokens": tokens.output_worst + tokens.extra_output,
        _SEARCHES: tokens.searches,
    }
    dearest = [_bill(prices, model, tokens, tokens.output_worst), prices.bill(model, usage)]
    return max(dearest, key=lambda bill: bill.known_usd)
