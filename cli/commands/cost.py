"""`relay cost`: what the jobs cost that ended in a month, from the ledger."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import typer

from cli import invocation
from cli.errors import UsageError
from cli.jobs import Jobs
from cli.output import dollars, table
from functions.model.cost_ledger import CostEntry

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


class _Sum(msgspec.Struct):
    """What the jobs of a folder cost; `unknown` counts those whose cost is not fully known."""

    jobs: int = 0
    rows: int = 0
    usd: Decimal = Decimal(0)
    unknown: int = 0

    def add(self, entry: CostEntry) -> None:
        self.jobs += 1
        self.rows += entry.rows
        self.usd += Decimal(entry.cost_usd_known)
        self.unknown += entry.cost_usd is None


def cost(
    context: typer.Context,
    month: Annotated[
        str, typer.Option(metavar="YYYY-MM", help="In UTC; by default this month.")
    ] = "",
) -> None:
    """Sum what the jobs of a month cost, by folder.

    A job counts in the month in which it ended.
    """
    month = month or f"{datetime.now(UTC):%Y-%m}"
    if not _MONTH.fullmatch(month):
        message = f"{month} is not a month: write YYYY-MM, such as 2026-11"
        raise UsageError(message)
    run = invocation.of(context)
    jobs = Jobs(run.deployment)
    folders, check = _by_folder(jobs.of_month(month)), jobs.ledger_check(month)
    total = _Sum()
    for sums in folders.values():
        total = _Sum(
            total.jobs + sums.jobs,
            total.rows + sums.rows,
            total.usd + sums.usd,
            total.unknown + sums.unknown,
        )
    data = {"month": month, "total": _fields(total), "folders": {n: _fields(s) for n, s in folders.items()}, "check": check}  # fmt: skip
    rows = [_cells(name or "(none)", sums) for name, sums in sorted(folders.items())]
    columns = ("FOLDER", "JOBS", "ROWS", "COST")
    grid = table(columns, [*rows, _cells(f"all of {month}", total)])
    notes = (
        [f"{total.unknown} jobs have parts of unknown cost, which are not in these sums"]
        if total.unknown
        else []
    )
    if check is not None:
        notes.append(_comparison(check))
    run.output.show(data, grid, *notes)


def _comparison(check: Mapping[str, str]) -> str:
    """Return how the ledger compares with Anthropic's usage report, in a line."""
    figures = (
        f"through {check['through']}: Anthropic's report ${check['theirs_usd']}, the ledger ${check['ours_usd']}, "
        f"difference {check['difference_usd']}"
    )
    return f"{figures}; {check['notes']}" if check["notes"] else figures


def _by_folder(entries: Iterable[CostEntry]) -> dict[str, _Sum]:
    folders = defaultdict[str, _Sum](_Sum)
    for entry in entries:
        folders[entry.folder].add(entry)
    return folders


def _fields(sums: _Sum) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(sums)
    return {"cost_usd_known" if name == "usd" else name: value for name, value in fields.items()}


def _cells(name: str, sums: _Sum) -> tuple[str, ...]:
    usd = dollars(sums.usd) + (" +" if sums.unknown else "")
    return name, f"{sums.jobs:,}", f"{sums.rows:,}", usd
