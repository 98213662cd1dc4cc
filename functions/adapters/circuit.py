"""Whether requests may be sent at all: one circuit breaker for all jobs."""

import msgspec

from functions.adapters.table import LessThan, Table
from functions.model import items
from functions.model.events import Event
from functions.model.records import RELAY, Sending, pending_event

_ITEM = "sending"


class Circuit:
    """The item that pauses sending for all jobs."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self) -> Sending:
        """Read whether requests may be sent."""
        return msgspec.convert(self._table.get(RELAY, _ITEM) or {}, Sending)

    def pause(self, event: Event, reason: str, probe_at: str) -> bool:
        """Pause sending. Return False if it is paused already."""
        changes = {
            "paused_reason": reason,
            "paused_at": event.time,
            "probe_at": probe_at,
            "schema": items.SCHEMA,
        }
        return self._table.write(
            self._table.update(RELAY, _ITEM, changes, {"paused_reason": None}),
            self._table.put(pending_event(event)),
        )

    def probe(self, sending: Sending, batch: str, probe_at: str) -> bool:
        """Let one batch through to test whether sending works again. Return False if another poll did."""
        changes = {"probe": batch, "probe_at": probe_at, "probes": sending.probes + 1}
        expected = {"paused_reason": sending.paused_reason, "probe_at": sending.probe_at}
        return self._table.write(self._table.update(RELAY, _ITEM, changes, expected))

    def use_probe(self, batch: str) -> bool:
        """Use up poll's permission to send this batch while sending is paused. Return False if there is none."""
        return self._table.write(
            self._table.update(RELAY, _ITEM, {"probe": None}, {"probe": batch})
        )

    def resume(self, sending: Sending, event: Event) -> bool:
        """Resume sending. Return False if it has been resumed or paused anew meanwhile."""
        changes = dict.fromkeys(
            ("paused_reason", "paused_at", "probe_at", "probes", "probe", "not_before", "limited", "limited_at")
        )  # fmt: skip
        expected = {"paused_reason": sending.paused_reason, "paused_at": sending.paused_at}
        return self._table.write(
            self._table.update(RELAY, _ITEM, changes, expected),
            self._table.put(pending_event(event)),
        )

    def record_accepted(self, sent_at: str, sender: str) -> None:
        """Record that a create that was sent then was accepted, under this key and version of the API."""
        changes = {
            "accepted_at": sent_at, "accepted_by": sender, "limited": None, "limited_at": None, "schema": items.SCHEMA,
        }  # fmt: skip
        later = {"accepted_at": LessThan(sent_at)}
        self._table.write(self._table.update(RELAY, _ITEM, changes, later))

    def throttle_until(self, until: str, **counted: int | str) -> None:
        """Send nothing before then; where another pause ends later, keep that one."""
        changes = {"not_before": until, "schema": items.SCHEMA, **counted}
        later = {"not_before": LessThan(until)}
        self._table.write(self._table.update(RELAY, _ITEM, changes, later))
