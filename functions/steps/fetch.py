"""Download a batch's results until they are exactly the rows that were sent."""

from collections.abc import Callable
from datetime import datetime, timedelta

from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.blocks import texts
from functions.batches.doors import Doors
from functions.batches.errors import (
    ClaudeRefusesError,
    ClaudeUnavailableError,
    DownloadError,
    DownloadTooSlowError,
    IncompleteResultsError,
    KeyMissingError,
    NoResultsError,
)
from functions.batches.items import Batch, Closing, batch_key
from functions.batches.received import Received
from functions.batches.settings import ResultsSettings
from functions.batches.verdicts import ARCHIVED, ENDS_WITHIN, GONE_LISTINGS

DEADLINE_S = 120.0
"""With less time left than this, a download stops: ordering and storing its rows takes some seconds."""
logger = Logger(child=True)


def fetch(
    doors: Doors[ResultsSettings],
    batch: Batch,
    received: Received,
    time_left_s: Callable[[], float],
) -> Closing | None:
    """Bring a batch's results into the spool.

    Whatever goes wrong, the batch waits, each time longer: its answers are paid for.

    Returns:
        How rows end that have no result there; None if the batch was given back, to be fetched later.
    """
    if batch.batch_id is None or batch.closing in {Closing.GONE, Closing.STUCK}:
        return Closing(batch.closing or Closing.KEPT)
    doors.claude.freshen_key()
    try:
        _download(doors, batch, received, time_left_s)
    except NoResultsError:
        return _not_found(doors, batch)
    except IncompleteResultsError as error:
        return _incomplete(doors, batch, str(error))
    except (ClaudeRefusesError, KeyMissingError) as error:
        doors.claude.renew_key()
        _wait(doors, batch, str(error))
        return None
    except (ClaudeUnavailableError, DownloadError) as error:
        _wait(doors, batch, f"the results could not be downloaded: {error}")
        return None
    return Closing.MISSING


def _wait(doors: Doors[ResultsSettings], batch: Batch, problem: str, **noted: str | int) -> None:
    """Give the batch back, to be fetched later."""
    facts = {"batch": batch_key(batch), "problem": problem, "tries": batch.tries}
    logger.warning("result download failed", extra=facts)
    doors.store.fail(batch, doors.settings.retry_s, problem, noted=noted)


def _download(
    doors: Doors[ResultsSettings],
    batch: Batch,
    received: Received,
    time_left_s: Callable[[], float],
) -> None:
    """Read the results once.

    Raises:
        IncompleteResultsError: what came is not one result for each row sent; what is usable is in the spool.
        DownloadTooSlowError: the time of this invocation is over.
    """
    strange = size = 0
    needed_s = min(DEADLINE_S, time_left_s() / 2)
    for text in texts(doors.claude.results(batch.batch_id or "")):
        strange += received.take(text)
        size += len(text) + 1
        if time_left_s() < needed_s:
            raise DownloadTooSlowError(size)
    if strange or received.lacking:
        message = f"{received.lacking:,} of {received.sent:,} rows lack a result, {strange:,} lines do not belong to this batch"
        raise IncompleteResultsError(message)


def fetch_again(doors: Doors[ResultsSettings], batch: Batch, received: Received) -> None:
    """Read the results once more, for the rows of the spool's window.

    Raises:
        DownloadError: this time, they are others.
    """
    for text in texts(doors.claude.results(batch.batch_id or "")):
        received.take_again(text)
    lacking = received.spool.lacking()
    if lacking:
        message = f"the results of {batch.batch_id} came otherwise than before: {lacking:,} differ"
        raise DownloadError(message)


def _incomplete(doors: Doors[ResultsSettings], batch: Batch, problem: str) -> Closing | None:
    """Fetch again; still so after several downloads over hours, the rows without a result are missing."""
    now, fetches = doors.now(), batch.fetches + 1
    since = batch.fetched_at or times.text(now)
    if fetches >= doors.settings.fetches and _lasted(doors, now, since):
        return Closing.MISSING
    _wait(doors, batch, problem, fetches=fetches, fetched_at=since)
    return None


def _not_found(doors: Doors[ResultsSettings], batch: Batch) -> Closing | None:
    """Count a 404, which decides nothing alone: good batches have them."""
    now, count = doors.now(), batch.not_found + 1
    since = batch.not_found_since or times.text(now)
    several = count >= doors.settings.fetches and _lasted(doors, now, since)
    if several and _is_gone(doors, batch, now):
        return Closing.GONE
    problem = f"the API has no results for {batch.batch_id} (404)"
    _wait(doors, batch, problem, not_found=count, not_found_since=since)
    return None


def _is_gone(doors: Doors[ResultsSettings], batch: Batch, now: datetime) -> bool:
    """Return whether a batch whose results are not found is missing from the listings, too, for hours.

    A listing is a witness only under the batch's own key, and once the batch must have ended. After a month nothing
    can be there any more.
    """
    age = now - times.parse(batch.created_at or times.text(now))
    if age > ARCHIVED:
        return True
    missed = batch.unlisted >= GONE_LISTINGS and batch.missing_since is not None
    same_key = batch.fingerprint == doors.claude.fingerprint
    return bool(
        missed
        and same_key
        and age > ENDS_WITHIN
        and _lasted(doors, now, batch.missing_since or times.text(now))
    )


def _lasted(doors: Doors[ResultsSettings], now: datetime, since: str) -> bool:
    """Return whether trouble has lasted long enough to be no passing one."""
    return now - times.parse(since) >= timedelta(seconds=doors.settings.fetch_s)
