"""Run every campaign against the promises, show the table, and write it into docs/reliability.md."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.verification.campaigns import CAMPAIGNS
from tests.verification.figures import Figures
from tests.verification.reliability import COLUMNS, cells, written
from tests.verification.runner import added, run

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def main() -> int:
    """Run; the exit status is 0 if all promises held."""
    asked = _asked()
    console = Console()
    begun, found = time.monotonic(), list[Figures]()
    for figures in run(CAMPAIGNS, full=not asked.quick):
        found.append(figures)
        share = f"{len(found)} of {len(CAMPAIGNS)} shares"
        console.print(f"{share}: {figures.campaign}, {figures.tried:,} tried")
        for wrong in figures.broken:
            console.print(f"broken: {wrong}", style="red", markup=False)
        if not asked.quick:  # each time: whatever ends this, what was seen is there
            minutes = (time.monotonic() - begun) / 60
            left = len(CAMPAIGNS) - len(found)
            page = written(added(found), f"{datetime.now(UTC):%Y-%m-%d}", minutes, left)
            asked.page.write_text(page, encoding="utf-8")
    table = added(found)
    console.print(_shown(table))
    return int(any(one.broken for one in table))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.verification.crash", description=__doc__
    )
    parser.add_argument(
        "--quick", action="store_true", help="what CI runs: all single kills, a sample of the rest"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table is written")
    return parser.parse_args()


def _shown(table: list[Figures]) -> Table:
    shown = Table()
    for number, column in enumerate(COLUMNS):
        shown.add_column(column, justify="right" if number else "left")
    for one in table:
        shown.add_row(*cells(one), style="red" if one.broken else None)
    return shown


if __name__ == "__main__":
    sys.exit(main())
