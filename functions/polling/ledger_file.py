"""Write ``ledger/YYYY-MM.csv``: what the jobs cost that ended in a month, one line each.

A new entry rewrites the file of its day from all entries of the day, and then the month's from those of its days. A
month may have more entries than one poll can read. The month's file is also written once a day, and that of the day
before: a version without files of days may have booked on it.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain, groupby

from aws_lambda_powertools import Logger

from functions.adapters.tracing import traced
from functions.model import timestamps
from functions.model.cost_ledger import LEDGER, TOKEN_KINDS, CostEntry
from functions.model.unfinished import Unfinished
from functions.polling.phases import Phases, place
from functions.readers.tables import BOM, csv_line, without_formula
from functions.services import Services
from functions.settings import PollSettings

CSV_TYPE = "text/csv; charset=utf-8"
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
        services: the services of poll.
        unfinished: the entries that no file has yet.
        phases: how much time is left.
        written_at: when the files were last written.

    Returns:
        When the files were last written, by this poll or an earlier one.
    """
    now = services.now()
    last = None if written_at is None else timestamps.parse(written_at).astimezone(UTC)
    months = {entry.job for entry in unfinished.cost_entries}
    ended_day = None
    if last is not None and last.date() != now.astimezone(UTC).date():
        months |= {_month(now), _month(last)}
        ended_day = f"{last:%Y-%m-%d}"
    elif last is not None and 0 <= (now - last).total_seconds() < INTERVAL_S:
        return written_at
    if not months:
        return written_at
    done = [
        phases.attempt(
            "ledger",
            partial(_write_month, services, unfinished, month, phases, ended_day),
            default=True,
            item_name=month,
        )
        for month in sorted(months)
    ]
    return timestamps.text(now) if all(done) else written_at


def _month(moment: datetime) -> str:
    return f"{LEDGER}{moment.astimezone(UTC):%Y-%m}"


@traced("ledger")
def _write_month(
    services: Services[PollSettings],
    unfinished: Unfinished,
    month: str,
    phases: Phases,
    ended_day: str | None,
) -> bool:
    """Write the files of the days that have new entries, then join all days. Close the entries that are in a file.

    The last new entry stays open until the month's file is written, so that the next poll continues if this one ends.

    Args:
        services: the services of poll.
        unfinished: has the entries that no file has yet.
        month: the partition key of the month.
        phases: how much time is left.
        ended_day: a day that has just ended, whose file is written, too; None if none has.

    Returns:
        Whether time sufficed. The next poll continues with the days that are left.
    """
    new = sorted(
        (entry for entry in unfinished.cost_entries if entry.job == month),
        key=lambda entry: entry.item,
    )
    try:
        if ended_day is not None and _is_in(ended_day, month):
            _write_day(services, month, ended_day, phases)
        for day, entries in groupby(new, key=lambda entry: entry.ended_at[:10]):
            _write_day(services, month, day, phases)
            written = [entry for entry in entries if entry is not new[-1]]
            phases.each("ledger entries", written, place, services.cost_ledger.close)
        lines = _in_time(lines_of_days(services, month, _days_of(month)), phases)
        if (first := next(lines, None)) is not None:
            head = BOM.encode() + csv_line(COLUMNS)
            services.files.write(f"{month}.csv", chain([head, first], lines), CSV_TYPE)
    except TimeoutError:
        logger.warning("ledger file not written yet, out of time", extra={"month": month})
        return False
    phases.each("ledger entries", new[-1:], place, services.cost_ledger.close)
    return True


def _in_time(lines: Iterable[bytes], phases: Phases) -> Iterator[bytes]:
    """Pass lines on as long as there is time.

    Raises:
        TimeoutError: the rest of the time belongs to later phases.
    """
    for line in lines:
        if not phases.has_time("ledger"):
            raise TimeoutError
        yield line


def _write_day(services: Services[PollSettings], month: str, day: str, phases: Phases) -> None:
    lines = _in_time(map(_line, services.cost_ledger.entries(month, day, day)), phases)
    if (first := next(lines, None)) is not None:
        services.files.write(_day_key(day), chain([first], lines), CSV_TYPE)


def _is_in(day: str, month: str) -> bool:
    return f"{LEDGER}{day}".startswith(f"{month}-")


def _day_key(day: str) -> str:
    return f"{LEDGER}days/{day}.csv"


def _days_of(month: str) -> list[str]:
    """Return the days that the month may have."""
    return [f"{month.removeprefix(LEDGER)}-{number:02}" for number in range(1, 32)]


def lines_of_days(
    services: Services[PollSettings], month: str, days: Iterable[str]
) -> Iterator[bytes]:
    """Read the lines of days of a month, in blocks, from their files. Days without a file are read from the table.

    Args:
        services: the services of poll.
        month: the partition key of the month.
        days: the days, in order.
    """
    written = {*services.files.list_keys(f"{LEDGER}days/{month.removeprefix(LEDGER)}-")}
    for has_file, group in groupby(days, key=lambda day: _day_key(day) in written):
        run = [*group]
        if has_file:
            for day in run:
                yield from services.files.read(services.files.results_object(_day_key(day)))
        else:
            yield from map(_line, services.cost_ledger.entries(month, run[0], run[-1]))


def _line(entry: CostEntry) -> bytes:
    tokens = entry.tokens
    cells = (
        entry.ended_at[:10], entry.folder, entry.label, entry.of_job, entry.upload, entry.outcome,
        str(entry.rows), str(entry.succeeded), *(str(tokens.get(kind, 0)) for kind in TOKEN_KINDS),
        entry.cost_usd or "", entry.cost_usd_known, entry.problem or "", entry.ended_at, entry.manifest or "",
    )  # fmt: skip
    return csv_line([without_formula(cell) for cell in cells])
