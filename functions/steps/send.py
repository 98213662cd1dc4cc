"""Record the intent, then create the Message Batch; what the answer proves decides what comes next."""

from collections.abc import Iterator

from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.doors import Doors
from functions.batches.errors import KeyMissingError
from functions.batches.items import Batch, BatchStatus, Job, batch_key
from functions.batches.settings import SubmitSettings
from functions.batches.verdicts import (
    Accepted,
    Later,
    Parked,
    Refused,
    Unknown,
    Unsent,
    Verdict,
)
from functions.steps import blocked, record, split

logger = Logger(child=True)


def send(doors: Doors[SubmitSettings], batch: Batch) -> Verdict | None:
    """Create the Message Batch of a batch that this stage owns.

    Everything that can fail without costing is done before the intent is recorded: from there until an answer
    is written down, the batch may exist at Anthropic.

    Returns:
        What the answer proved; None if somebody else has the batch.
    """
    job = doors.store.job(batch.job)
    if job is None:
        return None
    if job.canceled_at is not None or not _may_send(doors, batch):
        doors.store.release(batch)  # poll closes it, or admits it again
        return None
    doors.claude.freshen_key()
    try:
        fingerprint = doors.claude.fingerprint
    except KeyMissingError as error:
        doors.claude.renew_key()
        return _act(doors, job, batch, Parked(error.reason, str(error)))
    blocks = doors.files.read(doors.files.own(batch.requests_key))
    first = next(blocks, b"")
    sending = _intend(doors, batch, fingerprint)
    if sending is None:
        return None
    verdict = doors.claude.create(_chained(first, blocks), batch.size_bytes, job.api_version)
    return _act(doors, job, sending, verdict)


def _may_send(doors: Doors[SubmitSettings], batch: Batch) -> bool:
    """Whether sending goes on since poll admitted the batch; while it is parked, only what poll lets through, once."""
    sending = doors.store.sending()
    if sending.parked is not None:
        return doors.store.use_probe(batch_key(batch))
    return sending.not_before is None or sending.not_before <= times.text(doors.now())


def _chained(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _intend(doors: Doors[SubmitSettings], batch: Batch, fingerprint: str) -> Batch | None:
    """Write down that a batch is about to be created: a crash from here on leaves it unsure."""
    now = times.text(doors.now())
    changes = {
        "status": BatchStatus.SENDING,
        "begun_at": batch.begun_at or now,
        "intent_at": now,
        "fingerprint": fingerprint,
        "absent": None,
        "absent_since": None,
    }
    if not doors.store.advance(batch, changes, keep=True):
        return None
    sending = doors.store.batch(batch.job, batch.item)
    # Whoever stood still until its lease was over would find another owner here, or none, and must not act as that one.
    return sending if sending is not None and sending.owner == batch.owner else None


def _act(doors: Doors[SubmitSettings], job: Job, batch: Batch, verdict: Verdict) -> Verdict:
    """Do what an answer to create asks for."""
    facts = {"batch": batch_key(batch), "verdict": type(verdict).__name__}
    logger.info("create answered", extra=facts | {"reason": getattr(verdict, "reason", None)})
    match verdict:
        case Accepted():
            record.record(doors, batch, verdict.batch)
            doors.store.accepted(batch.intent_at or "", blocked.sender(job, batch))
        case Refused():
            split.refused(doors, batch, verdict)
        case Parked() | Later() | Unsent():
            blocked.give_back(doors, job, batch, verdict)
        case Unknown():
            doors.store.advance(batch, {"status": BatchStatus.UNSURE})
    return verdict
