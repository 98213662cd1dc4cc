"""Record the intent, then create the Message Batch; what the answer proves decides what comes next."""

from collections.abc import Iterator

from aws_lambda_powertools import Logger

from functions.batches import events, times
from functions.batches.doors import Doors
from functions.batches.errors import KeyMissingError
from functions.batches.items import Batch, BatchStatus, Step, batch_key
from functions.batches.settings import SubmitSettings
from functions.batches.verdicts import (
    KEY_TROUBLE,
    Accepted,
    Later,
    Parked,
    Refused,
    Unknown,
    Unsent,
    Verdict,
)
from functions.steps import record, split

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
    if job.canceled_at is not None:
        doors.store.release(batch)  # poll closes it
        return None
    doors.claude.freshen_key()
    try:
        fingerprint = doors.claude.fingerprint
    except KeyMissingError as error:
        doors.claude.renew_key()
        return _act(doors, batch, Parked(error.reason, str(error)))
    blocks = doors.files.read(doors.files.own(batch.requests_key))
    first = next(blocks, b"")
    sending = _intend(doors, batch, fingerprint)
    if sending is None:
        return None
    verdict = doors.claude.create(_chained(first, blocks), batch.size_bytes, job.api_version)
    return _act(doors, sending, verdict)


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


def _act(doors: Doors[SubmitSettings], batch: Batch, verdict: Verdict) -> Verdict:
    """Do what an answer to create asks for."""
    facts = {"batch": batch_key(batch), "verdict": type(verdict).__name__}
    logger.info("create answered", extra=facts | {"reason": getattr(verdict, "reason", None)})
    match verdict:
        case Accepted():
            record.record(doors, batch, verdict.batch)
        case Refused():
            split.refused(doors, batch, verdict)
        case Parked() | Later() | Unsent():
            _give_back(doors, batch, verdict)
        case Unknown():
            doors.store.advance(batch, {"status": BatchStatus.UNSURE})
    return verdict


def _give_back(
    doors: Doors[SubmitSettings], batch: Batch, verdict: Parked | Later | Unsent
) -> None:
    """Let the batch wait for better times: none was created."""
    match verdict:
        case Later():
            until = times.after(doors.now(), verdict.seconds)
            doors.store.hold_sending(until)
            _wait(doors, batch, until)
        case Unsent():
            _wait(doors, batch, times.after(doors.now(), doors.settings.retry_s))
        case Parked():
            _wait(doors, batch, None, parks=batch.parks + _stops_all(doors, verdict))
            if not _key_was_stale(doors, batch, verdict):
                _park(doors, verdict)


def _stops_all(doors: Doors[SubmitSettings], verdict: Parked) -> bool:
    """Whether it is this batch that stops sending: one that does so again and again, while others pass, is at fault."""
    return verdict.reason not in KEY_TROUBLE and doors.store.sending().parked is None


def _wait(
    doors: Doors[SubmitSettings], batch: Batch, not_before: str | None, **counted: int
) -> None:
    """Give the batch back: no batch was created, and that is no fault of its rows."""
    waiting = {
        "status": BatchStatus.WAITING,
        "next": Step.SEND,
        "not_before": not_before,
        "intent_at": None,
        **counted,
    }
    doors.store.advance(batch, waiting)


def _key_was_stale(doors: Doors[SubmitSettings], batch: Batch, verdict: Parked) -> bool:
    """After a 401, read the key anew: if it has been replaced, the next try has the new one."""
    if verdict.reason != "key_refused":
        return False
    doors.claude.renew_key()
    try:
        return doors.claude.fingerprint != batch.fingerprint
    except KeyMissingError:
        return False


def _park(doors: Doors[SubmitSettings], verdict: Parked) -> None:
    """Stop sending for all jobs, and say so once."""
    now = doors.now()
    event = events.parked(verdict.reason, verdict.sentence, times.text(now))
    if doors.store.park(event, verdict.reason, times.after(now, doors.settings.probe_s)):
        doors.notify.pay(doors.store, [event])
