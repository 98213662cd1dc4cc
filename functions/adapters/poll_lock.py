"""The lock that lets one poll run at a time, and remembers that another one is wanted."""

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
        """Become the only poll for so many seconds. Return None if another one is at work."""
        found = self._table.acquire(RELAY, _ITEM, Lease.begin(self._now(), lease_s, token))
        return None if found is None else msgspec.convert(found, PollLease)

    def request_another(self) -> None:
        """Ask the poll that is at work for another one when it ends."""
        self._table.write(self._table.update(RELAY, _ITEM, {"wanted": True}, {}))

    def release(self, token: str, stopped: Mapping[str, str]) -> bool:
        """Let the next poll begin, and record where this one stopped.

        Returns:
            Whether somebody asked for another one meanwhile.
        """
        changes = {
            "owner": None, "lease": None, "stopped": stopped or None, "ended_at": timestamps.text(self._now())
        }  # fmt: skip
        unasked = self._table.update(RELAY, _ITEM, changes, {"owner": token, "wanted": None})
        asked = self._table.update(RELAY, _ITEM, {**changes, "wanted": None}, {"owner": token})
        return not self._table.write(unasked) and self._table.write(asked)
