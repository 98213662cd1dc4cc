"""The plots of docs/scale.md."""

from pathlib import Path

from benchmarks.plots import bars, lines
from benchmarks.scale import cost
from benchmarks.scale.arrivals import FIRST_COME, OURS, SimulationResult
from benchmarks.scale.limits import ROWS_A_DAY
from benchmarks.scale.page import Measurements

TIMES = {1.0: "1 min", 10: "10 min", 60: "1 h", 360: "6 h", 1440: "1 day", 10_080: "7 days", 43_200: "30 days"}  # fmt: skip
SHOWN_POLICIES = [(FIRST_COME, "usual"), (FIRST_COME, "slow"), (OURS, "slow")]


def draw(measurements: Measurements, folder: Path, suffix: str = ".svg") -> None:
    """Draw all plots into a folder."""
    parts = cost.by_service(measurements.million)
    egress = cost.egress(measurements.calls)
    cents = {name: usd * 100 for name, usd in parts.items() if usd >= 0.00005}  # noqa: PLR2004 - else too thin to see
    bars(
        folder / f"cost{suffix}", {**cents, "Internet egress,\nbeyond 100 GB a month": egress.usd * 100},
        title="A million requests, by service", x_label="US cents", number_format="{:.2f}", highlighted=["Internet egress,\nbeyond 100 GB a month"],
    )  # fmt: skip
    days = {
        f"{tier}": [(float(minutes), rows / 1e6) for minutes, rows in by_minutes.items()]
        for tier, by_minutes in measurements.tiers.items()
    }
    most = ROWS_A_DAY / 1e6
    edges = [min(measurements.tiers["Start"]), max(measurements.tiers["Start"])]
    lines(
        folder / f"throughput{suffix}", {**days, "100 M rows a day": [(edge, most) for edge in edges]},
        title="Rows a day, by tier and by how long a batch takes", x_label="a batch takes", y_label="million rows a day",
        log="xy", ticks={n: name for n, name in TIMES.items() if edges[0] <= n <= edges[1]}, dashed=["100 M rows a day"],
    )  # fmt: skip
    lines(
        folder / f"waits{suffix}",
        {f"{policy} ({day} day)": _share(measurements.policies[day][policy]) for policy, day in SHOWN_POLICIES},
        title="Small jobs behind a huge one: how long until they are sent", x_label="time since the upload",
        y_label="% of the small jobs that have been sent", log="x", ticks=TIMES,
    )  # fmt: skip


def _share(result: SimulationResult) -> list[tuple[float, float]]:
    """Return the cumulative share of small jobs in % by minutes waited."""
    waits = sorted(result.waits)
    points = [(float(max(1, wait)), 100 * at / len(waits)) for at, wait in enumerate(waits, 1)]
    return [(1.0, 0.0), (points[0][0], 0.0), *points, (float(max(TIMES)) * 1.5, 100.0)]
