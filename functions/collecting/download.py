"""Download a batch's results until they are exactly the rows that were sent."""

from collections.abc import Callable
from datetime import datetime, timedelta

from aws_lambda_powertools import Logger

from functions.adapters.anthropic_api import Claude
from functions.collecting.result_set import ResultSet
from functions.errors import (
    ApiKeyRejectedError,
    ApiNotFoundError,
    ApiUnavailableError,
    DownloadError,
    DownloadTooSlowError,
    IncompleteResultsError,
    KeyMissingError,
)
from functions.model import timestamps
from functions.model.create_response import GONE_LISTINGS
from functions.model.items import Batch, CloseReason, batch_key
from functions.model.streams import line_blocks
from functions.services import Services
from functions.settings import ResultsSettings

DEADLINE_S = 120.0
"""With less time left than this, a download stops: ordering and storing its rows takes some seconds."""
logger = Logger(child=True)


def download(
    services: Services[ResultsSettings],
    batch: Batch,
    received: ResultSet,
    time_left_s: Callable[[], float],
) -> CloseReason | None:
    """Bring a batch's results into the spool.

    Whatever goes wrong, the batch waits, each time longer: its answers are paid for.

    Returns:
        How rows end that have no result there; None if the batch was given back, to be fetched later.
    """
    if batch.batch_id is None or batch.close_reason in {CloseReason.GONE, CloseReason.STUCK}:
        return CloseReason(batch.close_reason or CloseReason.KEPT)
    services.claude.reload_key_if_stale()
    try:
        _download(services.claude, batch, received, time_left_s)
    except ApiNotFoundError:
        return _not_found(services, batch)
    except IncompleteResultsError as error:
        return _incomplete(services, batch, str(error))
    except (ApiKeyRejectedError, KeyMissingError) as error:
        services.claude.reload_key()
        _wait(services, batch, str(error))
        return None
    except (ApiUnavailableError, DownloadError) as error:
        _wait(services, batch, f"the results could not be downloaded: {error}")
        return None
    return CloseReason.MISSING


def _wait(
    services: Services[ResultsSettings], batch: Batch, problem: str, **noted: str | int
) -> None:
    """Give the batch back, to be fetched later."""
    facts = {"batch": batch_key(batch), "problem": problem, "tries": batch.tries}
    logger.warning("result download failed", extra=facts)
    services.items.record_failure(batch, services.settings.retry_s, problem, noted=noted)


def _download(
    claude: Claude,
    batch: Batch,
    received: ResultSet,
    time_left_s: Callable[[], float],
) -> None:
    """Read the results once.

    Raises:
        IncompleteResultsError: what came is not one result for each row sent; what is usable is in the spool.
        DownloadTooSlowError: the time of this invocation is over.
    """
    strange = size = 0
    needed_s = min(DEADLINE_S, time_left_s() / 2)
    for text in line_blocks(claude.results(batch.batch_id or "")):
        strange += received.add(text)
        size += len(text) + 1
        if time_left_s() < needed_s:
            raise DownloadTooSlowError(size)
    if strange or received.missing:
        message = f"{received.missing:,} of {received.sent:,} rows lack a result, {strange:,} lines do not belong to this batch"
        raise IncompleteResultsError(message)


def download_again(services: Services[ResultsSettings], batch: Batch, received: ResultSet) -> None:
    """Read the results once more, for the rows of the spool's window.

    Raises:
        DownloadError: this time, they are others.
    """
    for text in line_blocks(services.claude.results(batch.batch_id or "")):
        received.add_missing(text)
    lacking = received.spool.missing()
    if lacking:
        message = f"the results of {batch.batch_id} came otherwise than before: {lacking:,} differ"
        raise DownloadError(message)


def _incomplete(
    services: Services[ResultsSettings], batch: Batch, problem: str
) -> CloseReason | None:
    """Fetch again; still so after several downloads over hours, the rows without a result are missing."""
    now, downloads = services.now(), batch.downloads + 1
    since = batch.first_download_at or timestamps.text(now)
    if downloads >= services.settings.fetches and _lasted(services.settings.fetch_s, now, since):
        return CloseReason.MISSING
    _wait(services, batch, problem, downloads=downloads, first_download_at=since)
    return None


def _not_found(services: Services[ResultsSettings], batch: Batch) -> CloseReason | None:
    """Count a 404, which decides nothing alone: good batches have them."""
    now, count = services.now(), batch.not_found + 1
    since = batch.not_found_since or timestamps.text(now)
    several = count >= services.settings.fetches and _lasted(services.settings.fetch_s, now, since)
    if several and _is_gone(services, batch, now):
        return CloseReason.GONE
    problem = f"the API has no results for {batch.batch_id} (404)"
    _wait(services, batch, problem, not_found=count, not_found_since=since)
    return None


def _is_gone(services: Services[ResultsSettings], batch: Batch, now: datetime) -> bool:
    """Return whether a batch whose results are not found is missing from the listings, too, for hours.

    A listing is a witness only under the batch's own key, and once the batch must have ended. After a month nothing
    can be there any more.
    """
    if batch.results_are_deleted(now):
        return True
    missed = batch.listing_misses >= GONE_LISTINGS and batch.missing_since is not None
    same_key = batch.fingerprint == services.claude.fingerprint
    return bool(
        missed
        and same_key
        and batch.must_have_ended(now)
        and _lasted(services.settings.fetch_s, now, batch.missing_since or timestamps.text(now))
    )


def _lasted(fetch_s: float, now: datetime, since: str) -> bool:
    """Return whether trouble has lasted long enough to be no passing one."""
    return now - timestamps.parse(since) >= timedelta(seconds=fetch_s)
