"""Record the intent, then create the Message Batch; what the answer proves decides what comes next."""

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
from functions.model.items import Batch, BatchStatus, Job, batch_key
from functions.sending import blocked, split
from functions.services import Services
from functions.settings import SubmitSettings

logger = Logger(child=True)


def send(services: Services[SubmitSettings], batch: Batch) -> Verdict | None:
    """Create the Message Batch of a batch that this stage owns.

    Everything that can fail without costing is done before the intent is recorded: from there until an answer
    is written down, the batch may exist at Anthropic.

    Returns:
        What the answer proved; None if somebody else has the batch.
    """
    job = services.items.job(batch.job)
    if job is None:
        return None
    if job.canceled_at is not None or not _may_send(services.circuit, batch, services.now()):
        services.items.release(batch)  # poll closes it, or admits it again
        return None
    services.claude.reload_key_if_stale()
    try:
        fingerprint = services.claude.fingerprint
    except KeyMissingError as error:
        services.claude.reload_key()
        return _act(services, job, batch, AccountBlocked(error.reason, str(error)))
    blocks = services.files.read(services.files.results_object(batch.requests_key))
    first = next(blocks, b"")
    sending = _intend(services.items, batch, fingerprint)
    if sending is None:
        return None
    verdict = services.claude.create(_chained(first, blocks), batch.size_bytes, job.api_version)
    return _act(services, job, sending, verdict)


def _may_send(circuit: Circuit, batch: Batch, now: datetime) -> bool:
    """Whether sending goes on since poll admitted the batch; while it is paused, only what poll lets through, once."""
    sending = circuit.read()
    if sending.paused_reason is not None:
        return circuit.use_probe(batch_key(batch))
    return sending.not_before is None or sending.not_before <= timestamps.text(now)


def _chained(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _intend(items: WorkItems, batch: Batch, fingerprint: str) -> Batch | None:
    """Write down that a batch is about to be created: a crash from here on leaves it unconfirmed."""
    now = timestamps.text(items.now())
    changes = {
        **batch.tries_so_far,
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
    # Whoever stood still until its lease was over would find another owner here, or none, and must not act as that one.
    return sending if sending is not None and sending.owner == batch.owner else None


def _act(services: Services[SubmitSettings], job: Job, batch: Batch, verdict: Verdict) -> Verdict:
    """Do what an answer to create asks for."""
    facts = {"batch": batch_key(batch), "verdict": type(verdict).__name__}
    logger.info("create answered", extra=facts | {"reason": getattr(verdict, "reason", None)})
    match verdict:
        case Accepted():
            adopt.adopt(services.items, services.ownership, batch, verdict.batch)
            services.circuit.record_accepted(batch.intent_at or "", blocked.sender(job, batch))
        case Refused():
            split.refused(services, batch, verdict)
        case AccountBlocked() | RateLimited() | NotSent():
            blocked.give_back(services, job, batch, verdict)
        case Ambiguous():
            services.items.transition(batch, {"status": BatchStatus.UNCONFIRMED})
    return verdict
