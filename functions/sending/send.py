"""Record the intent to create a Message Batch, create it, and act on what the answer proves."""

from collections.abc import Iterator
from datetime import datetime

from aws_lambda_powertools import Logger

from functions.adapters import adopt
from functions.adapters.circuit import Circuit
from functions.adapters.work_items import WorkItems
from functions.errors import KeyMissingError
from functions.model import timestamps
from functions.model.create_response import (
    Accepted,
    AccountBlocked,
    Ambiguous,
    NotSent,
    RateLimited,
    Refused,
    Verdict,
)
from functions.model.items.batch import Batch, BatchStatus, batch_key
from functions.model.items.job import Job
from functions.sending import blocked, split
from functions.services import Services
from functions.settings import SubmitSettings

logger = Logger(child=True)


def send(services: Services[SubmitSettings], batch: Batch) -> Verdict | None:
    """Create the Message Batch of a batch that this invocation owns.

    Everything that can fail at no cost runs before the intent is recorded. From then until the answer is
    recorded, the Message Batch may exist.

    Returns:
        The verdict; None if the batch may not be sent now or another invocation owns it.
    """
    job = services.items.job(batch.job)
    if job is None:
        return None
    if job.canceled_at is not None or not _may_send(services.circuit, batch, services.now()):
        services.items.release(batch)  # poll closes or admits it later
        return None
    services.claude.reload_key_if_stale()
    try:
        fingerprint = services.claude.fingerprint
    except KeyMissingError as error:
        services.claude.reload_key()
        return _apply_verdict(services, job, batch, AccountBlocked(error.reason, str(error)))
    blocks = services.files.read(services.files.results_object(batch.requests_key))
    first = next(blocks, b"")  # S3 errors must come before the intent
    sending = _intend(services.items, batch, fingerprint)
    if sending is None:
        return None
    verdict = services.claude.create(
        _prepend(first, blocks), batch.size_bytes, job.api_version, batch.betas
    )
    return _apply_verdict(services, job, sending, verdict)


def _may_send(circuit: Circuit, batch: Batch, now: datetime) -> bool:
    """Return whether the batch may be sent now. While sending is paused, use up the probe of this batch."""
    sending = circuit.read()
    if sending.paused_reason is not None:
        return circuit.use_probe(batch_key(batch))
    return sending.not_before is None or sending.not_before <= timestamps.text(now)


def _prepend(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _intend(items: WorkItems, batch: Batch, fingerprint: str) -> Batch | None:
    """Record the intent to create the batch. A crash after this leaves it unconfirmed.

    Returns:
        The batch as stored; None if another invocation owns it.
    """
    now = timestamps.text(items.now())
    changes = {
        **batch.retry_state,
        "status": BatchStatus.SENDING,
        "first_sent_at": batch.first_sent_at or now,
        "intent_at": now,
        "fingerprint": fingerprint,
        "reconcile_misses": None,
        "first_missed_at": None,
    }
    if not items.transition(batch, changes, keep_lease=True):
        return None
    sending = items.batch(batch.job, batch.item)
    # If our lease has expired, another invocation may own the batch: stop.
    return sending if sending is not None and sending.owner == batch.owner else None


def _apply_verdict(
    services: Services[SubmitSettings], job: Job, batch: Batch, verdict: Verdict
) -> Verdict:
    """Record what the answer to a create proves, and return it."""
    facts = {"batch": batch_key(batch), "verdict": type(verdict).__name__}
    logger.info("create answered", extra=facts | {"reason": getattr(verdict, "reason", None)})
    if isinstance(verdict, RateLimited):
        services.emit_metrics(RateLimited=1)
    match verdict:
        case Accepted():
            adopt.adopt(services.items, services.ownership, batch, verdict.batch)
            services.circuit.record_accepted(batch.intent_at or "", blocked.sender(job, batch))
            _measure(services, job, batch)
        case Refused():
            split.handle_refusal(services, batch, verdict)
        case AccountBlocked() | RateLimited() | NotSent():
            blocked.give_back(services, job, batch, verdict)
        case Ambiguous():
            services.items.transition(batch, {"status": BatchStatus.UNCONFIRMED})
    return verdict


def _measure(services: Services[SubmitSettings], job: Job, batch: Batch) -> None:
    """Measure the time since the upload. A later attempt says nothing about the relay's own delay."""
    if batch.attempt == 1:
        waited = services.now() - timestamps.parse(job.uploaded_at)
        services.emit_metrics(CreatedAfterSeconds=waited.total_seconds())
