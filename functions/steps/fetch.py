"""Download a batch's results until they are exactly the rows that were sent."""

from datetime import timedelta

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.doors import Doors
from functions.batches.errors import (
    ClaudeRefusesError,
    ClaudeUnavailableError,
    DownloadError,
    IncompleteResultsError,
    KeyMissingError,
    NoResultsError,
)
from functions.batches.files import lines
from functions.batches.items import Batch, Closing, batch_key
from functions.batches.ledger import Entry
from functions.batches.outcomes import read_line, read_result
from functions.batches.settings import ResultsSettings
from functions.batches.spool import Spool
from functions.batches.verdicts import ARCHIVED
from functions.batches.wire import WireId

EXPIRED = timedelta(hours=25)
"""From its creation on, a batch has ended at Anthropic by now, whatever happened: 24 hours, and a margin."""
logger = Logger(child=True)


def fetch(
    doors: Doors[ResultsSettings], batch: Batch, entries: list[Entry], spool: Spool
) -> Closing | None:
    """Bring a batch's results into the spool.

    Returns:
        How rows end that have no result there; None if the batch was given back, to be fetched later.
    """
    if batch.batch_id is None or batch.closing in {Closing.GONE, Closing.STUCK}:
        return Closing(batch.closing or Closing.KEPT)
    try:
        _download(doors, batch, entries, spool)
    except NoResultsError:
        return _not_there(doors, batch)
    except IncompleteResultsError as error:
        return _incomplete(doors, batch, str(error))
    except (ClaudeRefusesError, KeyMissingError):
        doors.claude.renew_key()
        doors.store.release(batch, _again_at(doors))
        return None
    except (ClaudeUnavailableError, DownloadError) as error:
        logger.warning(
            "results broke off", extra={"batch": batch_key(batch), "problem": str(error)}
        )
        doors.store.release(batch, _again_at(doors))
        return None
    return Closing.MISSING


def _download(
    doors: Doors[ResultsSettings], batch: Batch, entries: list[Entry], spool: Spool
) -> None:
    """Read the results once.

    Raises:
        IncompleteResultsError: what came is not one result for each row sent; what is usable is in the spool.
    """
    sent = {entry.row for entry in entries if entry.sent}
    strange = 0
    for line in lines(doors.claude.results(batch.batch_id or "")):
        row = _keep(line, batch, sent, spool)
        strange += row is None
    missing = sum(not spool.has(row) for row in sent)
    if strange or missing:
        message = f"{missing:,} of {len(sent):,} rows lack a result, {strange:,} lines are none of theirs"
        raise IncompleteResultsError(message)


def _keep(line: bytes, batch: Batch, sent: set[int], spool: Spool) -> int | None:
    """Keep one line's result; None for a line that is broken, doubled, or of another batch."""
    try:
        parsed = read_line(line)
        read_result(parsed.result)
    except msgspec.DecodeError:
        return None
    whose = WireId.parse(parsed.custom_id)
    if whose is None or whose.row not in sent or spool.has(whose.row):
        return None
    if (whose.job, whose.batch) != (batch.job, batch.item):
        return None
    spool.put(whose.row, bytes(parsed.result))
    return whose.row


def _incomplete(doors: Doors[ResultsSettings], batch: Batch, problem: str) -> Closing | None:
    """Fetch again; still so after several downloads over some time, the rows without a result are missing."""
    now, fetches = doors.now(), batch.fetches + 1
    first = batch.fetched_at or times.text(now)
    logger.warning(
        "results are incomplete",
        extra={"batch": batch_key(batch), "problem": problem, "fetches": fetches},
    )
    waited_s = (now - times.parse(first)).total_seconds()
    if fetches >= doors.settings.fetches and waited_s >= doors.settings.fetch_s:
        return Closing.MISSING
    doors.store.release(batch, _again_at(doors), fetches=fetches, fetched_at=first)
    return None


def _not_there(doors: Doors[ResultsSettings], batch: Batch) -> Closing | None:
    """A 404 decides nothing until the batch must have expired, and under another key not for a month."""
    now, fetches = doors.now(), batch.fetches + 1
    same_key = batch.fingerprint == doors.claude.fingerprint
    age = now - times.parse(batch.created_at or times.text(now))
    if fetches >= doors.settings.fetches and age > (EXPIRED if same_key else ARCHIVED):
        return Closing.GONE
    doors.store.release(batch, _again_at(doors), fetches=fetches)
    return None


def _again_at(doors: Doors[ResultsSettings]) -> str:
    """Say when to fetch again: the fetches are spread over the time that they are given."""
    return times.after(doors.now(), doors.settings.fetch_s / doors.settings.fetches)
