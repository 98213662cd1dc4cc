"""The lock that lets one poll run at a time and records requests for another one."""

from collections.abc import Callable, Mapping
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
        """Acquire the lock for `lease_s` seconds. Return None if another poll has it."""
        attributes = self._table.acquire(RELAY, _ITEM, Lease.begin(self._now(), lease_s, token))
        return None if attributes is None else msgspec.convert(attributes, PollLease)

    def request_another(self) -> None:
        """Request another poll after the running one."""
        self._table.write(self._table.update(RELAY, _ITEM, {"wanted": True}, {}))

    def release(self, token: str, stopped: Mapping[str, str]) -> bool:
        """Release the lock, and record where this poll stopped.

        Returns:
            True if another poll was requested meanwhile.
        """
        changes = {
            "owner": None, "lease": None, "stopped": stopped or None, "ended_at": timestamps.text(self._now())
        }  # fmt: skip
        release = self._table.update(RELAY, _ITEM, changes, {"owner": token, "wanted": None})
        release_requested = self._table.update(
            RELAY, _ITEM, {**changes, "wanted": None}, {"owner": token}
        )
        return not self._table.write(release) and self._table.write(release_requested)
