"""Pause sending while the key is refused, resume it, and choose probes meanwhile."""

from collections.abc import Sequence

from functions.errors import KeyUnreadableError
from functions.model import timestamps
from functions.model.create_response import KEY_PROBLEMS, PAUSE_MESSAGES
from functions.model.items.batch import Batch, BatchStatus, batch_key
from functions.model.records import Sending
from functions.model.unfinished import Unfinished
from functions.polling.watch import Watch
from functions.services import Services
from functions.settings import PollSettings

MAX_PROBE_PAUSE_S = 3600.0
"""Longest pause between probes, in seconds, so that sending resumes within an hour of a recovery."""


def pause_or_resume(
    services: Services[PollSettings], unfinished: Unfinished, sending: Sending | None, seen: Watch
) -> Sending | None:
    """Pause sending if the key is refused. Resume it if a batch sent since was accepted, or the key works again.

    Args:
        services: the services of poll.
        unfinished: all unfinished items.
        sending: the circuit breaker's state; None if it could not be read.
        seen: what this poll learned from the API.

    Returns:
        The new state.
    """
    if sending is None:
        return None
    if seen.key_problem is not None:
        if sending.paused_reason is not None:
            return sending
        sentence = PAUSE_MESSAGES[seen.key_problem]
        services.pause_sending(seen.key_problem, sentence, services.settings.probe_s)
        return services.circuit.read()
    paused_at = sending.paused_at
    if sending.paused_reason is None or paused_at is None:
        return sending
    accepted = any(_sent_since(batch, paused_at) for batch in unfinished.batches)
    if not accepted and not _key_works(unfinished, sending, seen):
        return sending
    services.resume_sending(sending)
    return services.circuit.read()


def _sent_since(batch: Batch, paused_at: str) -> bool:
    """Return whether a batch was both sent and accepted since then. One sent earlier proves nothing."""
    sent_at, accepted_at = batch.intent_at or "", batch.recorded_at or ""
    return sent_at > paused_at and accepted_at > paused_at


def _key_works(unfinished: Unfinished, sending: Sending, seen: Watch) -> bool:
    """Return whether a listing shows that a pause because of the key can end.

    Poll may be able to read a secret that submit cannot. So while a batch waits to be sent, only an accepted batch
    ends that pause.
    """
    unreadable = sending.paused_reason == KeyUnreadableError.reason
    if unreadable and unfinished.of(BatchStatus.WAITING):
        return False
    return sending.paused_reason in KEY_PROBLEMS and seen.listed is not None


def choose_probe(
    services: Services[PollSettings],
    sending: Sending,
    waiting: Sequence[Batch],
    chosen: Sequence[Batch],
) -> list[Batch]:
    """Return the one batch that may be sent while sending is paused; none until the next probe is due.

    Args:
        services: the services of poll.
        sending: the circuit breaker's state, which is paused.
        waiting: all batches that could be sent.
        chosen: those that would be sent if it were not paused.
    """
    now = services.now()
    if sending.probe is not None and sending.probe in {batch_key(batch) for batch in waiting}:
        # The probe was not used: its message was lost, or was suppressed as a repeat.
        return [batch for batch in waiting if batch_key(batch) == sending.probe]
    due = sending.probe_at is None or sending.probe_at <= timestamps.text(now)
    if not due or not chosen:
        return []
    # The batch refused least often: a faulty one would hold up all others.
    probe = min(chosen, key=lambda batch: batch.pauses_caused)
    probe_at = timestamps.after(now, _probe_pause_s(services.settings.probe_s, sending))
    return [probe] if services.circuit.probe(sending, batch_key(probe), probe_at) else []


def _probe_pause_s(probe_s: float, sending: Sending) -> float:
    """Return the pause after a probe, in seconds. It doubles each time, but not for a key problem: a new key is tried soon."""
    if sending.paused_reason in KEY_PROBLEMS:
        return probe_s
    return max(probe_s, min(probe_s * (1 << min(sending.probes, 20)), MAX_PROBE_PAUSE_S))
