"""Measure what caching and `equal_rows` save on rows that share a long system prompt: ``make savings``, some seconds.

The stages are real; AWS is in memory. Claude is the simulator, whose own bill is what counts. It bills as Anthropic
does, except that no request of a batch ever reads what another request of the same batch writes.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.report import replace_section
from tests.harness import Harness, make_row, open_harness

PAGE = ROOT / "docs" / "cost.md"
BEGIN, END = "<!-- written by make savings -->", "<!-- end of make savings -->"
MODEL = "claude-sonnet-5-5"
ROWS, PREFIX_TOKENS = 1_000, 4_000
_CHARS_PER_TOKEN = 4
_KEY = "in/tickets.jsonl"
_PROCESSING_S = 600.0
_CENT = 0.01


@dataclass(frozen=True)
class Variant:
    """A way to send the same rows.

    Attributes:
        name: what the table calls it.
        mark: the ``cache_control`` of the system prompt; None for none.
        options: the options file.
    """

    name: str
    mark: Mapping[str, str] | None
    options: bytes = b""


VARIANTS = (
    Variant("without caching", None),
    Variant("with `cache_control`", {"type": "ephemeral"}),
    Variant("with `cache_control` and `warm_cache`", {"type": "ephemeral"}, b"warm_cache = true"),
    Variant("with `equal_rows`", None, b'equal_rows = "once"'),
    Variant(
        "with `cache_control`, `warm_cache` and `equal_rows`",
        {"type": "ephemeral"},
        b'warm_cache = true\nequal_rows = "once"',
    ),
)


@dataclass(frozen=True)
class Measured:
    """What a variant took, from the manifest and from the simulator's bill."""

    name: str
    batches: int
    requests: int
    cache: Mapping[str, Any]
    usd: float


def measure(rows: int = ROWS) -> list[Measured]:
    """Send the rows in each way.

    Raises:
        RuntimeError: the manifest and the simulator's bill differ by half a cent or more.
    """
    logging.disable()
    try:
        return [_measure(variant, rows) for variant in VARIANTS]
    finally:
        logging.disable(logging.NOTSET)


def _measure(variant: Variant, rows: int) -> Measured:
    with tempfile.TemporaryDirectory() as folder, open_harness(Path(folder)) as relay:
        relay.simulator.processing_s = _PROCESSING_S
        relay.upload("in/_relay.toml", variant.options)
        relay.upload(_KEY, b"\n".join(_rows(variant, rows)))
        relay.finish()
        return _measured(variant, relay)


def _measured(variant: Variant, relay: Harness) -> Measured:
    manifest, billed_usd = relay.manifest(_KEY), relay.simulator.bill().usd
    if abs(manifest["cost_usd"] - billed_usd) >= _CENT / 2:
        message = (
            f"{variant.name}: the manifest says ${manifest['cost_usd']}, the bill ${billed_usd}"
        )
        raise RuntimeError(message)
    batches = len(relay.simulator.batches())
    return Measured(variant.name, batches, manifest["requests"], manifest["cache"], billed_usd)


def _rows(variant: Variant, rows: int) -> Iterator[bytes]:
    """Yield rows that share a system prompt; each has a question and gets an answer of some fifty tokens.

    The last fifth of them are equal to the first.
    """
    block: dict[str, Any] = {"type": "text", "text": "x" * PREFIX_TOKENS * _CHARS_PER_TOKEN}
    if variant.mark is not None:
        block["cache_control"] = variant.mark
    for number in range(rows):
        question = number % (rows * 4 // 5)
        yield make_row(question, "q" * 200, model=MODEL, max_tokens=256, system=[block])


def table(measured: list[Measured]) -> list[str]:
    """Return the lines of the page."""
    base = measured[0].usd
    return [
        "| the same 1,000 rows | batches | requests | tokens written | tokens read | hit rate | cost | compared |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {one.name} | {one.batches} | {one.requests:,} | {one.cache['written_tokens']:,} | {one.cache['read_tokens']:,} | "
            f"{_percent(one.cache['hit_rate'])} | ${one.usd:.2f} | {_percent_more(one.usd / base)} |"
            for one in measured
        ),
    ]


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"


def _percent_more(factor: float) -> str:
    return "-" if factor == 1 else f"{factor - 1:+.0%}"


def main() -> None:
    """Measure, print the table, and write it into docs/cost.md."""
    lines = table(measure())
    print("\n".join(lines))
    replace_section(PAGE, BEGIN, END, lines)


if __name__ == "__main__":
    main()
