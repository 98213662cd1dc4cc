"""Download a batch's results until they are exactly the rows that were sent.

Results that do not arrive within one invocation are saved in pieces first: each invocation goes on behind what is saved,
and the one that finds nothing more to save reads them from there.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import chain

from aws_lambda_powertools import Logger

from functions.collecting.result_set import ResultSet
from functions.errors import (
    ApiKeyRejectedError,
    ApiNotFoundError,
    ApiUnavailableError,
    DownloadError,
    DownloadTooSlowError,
    IncompleteResultsError,
    KeyMissingError,
    ObjectNotFoundError,
    ResultsChangedError,
)
from functions.model import timestamps
from functions.model.create_response import MIN_MISSING_LISTINGS
from functions.model.items import Batch, CloseReason, StoredObject, batch_key
from functions.model.streams import line_blocks
from functions.services import Services
from functions.settings import ResultsSettings

DEADLINE_S = 120.0
"""With less time left than this, a download stops: ordering and storing its rows takes some seconds."""
PIECE_BYTES = 1 << 20
"""Less than this is not worth a piece: an item holds a reference to each."""
OVERLAP = 1 << 16
"""Bytes of the last piece that are downloaded again: only if they are the same is the rest of the same file."""
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
        if batch.pieces is not None and _save_piece(services, batch, time_left_s):
            return None
        _download(services, batch, received, time_left_s)
    except ApiNotFoundError:
        return _not_found(services, batch)
    except IncompleteResultsError as error:
        return _incomplete(services, batch, str(error))
    except (ApiKeyRejectedError, KeyMissingError, ApiUnavailableError, DownloadError) as error:
        _failed(services, batch, received, error)
        return None
    return CloseReason.MISSING


def _failed(
    services: Services[ResultsSettings], batch: Batch, received: ResultSet, error: Exception
) -> None:
    """Give the batch back after a failure that says nothing about its results."""
    if isinstance(error, ApiKeyRejectedError | KeyMissingError):
        services.claude.reload_key()
        _wait(services, batch, str(error), pieces=batch.pieces)
        return
    pieces = batch.pieces
    if isinstance(error, ResultsChangedError | ObjectNotFoundError):
        pieces = []
    elif isinstance(error, DownloadTooSlowError) or received.size >= PIECE_BYTES:
        pieces = batch.pieces or []
    _wait(services, batch, f"the results could not be downloaded: {error}", pieces=pieces)


def _wait(
    services: Services[ResultsSettings],
    batch: Batch,
    problem: str,
    *,
    pieces: list[StoredObject] | None,
    **noted: str | int,
) -> None:
    """Give the batch back, to be fetched later."""
    facts = {"batch": batch_key(batch), "problem": problem, "tries": batch.tries}
    logger.warning("result download failed", extra=facts)
    services.items.record_failure(
        batch, services.settings.retry_s, problem, noted={"pieces": pieces, **noted}
    )


def _download(
    services: Services[ResultsSettings],
    batch: Batch,
    received: ResultSet,
    time_left_s: Callable[[], float],
) -> None:
    """Read the results once.

    Raises:
        IncompleteResultsError: what came is not one result for each row sent; what is usable is in the spool.
        DownloadTooSlowError: the time of this invocation is over.
    """
    strange = 0
    for text in line_blocks(_in_time(_results(services, batch), time_left_s)):
        strange += received.add(text)
    if strange or received.missing:
        message = f"{received.missing:,} of {received.sent:,} rows lack a result, {strange:,} lines do not belong to this batch"
        raise IncompleteResultsError(message)


def _save_piece(
    services: Services[ResultsSettings], batch: Batch, time_left_s: Callable[[], float]
) -> bool:
    """Save the results behind those that are saved, until the time of this invocation is over.

    Returns:
        Whether the batch was given back, to go on behind them; False if too little is left to be worth it.
    """
    blocks = _as_far_as_it_goes(_in_time(_rest(services, batch), time_left_s))
    first = b""
    while len(first) < PIECE_BYTES:
        block = next(blocks, None)
        if block is None:
            return False
        first += block
    key = f"work/{batch.job}/{batch.item}/{batch.owner}.piece.jsonl"
    piece = services.files.write(key, chain((first,), blocks))
    pieces = [*(batch.pieces or []), piece]
    services.items.transition(batch, {"pieces": pieces})
    saved = sum(piece.size for piece in pieces)
    logger.info("results saved so far", extra={"batch": batch_key(batch), "size_bytes": saved})
    return True


def _in_time(blocks: Iterator[bytes], time_left_s: Callable[[], float]) -> Iterator[bytes]:
    """Take blocks while there is time.

    Raises:
        DownloadTooSlowError: the time of this invocation is over.
    """
    needed_s, size = min(DEADLINE_S, time_left_s() / 2), 0
    for block in blocks:
        yield block
        size += len(block)
        if time_left_s() < needed_s:
            raise DownloadTooSlowError(size)


def _as_far_as_it_goes(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Take blocks until the time is over or the stream breaks off: what came is of use."""
    try:
        yield from blocks
    except ResultsChangedError:
        raise
    except DownloadError as error:
        logger.warning("results broke off", extra={"problem": str(error)})


def _results(services: Services[ResultsSettings], batch: Batch) -> Iterator[bytes]:
    """Stream the results: the pieces that are saved, then the rest."""
    for piece in batch.pieces or []:
        yield from services.files.read(services.files.results_object(piece.key))
    yield from _rest(services, batch)


def _rest(services: Services[ResultsSettings], batch: Batch) -> Iterator[bytes]:
    """Stream the results from the API, those that are saved left out.

    Raises:
        ResultsChangedError: what is saved is of another file.
    """
    saved, batch_id = batch.pieces or [], batch.batch_id or ""
    size, known = sum(piece.size for piece in saved), b""
    if saved:
        last = services.files.results_object(saved[-1].key)
        known = b"".join(
            services.files.read(last, max(saved[-1].size - OVERLAP, 0), saved[-1].size)
        )
    stream, seen = services.claude.results(batch_id, size - len(known)), b""
    for block in stream:
        seen += block
        if len(seen) >= len(known):
            break
        yield b""
    if not seen.startswith(known):
        raise ResultsChangedError(batch_id, size)
    yield seen[len(known) :]
    yield from stream


def download_again(services: Services[ResultsSettings], batch: Batch, received: ResultSet) -> None:
    """Read the results once more, for the rows of the spool's window.

    Raises:
        DownloadError: this time, they are others.
    """
    for text in line_blocks(_results(services, batch)):
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
    pieces = batch.pieces and []  # what is saved would lack them again
    _wait(services, batch, problem, pieces=pieces, downloads=downloads, first_download_at=since)
    return None


def _not_found(services: Services[ResultsSettings], batch: Batch) -> CloseReason | None:
    """Count a 404, which decides nothing alone: good batches have them."""
    now, count = services.now(), batch.not_found + 1
    since = batch.not_found_since or timestamps.text(now)
    several = count >= services.settings.fetches and _lasted(services.settings.fetch_s, now, since)
    if several and _is_gone(services, batch, now):
        return CloseReason.GONE
    problem = f"the API has no results for {batch.batch_id} (404)"
    _wait(services, batch, problem, pieces=batch.pieces, not_found=count, not_found_since=since)
    return None


def _is_gone(services: Services[ResultsSettings], batch: Batch, now: datetime) -> bool:
    """Return whether a batch whose results are not found is missing from the listings, too, for hours.

    A listing is a witness only under the batch's own key, and once the batch must have ended. After a month nothing
    can be there any more.
    """
    if batch.results_are_deleted(now):
        return True
    missed = batch.listing_misses >= MIN_MISSING_LISTINGS and batch.missing_since is not None
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
