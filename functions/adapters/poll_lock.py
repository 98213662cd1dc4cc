"""The lock that lets one poll run at a time and records requests for another one."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from functions.adapters.table import Lease, Table
from functions.model import timestamps
from functions.model.records import RELAY, PollLease

_ITEM = "poll"


class PollLock:
    """Poll's own item."""

    def __init__(self, table: Table, now: Callable[[], datetime]) -> None:
        self._table, self._now = table, now

    def acquire(self, token: str, lease_s: float) -> PollLease | None:
        """Acquire the lock for `lease_s` seconds. Return None if another poll has it.

        This poll serves the requests so far, because it reads the table after this.
        """
        attributes = self._table.acquire(RELAY, _ITEM, Lease.begin(self._now(), lease_s, token))
        if attributes is None:
            return None
        lease = msgspec.convert(attributes, PollLease)
        if lease.wanted:
            self._table.write(self._table.update(RELAY, _ITEM, {"wanted": None}, {"owner": token}))
        return lease

    def request_another(self) -> None:
        """Request another poll after the running one."""
        self._table.write(self._table.update(RELAY, _ITEM, {"wanted": True}, {}))

    def is_wanted(self) -> bool:
        """Return whether a request is recorded that no poll has served."""
        return msgspec.convert(self._table.get(RELAY, _ITEM) or {}, PollLease).wanted

    def release(self, token: str, ended: PollLease) -> bool:
        """Release the lock. Record where this poll stopped, and what the next one needs to know of it.

        Args:
            token: the owner of the lock.
            ended: what to record, except `ended_at` and `wanted`.

        Returns:
            True if another poll was requested meanwhile. The request stays until a poll acquires the lock.
        """
        changes = {
            "owner": None, "lease": None, "stopped": ended.stopped or None, "ended_at": timestamps.text(self._now()),
            "listed_at": ended.listed_at, "ledger_at": ended.ledger_at, "jobs_file_write": ended.jobs_file_write,
            "ledger_check": ended.ledger_check, "silent_since": ended.silent_since,
        }  # fmt: skip
        unwanted = self._table.update(RELAY, _ITEM, changes, {"owner": token, "wanted": None})
        wanted = self._table.update(RELAY, _ITEM, changes, {"owner": token})
        return not self._table.write(unwanted) and self._table.write(wanted)
