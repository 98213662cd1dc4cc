"""Count calls, price them, simulate arrivals; print the tables, and write docs/scale.md with its plots.

python -m benchmarks.scale [--results FILE] [--into FOLDER]
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.scale import calls, capacity, cost, page, stalled
from benchmarks.scale.arrivals import DAYS, OURS, POLICIES, simulate
from benchmarks.scale.drawings import draw
from benchmarks.scale.limits import TIERS, rows_a_day

ROOT = Path(__file__).parent.parent.parent
RESULTS, DOCS = ROOT / "benchmarks" / "results.json", ROOT / "docs"
MINUTES = (10, 20, 40, 60, 120, 360, 720, 1440)


def main() -> None:
    """Measure and write the page; takes some minutes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the results of make bench")
    parser.add_argument("--into", type=Path, default=DOCS, help="where scale.md and scale/ go")
    options = parser.parse_args()
    try:
        stages = {stage.stage: stage for stage in cost.stages(options.results)}
        measured_on = json.loads(options.results.read_text(encoding="utf-8"))["date"][:10]
    except (OSError, KeyError) as error:
        sys.exit(f"{options.results} has no Lambda seconds ({error!r}); run make bench first")
    measurements = measure(stages, measured_on)
    print_tables(measurements)
    today = datetime.now(UTC).date().isoformat()
    draw(measurements, options.into / "scale")
    (options.into / "scale.md").write_text(page.render(measurements, today), encoding="utf-8")
    print(f"written: {options.into / 'scale.md'}")


def measure(stages: dict[str, cost.Stage], measured_on: str) -> page.Measurements:
    """Count, measure and simulate."""
    return page.Measurements(
        calls=calls.count(),
        stalled_day=stalled.count(),
        stages=stages,
        measured_on=measured_on,
        capacity=capacity.measure(),
        item_minutes=simulate(POLICIES[OURS], DAYS["usual"], cost.MILLION, small=0).item_minutes,
        policies={
            day: {name: simulate(policy, duration) for name, policy in POLICIES.items()}
            for day, duration in DAYS.items()
        },
        tiers={
            name: {minutes: rows_a_day(tier.requests, minutes) for minutes in MINUTES}
            for name, tier in TIERS.items()
        },
    )


def print_tables(measurements: page.Measurements) -> None:
    """Print the tables."""
    console = Console(width=170)
    tables = {
        "a million requests": page.million(measurements),
        "an idle month": page.idle(measurements.idle),
        "a day without an API key": page.stalled(measurements.stalled),
        "rows a day": page.tiers(measurements),
        "what limits 100 M rows a day": page.limit_table(measurements),
        "fairness": page.fairness(measurements),
    }
    for title, (head, *rows) in tables.items():
        table = Table(*head, title=title)
        for row in rows:
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    main()
