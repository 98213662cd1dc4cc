"""Download a batch's results until they are exactly the rows that were sent."""

from datetime import timedelta

from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.blocks import texts
from functions.batches.doors import Doors
from functions.batches.errors import (
    ClaudeRefusesError,
    ClaudeUnavailableError,
    DownloadError,
    IncompleteResultsError,
    KeyMissingError,
    NoResultsError,
)
from functions.batches.items import Batch, Closing, batch_key
from functions.batches.received import Received
from functions.batches.settings import ResultsSettings
from functions.batches.verdicts import ARCHIVED

EXPIRED = timedelta(hours=25)
"""From its creation on, a batch has ended at Anthropic by now, whatever happened: 24 hours, and a margin."""
logger = Logger(child=True)


def fetch(doors: Doors[ResultsSettings], batch: Batch, received: Received) -> Closing | None:
    """Bring a batch's results into the spool.

    Returns:
        How rows end that have no result there; None if the batch was given back, to be fetched later.
    """
    if batch.batch_id is None or batch.closing in {Closing.GONE, Closing.STUCK}:
        return Closing(batch.closing or Closing.KEPT)
    doors.claude.freshen_key()
    try:
        _download(doors, batch, received)
    except NoResultsError:
        return _not_there(doors, batch)
    except IncompleteResultsError as error:
        return _incomplete(doors, batch, str(error))
    except (ClaudeRefusesError, KeyMissingError):
        doors.claude.renew_key()
        doors.store.release(batch, again_at(doors))
        return None
    except (ClaudeUnavailableError, DownloadError) as error:
        logger.warning(
            "results broke off", extra={"batch": batch_key(batch), "problem": str(error)}
        )
        doors.store.release(batch, again_at(doors))
        return None
    return Closing.MISSING


def _download(doors: Doors[ResultsSettings], batch: Batch, received: Received) -> None:
    """Read the results once.

    Raises:
        IncompleteResultsError: what came is not one result for each row sent; what is usable is in the spool.
    """
    strange = 0
    for text in texts(doors.claude.results(batch.batch_id or "")):
        strange += received.take(text)
    if strange or received.lacking:
        message = f"{received.lacking:,} of {received.sent:,} rows lack a result, {strange:,} lines are none of theirs"
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
    doors.store.release(batch, again_at(doors), fetches=fetches, fetched_at=first)
    return None


def _not_there(doors: Doors[ResultsSettings], batch: Batch) -> Closing | None:
    """A 404 decides nothing until the batch must have expired, and under another key not for a month."""
    now, fetches = doors.now(), batch.fetches + 1
    same_key = batch.fingerprint == doors.claude.fingerprint
    age = now - times.parse(batch.created_at or times.text(now))
    if fetches >= doors.settings.fetches and age > (EXPIRED if same_key else ARCHIVED):
        return Closing.GONE
    doors.store.release(batch, again_at(doors), fetches=fetches)
    return None


def again_at(doors: Doors[ResultsSettings]) -> str:
    """Say when to fetch again: the fetches are spread over the time that they are given."""
    return times.after(doors.now(), doors.settings.fetch_s / doors.settings.fetches)
