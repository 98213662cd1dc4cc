"""Handle creates that made no batch for a reason other than the rows: wait, with growing pauses.

The API reports some account problems with the status of an invalid row, such as "Your organization is disabled".
No list of such messages is complete. A refusal that names no request therefore pauses sending for all jobs.

A batch sent later may be accepted under the same key, which proves that the account works. If the first batch is
then refused again, its rows are checked.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

import msgspec

from functions.adapters.anthropic_api import Claude
from functions.adapters.work_items import WorkItems, retry_delay_s
from functions.errors import KeyMissingError
from functions.model import timestamps
from functions.model.create_response import (
    KEY_PROBLEMS,
    PAUSE_MESSAGES,
    AccountBlocked,
    NotSent,
    RateLimited,
    Refused,
)
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.job import Job
from functions.model.items.work_item import Step
from functions.model.records import Sending
from functions.sending import split
from functions.services import Services
from functions.settings import SubmitSettings

_MAX_PAUSE_S = 3600.0
"""Maximum length of a pause in seconds. Only the API's ``retry-after`` may exceed it."""
_RATE_LIMITS_TO_PAUSE, _RATE_LIMITED_FOR = 3, timedelta(hours=1)
"""Consecutive 429 answers, and their time span, that pause sending. A spend limit does not pass in minutes."""
_MIN_ACCEPTED_BETWEEN = 2
"""Refusals with another batch accepted in between that reject a row which the API does not name.

One is not enough: the account may have been blocked in the meantime.
"""
_FIRST_PAUSE_S = 60
"""The pause after the second consecutive 429, in seconds. It doubles with each further one."""


def sender(job: Job, batch: Batch) -> str:
    """Return the key fingerprint and API version of a batch, as one text.

    A batch that was accepted under another key or version proves nothing about this one.
    """
    return f"{batch.fingerprint}/{job.api_version}"


def give_back(
    services: Services[SubmitSettings],
    job: Job,
    batch: Batch,
    verdict: AccountBlocked | RateLimited | NotSent,
) -> None:
    """Return a batch to WAITING after a create that certainly made no Message Batch."""
    match verdict:
        case RateLimited():
            _return_to_waiting(services.items, batch, _throttle(services, batch, verdict))
        case NotSent(reason):
            _retry_later(services, batch, reason)
        case AccountBlocked(reason) if reason in KEY_PROBLEMS:
            _return_to_waiting(services.items, batch, None)
            if not _key_was_stale(services.claude, batch, verdict):
                services.pause_sending(reason, verdict.sentence, services.settings.probe_s)
        case AccountBlocked():
            _handle_account_block(services, job, batch, verdict)


def _handle_account_block(
    services: Services[SubmitSettings], job: Job, batch: Batch, verdict: AccountBlocked
) -> None:
    """Pause sending, or check the rows of this batch if the account accepts other batches."""
    sending, now = services.circuit.read(), timestamps.text(services.now())
    if not _account_works(sending, job, batch):
        _pause_or_halve(services, _count_refusal(batch, batch.refused_at or now), verdict)
        return
    _check_rows(services, _count_refusal(batch, now, accepted_between=1), verdict.rows)
    if sending.paused_reason == verdict.reason:
        services.resume_sending(sending)


def _account_works(sending: Sending, job: Job, batch: Batch) -> bool:
    """Return whether a batch was accepted under the same key after this one's first unchecked refusal."""
    if batch.refused_at is None or sending.accepted_at is None:
        return False
    same_sender = sending.accepted_by == sender(job, batch)
    return same_sender and sending.accepted_at > batch.refused_at


def _count_refusal(batch: Batch, since: str, accepted_between: int = 0) -> Batch:
    """Return the batch with one more refusal that names no row."""
    return msgspec.structs.replace(
        batch,
        pauses_caused=batch.pauses_caused + 1,
        accepted_between=batch.accepted_between + accepted_between,
        refused_at=since,
    )


def _pause_or_halve(
    services: Services[SubmitSettings], batch: Batch, verdict: AccountBlocked
) -> None:
    """Pause sending. Halve the batch if it is refused again before another batch was accepted.

    If nothing else waits to be sent, only the half without the invalid row can show that the account works.
    Halving adds no creates while sending is paused, because poll probes with one batch at a time.
    """
    if verdict.rows is not None and batch.pauses_caused > 1 and _can_be_halved(batch):
        split.halve(services, batch)
    else:
        _return_to_waiting(services.items, batch, None)
    services.pause_sending(verdict.reason, verdict.sentence)


def _check_rows(services: Services[SubmitSettings], batch: Batch, rows: Refused | None) -> None:
    """Halve the batch to find the invalid row, or reject the row that is left.

    If the answer cannot be about rows, or not enough refusals prove it yet, only this batch waits.
    """
    if rows is not None and (
        _can_be_halved(batch) or batch.accepted_between >= _MIN_ACCEPTED_BETWEEN
    ):
        split.handle_refusal(services, batch, rows)
    else:
        retry_delay_s = min(
            services.settings.probe_s << min(batch.pauses_caused, 20), _MAX_PAUSE_S
        )
        _return_to_waiting(services.items, batch, timestamps.after(services.now(), retry_delay_s))


def _can_be_halved(batch: Batch) -> bool:
    return batch.requests > 1 and batch.attempt == 1


def _throttle(services: Services[SubmitSettings], batch: Batch, verdict: RateLimited) -> str:
    """Delay the creates of all jobs after a 429: at least as long as the API asks, longer with each repeat.

    Returns:
        The time before which nothing is sent, in UTC.
    """
    sending, now = services.circuit.read(), services.now()
    # Do not count a create that was sent before the last delay ended.
    is_new = (sending.not_before or "") <= (batch.intent_at or "")
    count, first = sending.limited + is_new, sending.limited_at or timestamps.text(now)
    backoff_s = min(_FIRST_PAUSE_S << min(count - 2, 20), _MAX_PAUSE_S) if count > 1 else 0.0
    until = timestamps.after(now, max(verdict.retry_after_s, backoff_s))
    services.circuit.throttle_until(until, limited=count, limited_at=first)
    if count >= _RATE_LIMITS_TO_PAUSE and now - timestamps.parse(first) >= _RATE_LIMITED_FOR:
        sentence = f"{PAUSE_MESSAGES['rate_limited']}. {verdict.words}".strip()
        services.pause_sending("rate_limited", sentence)
    return until


def _retry_later(services: Services[SubmitSettings], batch: Batch, reason: str) -> None:
    """Delay the batch after a failed connection. The tries count towards the event ``batch.stuck``."""
    wait_s = min(retry_delay_s(batch.tries, services.settings.retry_s), _MAX_PAUSE_S)
    failure = batch.retry_state | {"last_error": f"no connection to the API: {reason}"}
    not_before = timestamps.after(services.now(), wait_s)
    _return_to_waiting(services.items, batch, not_before, failure)


def _return_to_waiting(
    items: WorkItems,
    batch: Batch,
    not_before: str | None,
    failure: Mapping[str, str | int | None] = MappingProxyType({}),
) -> None:
    """Set the batch to WAITING, with its counts of refusals.

    Args:
        items: the jobs and batches.
        batch: the batch that was not created.
        not_before: the time before which it is not sent, in UTC; None for no limit.
        failure: further attributes to write.
    """
    changes = {
        "status": BatchStatus.WAITING,
        "next_step": Step.SEND,
        "not_before": not_before,
        "intent_at": None,
        "pauses_caused": batch.pauses_caused,
        "accepted_between": batch.accepted_between,
        "refused_at": batch.refused_at,
        **failure,
    }
    items.transition(batch, changes)


def _key_was_stale(claude: Claude, batch: Batch, verdict: AccountBlocked) -> bool:
    """Reload the key after a 401. Return True if it was replaced, so that the next try uses the new one."""
    if verdict.reason != "key_refused":
        return False
    claude.reload_key()
    try:
        return claude.fingerprint != batch.fingerprint
    except KeyMissingError:
        return False
