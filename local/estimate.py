"""Estimate what the real API would charge for files, and ask for consent."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from functions.model.pricing import newest_price_list
from local.errors import LocalError

BYTES_PER_TOKEN = 4
"""English prose has about four bytes per token; other languages and code have fewer."""


@dataclass(frozen=True)
class Estimate:
    """The maximum cost of files, as far as it is known.

    Attributes:
        requests: lines that could be sent.
        dollars: the cost of those with a priced model, if each answer is as long as allowed.
        unpriced: requests to models without a known price.
        unknown: names of files without a line that is a request, such as tables.
    """

    requests: int
    dollars: float
    unpriced: int
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Format the estimate for people."""
        summary = f"{self.requests:,} requests to the real API, at most about ${self.dollars:,.2f}"
        assumptions = (
            f"(prices of {newest_price_list().version}, if every answer takes its max_tokens)"
        )
        unpriced = f"; {self.unpriced:,} of them to models without a known price"
        unknown = f"; and the rows of {', '.join(self.unknown)}, whose cost is not known before"
        return (
            f"{summary} {assumptions}{unpriced if self.unpriced else ''}"
            f"{unknown if self.unknown else ''}"
        )


def estimate(files: Sequence[Path]) -> Estimate:
    """Estimate the cost of files of requests, one a line. The cost of other files is not known."""
    requests, dollars, unpriced = 0, 0.0, 0
    unknown = []
    for file in files:
        before = requests
        with file.open("rb") as lines:
            for line in lines:
                params = _params(line)
                if params is None:
                    continue
                requests += 1
                cost = _max_cost(params, len(line))
                dollars, unpriced = dollars + (cost or 0.0), unpriced + (cost is None)
        if requests == before:
            unknown.append(file.name)
    return Estimate(requests, dollars, unpriced, tuple(unknown))


def consent(console: Console, env: Mapping[str, str], question: str) -> None:
    """Print the cost, and require consent at the terminal or by YES=1.

    Raises:
        LocalError: there is no terminal, or the answer is no.
    """
    console.print(question, markup=False, highlight=False, soft_wrap=True)
    if env.get("YES") == "1":
        return
    if not sys.stdin.isatty():
        error_message = (
            "nothing was sent: there is no terminal for the question; set YES=1 to agree"
        )
        raise LocalError(error_message)
    if console.input("Send them? \\[y/N] ").strip().lower() not in {"y", "yes"}:
        error_message = "nothing was sent"
        raise LocalError(error_message)


def _params(line: bytes) -> Mapping[str, object] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    params = row.get("params") if isinstance(row, dict) else None
    return params if isinstance(params, dict) else None


def _max_cost(params: Mapping[str, object], size_bytes: int) -> float | None:
    price, limit = newest_price_list().price_of(str(params.get("model"))), params.get("max_tokens")
    if price is None:
        return None
    tokens_in = size_bytes / BYTES_PER_TOKEN
    tokens_out = limit if isinstance(limit, int) else 0
    return (tokens_in * price.input + tokens_out * price.output) / 1e6
