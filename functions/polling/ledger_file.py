"""Write ``ledger/YYYY-MM.csv``: what the jobs cost that ended in a month, one line each.

A file is written anew from all entries of its month, whenever one was added, and once a day.
"""

from datetime import UTC, datetime
from functools import partial

from aws_lambda_powertools import Logger

from functions.model import timestamps
from functions.model.cost_ledger import LEDGER, TOKEN_KINDS, CostEntry
from functions.model.records import Unfinished
from functions.polling.phases import Phases, place
from functions.readers.tables import BOM, csv_line, without_formula
from functions.services import Services
from functions.settings import PollSettings

INTERVAL_S = 600.0
"""Seconds between two writes. An entry is in its file after about ten minutes at most."""
logger = Logger(child=True)
COLUMNS = (
    "day", "folder", "label", "job", "upload", "outcome", "rows", "succeeded", "input_tokens", "output_tokens",
    "cache_read_tokens", "cache_write_tokens", "cost_usd", "cost_usd_known", "cost_problem", "ended_at", "manifest",
)  # fmt: skip


def write_ledger_files(
    services: Services[PollSettings],
    unfinished: Unfinished,
    phases: Phases,
    written_at: str | None,
) -> str | None:
    """Write the files of the months that have new entries, or that a new day has begun for.

    Args:
        services: poll's.
        unfinished: has the entries that no file has yet.
        phases: how much time is left.
        written_at: when the files were last written.

    Returns:
        When the files were last written now.
    """
    now = services.now()
    last = None if written_at is None else timestamps.parse(written_at).astimezone(UTC)
    months = {entry.job for entry in unfinished.cost_entries}
    if last is not None and last.date() != now.astimezone(UTC).date():
        months |= {_month(now), _month(last)}
    elif last is not None and 0 <= (now - last).total_seconds() < INTERVAL_S:
        return written_at
    if not months:
        return written_at
    for month in sorted(months):
        if phases.has_time("ledger"):
            phases.attempt("ledger", partial(_write, services, month, phases), None, month)
    return timestamps.text(now)


def _month(moment: datetime) -> str:
    return f"{LEDGER}{moment.astimezone(UTC):%Y-%m}"


def _write(services: Services[PollSettings], month: str, phases: Phases) -> None:
    """Write a month's file, then close the entries that are in it. Only its lines and those entries are in memory."""
    lines, added = [BOM.encode() + csv_line(COLUMNS)], list[CostEntry]()
    for entry in services.cost_ledger.entries(month):
        if not phases.has_time("ledger"):
            logger.error("ledger file not written, out of time", extra={"month": month})
            return
        lines.append(_line(entry))
        if entry.open is not None:
            added.append(entry)
    if len(lines) == 1:
        return
    services.files.put(f"{month}.csv", b"".join(lines), "text/csv; charset=utf-8")
    phases.each("ledger entries", added, place, services.cost_ledger.close)


def _line(entry: CostEntry) -> bytes:
    tokens = entry.tokens
    cells = (
        entry.ended_at[:10], entry.folder, entry.label, entry.of_job, entry.upload, entry.outcome,
        str(entry.rows), str(entry.succeeded), *(str(tokens.get(kind, 0)) for kind in TOKEN_KINDS),
        entry.cost_usd or "", entry.cost_usd_known, entry.problem or "", entry.ended_at, entry.manifest or "",
    )  # fmt: skip
    return csv_line([without_formula(cell) for cell in cells])
