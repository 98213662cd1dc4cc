"""A create was refused, and the rows may have no part in it: wait, ever longer; judge the rows only by evidence.

"Your organization is disabled" comes with the status of a bad row, and no list of such sentences is complete. So a
refusal that names no request stops sending for all. If a batch that was sent later is accepted under the same key,
the account is well: then this batch, refused once more, is judged by its rows.
"""

from datetime import timedelta

import msgspec

from functions.batches import events, times
from functions.batches.doors import Doors
from functions.batches.errors import KeyMissingError
from functions.batches.items import Batch, BatchStatus, Job, Step
from functions.batches.marks import Sending
from functions.batches.settings import SubmitSettings
from functions.batches.verdicts import KEY_TROUBLE, PARKED, Later, Parked, Refused, Unsent
from functions.steps import split

LONGEST_S = 3600.0
"""A pause of ours grows to this; one that the API asks for may be longer."""
LIMITED_TIMES, LIMITED_FOR = 3, timedelta(hours=1)
"""So many 429 in a row, over so long, are told as a stop: a limit on spend does not pass in minutes."""
JUDGED = 2
"""A row is rejected without being named when others were accepted so often between two refusals: accounts, too, come and go."""
_FIRST_PAUSE_S = 60


def sender(job: Job, batch: Batch) -> str:
    """Name under what a batch is sent: what is accepted under another key or version proves nothing for it."""
    return f"{batch.fingerprint}/{job.api_version}"


def give_back(
    doors: Doors[SubmitSettings], job: Job, batch: Batch, verdict: Parked | Later | Unsent
) -> None:
    """Let the batch wait for better times: none was created."""
    match verdict:
        case Later():
            _wait(doors, batch, _hold(doors, batch, verdict))
        case Unsent():
            _wait(doors, batch, times.after(doors.now(), doors.settings.retry_s))
        case Parked(reason) if reason in KEY_TROUBLE:
            _wait(doors, batch, None)
            if not _key_was_stale(doors, batch, verdict):
                _stop(doors, reason, verdict.sentence)
        case Parked():
            _refused(doors, job, batch, verdict)


def _refused(doors: Doors[SubmitSettings], job: Job, batch: Batch, verdict: Parked) -> None:
    """Tell a batch that is refused while others are accepted from an account that is blocked."""
    sending, now = doors.store.sending(), times.text(doors.now())
    if not _others_pass(sending, job, batch):
        _suspect(doors, _again(batch, batch.refused_at or now), verdict)
        return
    _judge(doors, _again(batch, now, judged=1), verdict.rows)
    if sending.parked == verdict.reason:
        _go_on(doors, sending)


def _others_pass(sending: Sending, job: Job, batch: Batch) -> bool:
    """Whether another batch was sent after this one was refused before, and accepted."""
    if batch.refused_at is None or sending.accepted_at is None:
        return False
    same = sending.accepted_by == sender(job, batch)
    return same and sending.accepted_at > batch.refused_at


def _again(batch: Batch, since: str, judged: int = 0) -> Batch:
    """Count a refusal that names no row."""
    return msgspec.structs.replace(
        batch, parks=batch.parks + 1, judged=batch.judged + judged, refused_at=since
    )


def _suspect(doors: Doors[SubmitSettings], batch: Batch, verdict: Parked) -> None:
    """Stop sending; a batch that comes up again before any other was accepted goes on in halves.

    One create at a time, so a blocked account sees no more of them for that; and where nothing else waits to be
    sent, the half without the bad row is what shows that the account is well.
    """
    if verdict.rows is not None and batch.parks > 1 and _can_be_halved(batch):
        split.halve(doors, batch)
    else:
        _wait(doors, batch, None)
    _stop(doors, verdict.reason, verdict.sentence)


def _judge(doors: Doors[SubmitSettings], batch: Batch, rows: Refused | None) -> None:
    """Look for the row at fault; what cannot be a row's, such as a limit on spend, waits alone and stops no others."""
    if rows is not None and (_can_be_halved(batch) or batch.judged >= JUDGED):
        split.refused(doors, batch, rows)
    else:
        pause_s = min(doors.settings.probe_s << min(batch.parks, 20), LONGEST_S)
        _wait(doors, batch, times.after(doors.now(), pause_s))


def _can_be_halved(batch: Batch) -> bool:
    return batch.requests > 1 and batch.attempt == 1


def _hold(doors: Doors[SubmitSettings], batch: Batch, verdict: Later) -> str:
    """Let all wait after a 429: as long as the API says, and ever longer if the next create is refused as well.

    Returns:
        Until when.
    """
    sending, now = doors.store.sending(), doors.now()
    # One that was sent before the last pause was over tells nothing new.
    anew = (sending.not_before or "") <= (batch.intent_at or "")
    count, first = sending.limited + anew, sending.limited_at or times.text(now)
    grown_s = min(_FIRST_PAUSE_S << min(count - 2, 20), LONGEST_S) if count > 1 else 0.0
    until = times.after(now, max(verdict.seconds, grown_s))
    doors.store.hold_sending(until, limited=count, limited_at=first)
    if count >= LIMITED_TIMES and now - times.parse(first) >= LIMITED_FOR:
        _stop(
            doors, "rate_limited", " ".join((PARKED["rate_limited"] + ".", verdict.words)).strip()
        )
    return until


def _wait(doors: Doors[SubmitSettings], batch: Batch, not_before: str | None) -> None:
    """Give the batch back: no batch was created, and that is no fault of its rows."""
    waiting = {
        "status": BatchStatus.WAITING,
        "next": Step.SEND,
        "not_before": not_before,
        "intent_at": None,
        "parks": batch.parks,
        "judged": batch.judged,
        "refused_at": batch.refused_at,
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


def _stop(doors: Doors[SubmitSettings], reason: str, sentence: str) -> None:
    """Stop sending for all jobs, and say so once; the next poll lets another batch through to see."""
    now = doors.now()
    event = events.parked(reason, sentence, times.text(now))
    first_probe_s = doors.settings.probe_s if reason in KEY_TROUBLE else 0
    if doors.store.park(event, reason, times.after(now, first_probe_s)):
        doors.notify.pay(doors.store, [event])


def _go_on(doors: Doors[SubmitSettings], sending: Sending) -> None:
    """Send again, for all jobs: it is the batch, not the account."""
    event = events.resumed(sending.parked or "", sending.parked_at or "", times.text(doors.now()))
    if doors.store.resume(sending, event):
        doors.notify.pay(doors.store, [event])
