"""Run every verification campaign, print the table, and write it into docs/reliability.md."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.verification.campaigns import CAMPAIGNS
from tests.verification.figures import Figures
from tests.verification.reliability import COLUMNS, render_page, table_row
from tests.verification.runner import merge_shares, run

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def main() -> int:
    """Run; return exit status 0 if all promises held."""
    options = parse_arguments()
    console = Console()
    started, results = time.monotonic(), list[Figures]()
    for figures in run(CAMPAIGNS, full=not options.quick):
        results.append(figures)
        progress = f"{len(results)} of {len(CAMPAIGNS)} shares"
        console.print(f"{progress}: {figures.campaign}, {figures.tried:,} tried")
        for violation in figures.violations:
            console.print(f"broken: {violation}", style="red", markup=False)
        if not options.quick:  # after each campaign, so that an aborted run leaves its results
            minutes = (time.monotonic() - started) / 60
            shares_left = len(CAMPAIGNS) - len(results)
            page = render_page(
                merge_shares(results), f"{datetime.now(UTC):%Y-%m-%d}", minutes, shares_left
            )
            options.page.write_text(page, encoding="utf-8")
    merged = merge_shares(results)
    console.print(render_table(merged))
    return int(any(figures.violations for figures in merged))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.verification", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="run the samples that CI runs")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    return parser.parse_args()


def render_table(table: list[Figures]) -> Table:
    rendered = Table()
    for number, column in enumerate(COLUMNS):
        rendered.add_column(column, justify="right" if number else "left")
    for figures in table:
        rendered.add_row(*table_row(figures), style="red" if figures.violations else None)
    return rendered


if __name__ == "__main__":
    sys.exit(main())
