"""Download a batch's results until they are exactly the rows that were sent.

Results that do not arrive in one download are first saved in pieces. Each invocation continues after the saved
bytes; once they have ended, the next one reads the results from the pieces. A download that ends without an error
is whole only if it has a line for every request: a proxy that cuts a stream does not always report it. Results that
do not fit on the disk are saved too, since ordering them takes several passes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from aws_lambda_powertools import Logger

from functions.adapters.tracing import traced
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
from functions.model.items.batch import Batch, CloseReason, batch_key
from functions.model.items.stored_objects import StoredObject
from functions.model.streams import line_blocks
from functions.services import Services
from functions.settings import ResultsSettings

DEADLINE_S = 120.0
"""A download stops when less time than this is left, in seconds: rows must still be ordered and stored."""
OVERLAP = 1 << 16
"""Bytes of the last piece that are downloaded again. If they differ, the file has changed."""
_NOT_AVAILABLE = frozenset({CloseReason.GONE, CloseReason.STUCK})
"""Close reasons of a batch whose results cannot be downloaded any more."""
logger = Logger(child=True)


@traced("download")
def download(
    services: Services[ResultsSettings],
    batch: Batch,
    received: ResultSet,
    time_left_s: Callable[[], float],
) -> CloseReason | None:
    """Download a batch's results into the spool.

    After any failure the batch waits, each time longer, because its answers are paid for.

    Returns:
        How rows without a result end; None if the batch was released, to be downloaded later.
    """
    if batch.batch_id is None or batch.close_reason in _NOT_AVAILABLE:
        closing: CloseReason | None = CloseReason(batch.close_reason or CloseReason.KEPT)
    else:
        services.claude.reload_key_if_stale()
        closing = _try_download(services, batch, received, time_left_s)
    if closing in _NOT_AVAILABLE:
        _read_saved(services, batch, received, time_left_s)
    return closing


def _try_download(
    services: Services[ResultsSettings],
    batch: Batch,
    received: ResultSet,
    time_left_s: Callable[[], float],
) -> CloseReason | None:
    try:
        if _has_more(batch) and _save_piece(services, batch, time_left_s):
            return None
        _download(services, batch, received, time_left_s)
        if _exceeds_disk(batch, received) and _save_piece(services, batch, time_left_s):
            return None
    except ApiNotFoundError:
        return _not_found(services, batch)
    except IncompleteResultsError as error:
        return _incomplete(services, batch, received, str(error))
    except (ApiKeyRejectedError, KeyMissingError, ApiUnavailableError, DownloadError) as error:
        _failed(services, batch, error)
        return None
    return CloseReason.MISSING


def _failed(services: Services[ResultsSettings], batch: Batch, error: Exception) -> None:
    """Release the batch after a failure that says nothing about its results."""
    if isinstance(error, ApiKeyRejectedError | KeyMissingError):
        services.claude.reload_key()
        _wait(services, batch, str(error), pieces=batch.pieces)
        return
    pieces = batch.pieces
    if isinstance(error, ResultsChangedError | ObjectNotFoundError):
        pieces = None  # start over
    elif isinstance(error, DownloadError):
        pieces = batch.pieces or []
    _wait(services, batch, f"the results could not be downloaded: {error}", pieces=pieces)


def _wait(
    services: Services[ResultsSettings],
    batch: Batch,
    problem: str,
    *,
    pieces: list[StoredObject] | None,
    **counts: str | int,
) -> None:
    """Release the batch, to be downloaded later."""
    facts = {"batch": batch_key(batch), "problem": problem, "tries": batch.tries}
    logger.warning("result download failed", extra=facts)
    services.items.record_failure(
        batch,
        services.settings.retry_s,
        problem,
        noted={"pieces": pieces, "pieces_ended": None, **counts},
    )


def _download(
    services: Services[ResultsSettings],
    batch: Batch,
    received: ResultSet,
    time_left_s: Callable[[], float],
) -> None:
    """Read the results once, or as many as fit on the disk.

    Raises:
        IncompleteResultsError: there is not one result for each row sent; usable ones are in the spool.
        DownloadTooSlowError: the time of this invocation is over.
    """
    foreign = 0
    for text in line_blocks(_in_time(_results(services, batch), time_left_s)):
        foreign += received.add(text)
        if _exceeds_disk(batch, received):
            return
    if foreign or received.missing:
        message = (
            f"{received.missing:,} of {received.sent:,} rows lack a result, "
            f"{foreign:,} lines cannot be read or do not belong to this batch"
        )
        raise IncompleteResultsError(message)


def _has_more(batch: Batch) -> bool:
    """Return whether bytes may follow the saved ones."""
    return batch.pieces is not None and not batch.pieces_ended


def _exceeds_disk(batch: Batch, received: ResultSet) -> bool:
    """Return whether the results do not fit on the disk and are not saved either."""
    return batch.pieces is None and not received.spool.whole


def _save_piece(
    services: Services[ResultsSettings], batch: Batch, time_left_s: Callable[[], float]
) -> bool:
    """Save the results that follow the saved ones, until this invocation runs out of time.

    Returns:
        True if a piece was saved and the batch released; False if nothing follows.
    """
    blocks = _in_time(_rest(services, batch), time_left_s)
    first = next(filter(None, blocks), None)
    if first is None:
        return False
    key = f"work/{batch.job}/{batch.item}/{batch.owner}.piece.jsonl"
    following = _AsFarAsItGoes(blocks)
    piece = services.files.write(key, chain((first,), following))
    pieces = [*(batch.pieces or []), piece]
    services.items.transition(batch, {"pieces": pieces, "pieces_ended": following.ended or None})
    saved = sum(piece.size for piece in pieces)
    logger.info("results saved so far", extra={"batch": batch_key(batch), "size_bytes": saved})
    return True


def _in_time(blocks: Iterator[bytes], time_left_s: Callable[[], float]) -> Iterator[bytes]:
    """Yield blocks while there is time.

    Raises:
        DownloadTooSlowError: this invocation runs out of time.
    """
    needed_s, size = min(DEADLINE_S, time_left_s() / 2), 0
    for block in blocks:
        yield block
        size += len(block)
        if time_left_s() < needed_s:
            raise DownloadTooSlowError(size)


@dataclass
class _AsFarAsItGoes:
    """Yields blocks until time runs out or the stream breaks off. The blocks until then are usable.

    Attributes:
        ended: whether the stream ended without an error.
    """

    blocks: Iterator[bytes]
    ended: bool = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.blocks
        except ResultsChangedError:
            raise
        except DownloadError as error:
            logger.warning("results broke off", extra={"problem": str(error)})
        else:
            self.ended = True


def _results(services: Services[ResultsSettings], batch: Batch) -> Iterator[bytes]:
    """Stream the results from the API, or all that it has from the saved pieces."""
    return _rest(services, batch) if batch.pieces is None else _saved(services, batch)


def _saved(services: Services[ResultsSettings], batch: Batch) -> Iterator[bytes]:
    """Stream the saved pieces."""
    for piece in batch.pieces or []:
        yield from services.files.read(services.files.results_object(piece.key))


def _read_saved(
    services: Services[ResultsSettings],
    batch: Batch,
    received: ResultSet,
    time_left_s: Callable[[], float],
) -> None:
    """Read what was saved of results that cannot be downloaded any more, if it still exists."""
    try:
        for text in line_blocks(_in_time(_saved(services, batch), time_left_s)):
            received.add(text)
    except ObjectNotFoundError as error:
        facts = {"batch": batch_key(batch), "problem": str(error)}
        logger.warning("saved results are gone", extra=facts)


def _rest(services: Services[ResultsSettings], batch: Batch) -> Iterator[bytes]:
    """Stream the results from the API, without those that are saved.

    Raises:
        ResultsChangedError: the saved bytes are not those of this file.
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


def read_again(
    services: Services[ResultsSettings],
    batch: Batch,
    received: ResultSet,
    time_left_s: Callable[[], float],
) -> None:
    """Read the saved results again, for the rows of the spool's window.

    Raises:
        DownloadError: the saved results have changed, or this invocation runs out of time.
    """
    try:
        for text in line_blocks(_in_time(_saved(services, batch), time_left_s)):
            received.add_missing(text)
    except DownloadTooSlowError as error:
        message = (
            "out of time while ordering results that do not fit on the disk; raise resultsDiskMib"
        )
        raise DownloadError(message) from error
    missing = received.spool.missing()
    if missing:
        message = f"the saved results of {batch.batch_id} have changed: {missing:,} differ"
        raise DownloadError(message)


def _incomplete(
    services: Services[ResultsSettings], batch: Batch, received: ResultSet, problem: str
) -> CloseReason | None:
    """Release the batch, or close its rows without a result as missing.

    - With fewer lines than requests, the download broke off: what arrived counts for as long as Anthropic has the
      rest. If no line could be read, the format may be new: a later version of the relay may read it.
    - With a line for every request, rows really lack a readable result. Several such downloads over hours are enough.
      The unreadable lines are kept for people.
    """
    now, incomplete = services.now(), batch.incomplete_downloads + 1
    if not received.is_conclusive:
        if batch.results_are_deleted(now):
            return CloseReason.MISSING
        _wait(services, batch, f"the results broke off: {problem}", pieces=batch.pieces or [])
        return None
    since = batch.first_download_at or timestamps.text(now)
    if incomplete >= services.settings.incomplete_downloads and _lasted(
        services.settings.incomplete_s, now, since
    ):
        return _keep_unreadable(services, batch, received.unreadable)
    # Start over: the saved pieces lack the same rows.
    _wait(
        services,
        batch,
        problem,
        pieces=None,
        incomplete_downloads=incomplete,
        first_download_at=since,
    )
    return None


def _keep_unreadable(
    services: Services[ResultsSettings], batch: Batch, lines: list[bytes]
) -> CloseReason:
    """Write unreadable lines beside the results of the job. Return how rows without a result end."""
    job = services.items.job(batch.job)
    if job is None or not lines:
        return CloseReason.MISSING
    key = f"{job.results_prefix}/unreadable/{batch.item}.txt"
    services.files.put(key, b"\n".join(lines) + b"\n", "text/plain")
    facts = {"batch": batch_key(batch), "lines": len(lines), "key": key}
    logger.error("results that cannot be read are kept", extra=facts)
    return CloseReason.UNREADABLE


def _not_found(services: Services[ResultsSettings], batch: Batch) -> CloseReason | None:
    """Count a 404. Alone it decides nothing: the API answers so for good batches, too.

    A key of another workspace always gets one. So the count begins anew with each key.
    """
    now, key = services.now(), services.claude.fingerprint
    counted = batch.not_found if batch.not_found_key == key else 0
    count = counted + 1
    since = (batch.not_found_since if counted else None) or timestamps.text(now)
    several = count >= services.settings.incomplete_downloads and _lasted(
        services.settings.incomplete_s, now, since
    )
    if several and _is_gone(services, batch, now):
        return CloseReason.GONE
    problem = f"the API has no results for {batch.batch_id} (404)"
    _wait(
        services,
        batch,
        problem,
        pieces=batch.pieces,
        not_found=count,
        not_found_since=since,
        not_found_key=key,
    )
    return None


def _is_gone(services: Services[ResultsSettings], batch: Batch, now: datetime) -> bool:
    """Return whether a batch whose results are not found is missing from the listings, too, for hours.

    The listings and the 404s must be those of one workspace, the batch's: this key is the one that sent the batch, or
    the one under which poll missed it. After a month, Anthropic has deleted all results.
    """
    if batch.results_are_deleted(now):
        return True
    missed = batch.listing_misses >= MIN_MISSING_LISTINGS and batch.missing_since is not None
    same_workspace = services.claude.fingerprint in {batch.fingerprint, batch.missing_key}
    return bool(
        missed
        and same_workspace
        and batch.must_have_ended(now)
        and _lasted(
            services.settings.incomplete_s, now, batch.missing_since or timestamps.text(now)
        )
    )


def _lasted(incomplete_s: float, now: datetime, since: str) -> bool:
    """Return whether a problem has lasted for `incomplete_s` or longer."""
    return now - timestamps.parse(since) >= timedelta(seconds=incomplete_s)
