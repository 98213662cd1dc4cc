"""A create was refused, and the rows may have no part in it: wait, ever longer; judge the rows only by evidence.

"Your organization is disabled" comes with the status of a bad row, and no list of such sentences is complete. So a
refusal that names no request stops sending for all. If a batch that was sent later is accepted under the same key,
the account is well: then this batch, refused once more, is judged by its rows.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

import msgspec

from functions.adapters.anthropic_api import Claude
from functions.adapters.work_items import WorkItems, pause_s
from functions.errors import KeyMissingError
from functions.model import events, timestamps
from functions.model.create_response import (
    KEY_PROBLEMS,
    PAUSE_MESSAGES,
    AccountBlocked,
    NotSent,
    RateLimited,
    Refused,
)
from functions.model.items import Batch, BatchStatus, Job, Step
from functions.model.records import Sending
from functions.sending import split
from functions.services import Services
from functions.settings import SubmitSettings

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
    services: Services[SubmitSettings],
    job: Job,
    batch: Batch,
    verdict: AccountBlocked | RateLimited | NotSent,
) -> None:
    """Let the batch wait for better times: none was created."""
    match verdict:
        case RateLimited():
            _wait(services.items, batch, _hold(services, batch, verdict))
        case NotSent(reason):
            _not_sent(services, batch, reason)
        case AccountBlocked(reason) if reason in KEY_PROBLEMS:
            _wait(services.items, batch, None)
            if not _key_was_stale(services.claude, batch, verdict):
                _stop(services, reason, verdict.sentence)
        case AccountBlocked():
            _refused(services, job, batch, verdict)


def _refused(
    services: Services[SubmitSettings], job: Job, batch: Batch, verdict: AccountBlocked
) -> None:
    """Tell a batch that is refused while others are accepted from an account that is blocked."""
    sending, now = services.circuit.read(), timestamps.text(services.now())
    if not _others_pass(sending, job, batch):
        _suspect(services, _again(batch, batch.refused_at or now), verdict)
        return
    _judge(services, _again(batch, now, judged=1), verdict.rows)
    if sending.paused_reason == verdict.reason:
        _go_on(services, sending)


def _others_pass(sending: Sending, job: Job, batch: Batch) -> bool:
    """Whether another batch was sent after this one was refused before, and accepted."""
    if batch.refused_at is None or sending.accepted_at is None:
        return False
    same = sending.accepted_by == sender(job, batch)
    return same and sending.accepted_at > batch.refused_at


def _again(batch: Batch, since: str, judged: int = 0) -> Batch:
    """Count a refusal that names no row."""
    return msgspec.structs.replace(
        batch,
        pauses_caused=batch.pauses_caused + 1,
        judged=batch.judged + judged,
        refused_at=since,
    )


def _suspect(services: Services[SubmitSettings], batch: Batch, verdict: AccountBlocked) -> None:
    """Stop sending; a batch that comes up again before any other was accepted goes on in halves.

    One create at a time, so a blocked account sees no more of them for that; and where nothing else waits to be
    sent, the half without the bad row is what shows that the account is well.
    """
    if verdict.rows is not None and batch.pauses_caused > 1 and _can_be_halved(batch):
        split.halve(services, batch)
    else:
        _wait(services.items, batch, None)
    _stop(services, verdict.reason, verdict.sentence)


def _judge(services: Services[SubmitSettings], batch: Batch, rows: Refused | None) -> None:
    """Look for the row at fault; what cannot be a row's, such as a limit on spend, waits alone and stops no others."""
    if rows is not None and (_can_be_halved(batch) or batch.judged >= JUDGED):
        split.refused(services, batch, rows)
    else:
        pause_s = min(services.settings.probe_s << min(batch.pauses_caused, 20), LONGEST_S)
        _wait(services.items, batch, timestamps.after(services.now(), pause_s))


def _can_be_halved(batch: Batch) -> bool:
    return batch.requests > 1 and batch.attempt == 1


def _hold(services: Services[SubmitSettings], batch: Batch, verdict: RateLimited) -> str:
    """Let all wait after a 429: as long as the API says, and ever longer if the next create is refused as well.

    Returns:
        Until when.
    """
    sending, now = services.circuit.read(), services.now()
    # One that was sent before the last pause was over tells nothing new.
    anew = (sending.not_before or "") <= (batch.intent_at or "")
    count, first = sending.limited + anew, sending.limited_at or timestamps.text(now)
    grown_s = min(_FIRST_PAUSE_S << min(count - 2, 20), LONGEST_S) if count > 1 else 0.0
    until = timestamps.after(now, max(verdict.seconds, grown_s))
    services.circuit.throttle_until(until, limited=count, limited_at=first)
    if count >= LIMITED_TIMES and now - timestamps.parse(first) >= LIMITED_FOR:
        _stop(
            services,
            "rate_limited",
            " ".join((PAUSE_MESSAGES["rate_limited"] + ".", verdict.words)).strip(),
        )
    return until


def _not_sent(services: Services[SubmitSettings], batch: Batch, reason: str) -> None:
    """Let the batch wait after a connection that failed: ever longer, and after several tries `batch.stuck` says so."""
    wait_s = min(pause_s(batch.tries, services.settings.retry_s), LONGEST_S)
    tried = batch.tries_so_far | {"last_error": f"no connection to the API: {reason}"}
    _wait(services.items, batch, timestamps.after(services.now(), wait_s), tried)


def _wait(
    items: WorkItems,
    batch: Batch,
    not_before: str | None,
    tried: Mapping[str, str | int | None] = MappingProxyType({}),
) -> None:
    """Give the batch back: no batch was created, and that is no fault of its rows."""
    waiting = {
        "status": BatchStatus.WAITING,
        "next_step": Step.SEND,
        "not_before": not_before,
        "intent_at": None,
        "pauses_caused": batch.pauses_caused,
        "judged": batch.judged,
        "refused_at": batch.refused_at,
        **tried,
    }
    items.transition(batch, waiting)


def _key_was_stale(claude: Claude, batch: Batch, verdict: AccountBlocked) -> bool:
    """After a 401, read the key anew: if it has been replaced, the next try has the new one."""
    if verdict.reason != "key_refused":
        return False
    claude.reload_key()
    try:
        return claude.fingerprint != batch.fingerprint
    except KeyMissingError:
        return False


def _stop(services: Services[SubmitSettings], reason: str, sentence: str) -> None:
    """Stop sending for all jobs, and say so once; the next poll lets another batch through to see."""
    now = services.now()
    event = events.paused(reason, sentence, timestamps.text(now))
    first_probe_s = services.settings.probe_s if reason in KEY_PROBLEMS else 0
    if services.circuit.pause(event, reason, timestamps.after(now, first_probe_s)):
        services.outbox.publish([event])


def _go_on(services: Services[SubmitSettings], sending: Sending) -> None:
    """Send again, for all jobs: it is the batch, not the account."""
    event = events.resumed(
        sending.paused_reason or "", sending.paused_at or "", timestamps.text(services.now())
    )
    if services.circuit.resume(sending, event):
        services.outbox.publish([event])
