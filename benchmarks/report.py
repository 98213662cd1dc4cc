"""The table of comparisons, and the results file."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.processes import Run


@dataclass(frozen=True)
class Line:
    """One comparison.

    Attributes:
        ratio: how many times better the relay is; below 1 it is worse.
        memory: peak MB of the relay and of the baseline.
        target: the target of the issue.
        reached: whether the target is reached; None without a target.
    """

    work: str
    ours: str
    against: str
    theirs: str
    ratio: float | None
    memory: str
    target: str
    reached: bool | None


def median(runs: Sequence[Run], name: str = "work_s") -> float:
    """Return the median of several runs."""
    return float(statistics.median(getattr(run, name) for run in runs))


def timed(  # noqa: PLR0913 - one line of the table; most arguments are keywords
    ours: Sequence[Run],
    theirs: Sequence[Run],
    *,
    work: str,
    against: str,
    target: str,
    min_ratio: float,
    min_memory_ratio: float | None = None,
    clock: str = "work_s",
) -> Line:
    """Compare two sides by time, and by memory if `min_memory_ratio` is given.

    The ratio is the median over the repeats. Both sides of a repeat run right after one another, under the same load.
    """
    pairs = zip(ours, theirs, strict=True)
    ratio = statistics.median(getattr(b, clock) / getattr(a, clock) for a, b in pairs)
    own_mb, their_mb = median(ours, "peak_mb"), median(theirs, "peak_mb")
    uses_less_memory = min_memory_ratio is None or their_mb / own_mb >= min_memory_ratio
    return Line(
        work, _seconds(median(ours, clock)), against, _seconds(median(theirs, clock)), round(ratio, 2),
        f"{own_mb:.0f} / {their_mb:.0f}", target,
        (ratio >= min_ratio and uses_less_memory) if target else None,
    )  # fmt: skip


def _seconds(duration_s: float) -> str:
    return f"{duration_s:.2f} s"


def show(lines: Sequence[Line]) -> None:
    """Print the table."""
    table = Table(
        "work", "relay", "baseline", "takes", "times better", "MB, relay / baseline", "target", ""
    )
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        mark = {True: "yes", False: "NO", None: ""}[line.reached]
        table.add_row(
            line.work, line.ours, line.against, line.theirs, ratio, line.memory, line.target, mark
        )
    console = Console(width=170)
    console.print(table)
    if any("(FULL=1)" in line.target for line in lines):
        console.print("Targets with (FULL=1) apply to full runs only.")


def write(
    file: Path, lines: Sequence[Line], runs: Mapping[str, Sequence[Run]], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Write and return all measurements with date and machine."""
    page_count, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "memory_gb": round(page_count * page / 1e9, 1),
            "processor": platform.machine(),
            "python": platform.python_version(),
        },
        "table": [asdict(line) for line in lines],
        **extra,
        "runs": {
            name: [asdict(run) for run in runs_of_name] for name, runs_of_name in runs.items()
        },
    }
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


BEGIN, END = "<!-- written by make bench FULL=1 -->", "<!-- until here -->"


def write_table(page: Path, document: Mapping[str, Any]) -> None:
    """Write the table into docs/benchmarks.md, between its markers."""
    machine = document["machine"]
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    caption = f"{machine['cores']} cores ({machine['processor']}), Python {machine['python']}, {document['date'][:10]}, with AWS and Anthropic simulated on the same machine:"
    table = "\n".join([_MARKDOWN_HEAD, *map(_markdown, document["table"])])
    page.write_text(f"{before}{BEGIN}\n{caption}\n\n{table}\n{END}{after}", encoding="utf-8")


_MARKDOWN_HEAD = (
    "| work | relay | baseline | takes | times better | MB, relay / baseline | target | reached |\n"
    "|---|---|---|---|---:|---|---|---|"
)


def _markdown(line: Mapping[str, Any]) -> str:
    ratio = "" if line["ratio"] is None else f"{line['ratio']:.2f}"
    reached = {True: "yes", False: "**no**", None: ""}[line["reached"]]
    cells = (
        line["work"],
        line["ours"],
        line["against"],
        line["theirs"],
        ratio,
        line["memory"],
        line["target"],
        reached,
    )
    return f"| {' | '.join(cells)} |"


def machine() -> str:
    """Describe the machine."""
    return f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"


def replace_section(page: Path, begin: str, end: str, lines: Sequence[str]) -> None:
    """Replace the lines of a page between two markers."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    text = "\n".join((begin, *lines, end))
    page.write_text(f"{before}{text}{after}", encoding="utf-8")
