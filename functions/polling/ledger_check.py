"""Write ``ledger/YYYY-MM.check.csv``: a month in the ledger, in Anthropic's usage report, and the difference.

It runs once a day, at the end of a poll, if the stack has an admin key. A failure is logged, kept on poll's item for
`relay doctor`, and counted in the metric `LedgerCheckFailed`. The next day's check follows all the same.
"""

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial

from aws_lambda_powertools import Logger

from functions.adapters import secret
from functions.adapters.usage_report import UsageReport
from functions.errors import LedgerCheckError
from functions.model import streams, timestamps
from functions.model.cost_ledger import LEDGER
from functions.model.nouns import count_of
from functions.model.records import LedgerCheck
from functions.model.unfinished import Unfinished
from functions.model.usage_comparison import (
    COLUMNS,
    Figures,
    Period,
    check_line,
    is_due,
    periods,
    sum_ledger,
)
from functions.polling.ledger_file import COLUMNS as LEDGER_COLUMNS
from functions.polling.ledger_file import CSV_TYPE, lines_of_days
from functions.polling.phases import Phases
from functions.readers.tables import BOM, csv_line
from functions.services import Services, safe_message
from functions.settings import PollSettings

logger = Logger(child=True)


def check_ledger(
    services: Services[PollSettings], unfinished: Unfinished, phases: Phases, last: LedgerCheck
) -> LedgerCheck:
    """Compare the ledger with Anthropic's usage report, if the stack has an admin key and another day has ended.

    Args:
        services: the services of poll.
        unfinished: the jobs that run, and the entries that no file has yet. The check waits for these.
        phases: how much time is left.
        last: the last check.

    Returns:
        The new check; the last one if none was due.
    """
    if not services.settings.admin_secret_name:
        return LedgerCheck()
    now = services.now()
    _, this_month = periods(now)
    is_behind = any(entry.ended_at < f"{this_month.end}" for entry in unfinished.cost_entries)
    if is_behind or not is_due(last.checked_at, now) or not phases.has_time("ledger check"):
        return last
    problem = None
    try:
        _write_files(services, unfinished, phases, now)
    except Exception as error:  # noqa: BLE001 - it must not end the poll
        problem = safe_message(error)
        logger.warning("ledger not compared with the usage report", extra={"problem": problem})
    return LedgerCheck(checked_at=timestamps.text(now), problem=problem)


def _write_files(
    services: Services[PollSettings], unfinished: Unfinished, phases: Phases, now: datetime
) -> None:
    """Write the files of both months.

    Raises:
        LedgerCheckError: a report or the ledger cannot be read, or the time is over.
        KeyMissingError: the secret contains no key, or cannot be read.
    """
    settings = services.settings
    report = UsageReport(
        base_url=settings.base_url,
        api_version=settings.api_version,
        read_key=partial(secret.read_key, settings.admin_secret_name, fresh=True),
        check_time=partial(_check_time, phases),
    )
    for period in periods(now):
        ours = _sum_ledger(services, period, phases)
        running = sum(job.claimed_at < f"{period.end}" for job in unfinished.jobs)
        if running:
            ours.notes.append(f"ours excludes {count_of(running, 'job')} that had not ended")
        theirs = report.batches(period, settings.workspace_id)
        cells = check_line(period, ours, theirs, settings.workspace_id, timestamps.text(now))
        _check_time(phases)
        body = BOM.encode() + csv_line(COLUMNS) + csv_line(cells)
        services.files.put(f"{LEDGER}{period.month}.check.csv", body, CSV_TYPE)


def _check_time(phases: Phases) -> None:
    """Check that time is left.

    Raises:
        LedgerCheckError: too little is left for a request and the end of the poll.
    """
    if not phases.has_time("ledger check"):
        message = "poll had no time left for the comparison"
        raise LedgerCheckError(message)


def _sum_ledger(services: Services[PollSettings], period: Period, phases: Phases) -> Figures:
    """Add up the ledger's files of days.

    Raises:
        LedgerCheckError: a file was changed, or the time is over.
    """
    blocks = lines_of_days(services, f"{LEDGER}{period.month}", period.days)
    lines = _in_time(streams.lines(blocks), phases)
    try:
        return sum_ledger(csv.DictReader(lines, fieldnames=LEDGER_COLUMNS))
    except (TypeError, ValueError, ArithmeticError, csv.Error):
        message = (
            f"a file of {period.month} in {LEDGER}days/ was changed and is no longer a ledger; delete that file, and "
            "its day is read from the table"
        )
        raise LedgerCheckError(message) from None


def _in_time(lines: Iterable[bytes], phases: Phases) -> Iterator[str]:
    for line in lines:
        _check_time(phases)
        yield line.decode() + "\n"
