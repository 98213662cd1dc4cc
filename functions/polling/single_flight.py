"""Run one poll at a time. A poll that finds another one running requests one more from it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from functions.adapters.poll_lock import PollLock
from functions.model import timestamps
from functions.model.records import PollLease
from functions.polling.phases import Phases
from functions.polling.poll_summary import PollSummary
from functions.services import Services
from functions.settings import PollSettings

REST_S = 1.0
"""Least time between two polls, in seconds, however many are requested."""


@contextmanager
def single_flight(services: Services[PollSettings], phases: Phases) -> Iterator[PollSummary]:
    """Hold poll's lock, and carry what the next poll must know of this one.

    Yields:
        The summary to complete; with `skipped` if another poll holds the lock.
    """
    token = uuid.uuid4().hex
    lease = _acquire(services.poll_lock, token, services.settings.lease_s)
    if lease is None:
        yield PollSummary(skipped=True)
        return
    phases.resume_from(lease.stopped)
    summary = PollSummary(
        listed_at=lease.listed_at,
        ledger_at=lease.ledger_at,
        jobs_file_write=lease.jobs_file_write,
        ledger_check=lease.ledger_check,
        silent_since=lease.silent_since,
    )
    try:
        _rest(lease, phases, services)
        yield summary
    finally:
        ended = PollLease(
            stopped=phases.stopped,
            listed_at=summary.listed_at,
            ledger_at=summary.ledger_at,
            jobs_file_write=summary.jobs_file_write,
            ledger_check=summary.ledger_check,
            silent_since=summary.silent_since,
        )
        summary.wanted = services.poll_lock.release(token, ended)


def _acquire(poll_lock: PollLock, token: str, lease_s: float) -> PollLease | None:
    """Acquire poll's lock. If another poll holds it, request one more from it and return None."""
    lease = poll_lock.acquire(token, lease_s)
    if lease is None:
        poll_lock.request_another()
        # The other poll may have ended before the request: then no other would follow.
        lease = poll_lock.acquire(token, lease_s)
    return lease


def _rest(lease: PollLease, phases: Phases, services: Services[PollSettings]) -> None:
    """Wait until a second has passed since the last poll. This poll then covers what became ready meanwhile."""
    if lease.ended_at is not None:
        rest_s = REST_S * services.settings.pause_share
        since_s = (services.now() - timestamps.parse(lease.ended_at)).total_seconds()
        phases.sleep(min(max(rest_s - since_s, 0.0), rest_s))
