"""`python -m local.prices`: the models that the installed SDK knows and that the newest price list lacks."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Literal, get_args, get_origin

from anthropic.resources.messages.messages import DEPRECATED_MODELS
from anthropic.types.model import Model

from functions.model.pricing import newest_price_list


def sdk_models() -> dict[str, date | None]:
    """Return the models of the installed SDK, with the day on which each one retires, if it is known."""
    literals = [member for member in get_args(Model) if get_origin(member) is Literal]
    names = [name for literal in literals for name in get_args(literal)]
    retirements = {name: _day(text) for name, text in DEPRECATED_MODELS.items()}
    return dict.fromkeys(names) | retirements


def missing_models(today: date) -> tuple[list[str], list[str]]:
    """Return the models without a price: those that can be used, and those that have retired."""
    prices = newest_price_list()
    missing = {model: day for model, day in sdk_models().items() if prices.price_of(model) is None}
    retired = {model for model, day in missing.items() if day is not None and day < today}
    return sorted(missing.keys() - retired), sorted(retired)


def report(today: date) -> Iterator[str]:
    """Yield the lines to print."""
    prices = newest_price_list()
    missing, retired = missing_models(today)
    yield f"newest price list: {prices.version}, {len(prices.models)} models"
    yield f"without a price: {', '.join(missing) or 'none'}"
    yield f"without a price, retired: {', '.join(retired) or 'none'}"
    if missing:
        yield "A job that uses a model without a price has no cost. Add a new list: see docs/cost.md."


def _day(text: str) -> date:
    """Parse a day as the SDK writes it: ``November 30th, 2026``."""
    return datetime.strptime(re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", text), "%B %d, %Y").date()  # noqa: DTZ007 - a day has no zone


if __name__ == "__main__":
    print("\n".join(report(datetime.now(UTC).date())))
