"""The circuit breaker for sending, one for all jobs."""

import msgspec

from functions.adapters.table import LessThan, Table
from functions.model.events import Event
from functions.model.items.work_item import SCHEMA
from functions.model.records import RELAY, Sending, pending_event

_ITEM = "sending"


class Circuit:
    """The item that pauses sending for all jobs."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self) -> Sending:
        """Read the circuit breaker's state."""
        return msgspec.convert(self._table.get(RELAY, _ITEM) or {}, Sending)

    def pause(self, event: Event, reason: str, probe_at: str) -> bool:
        """Pause sending. Return False if it is already paused."""
        changes = {
            "paused_reason": reason,
            "paused_at": event.time,
            "probe_at": probe_at,
            "schema": SCHEMA,
        }
        return self._table.write(
            self._table.update(RELAY, _ITEM, changes, {"paused_reason": None}),
            self._table.put(pending_event(event)),
        )

    def probe(self, sending: Sending, batch: str, probe_at: str) -> bool:
        """Permit one batch as a probe. Return False if another poll did so first."""
        changes = {"probe": batch, "probe_at": probe_at, "probes": sending.probes + 1}
        expected = {"paused_reason": sending.paused_reason, "probe_at": sending.probe_at}
        return self._table.write(self._table.update(RELAY, _ITEM, changes, expected))

    def use_probe(self, batch: str) -> bool:
        """Use up the permission to send this batch as a probe. Return False if there is none."""
        return self._table.write(
            self._table.update(RELAY, _ITEM, {"probe": None}, {"probe": batch})
        )

    def resume(self, sending: Sending, event: Event) -> bool:
        """Resume sending. Return False if another poll resumed it, or it was paused again."""
        changes = dict.fromkeys(
            ("paused_reason", "paused_at", "probe_at", "probes", "probe", "not_before", "limited", "limited_at")
        )  # fmt: skip
        expected = {"paused_reason": sending.paused_reason, "paused_at": sending.paused_at}
        return self._table.write(
            self._table.update(RELAY, _ITEM, changes, expected),
            self._table.put(pending_event(event)),
        )

    def record_accepted(self, sent_at: str, sender: str) -> None:
        """Record an accepted create, by the time it was sent and by its key and API version."""
        changes = {
            "accepted_at": sent_at, "accepted_by": sender, "limited": None, "limited_at": None, "schema": SCHEMA,
        }  # fmt: skip
        later = {"accepted_at": LessThan(sent_at)}
        self._table.write(self._table.update(RELAY, _ITEM, changes, later))

    def throttle_until(self, until: str, **counted: int | str) -> None:
        """Block creates until this time, unless they are blocked for longer already."""
        changes = {"not_before": until, "schema": SCHEMA, **counted}
        later = {"not_before": LessThan(until)}
        self._table.write(self._table.update(RELAY, _ITEM, changes, later))
