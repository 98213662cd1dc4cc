"""Choose the batches to send now: within limits, budgets and shares, jobs in turn; or one as a probe."""

from collections.abc import Sequence
from datetime import datetime

from functions.model import timestamps
from functions.model.items.batch import IN_FLIGHT_BATCH_STATUSES, Batch, BatchStatus, batch_key
from functions.model.records import Sending
from functions.model.unfinished import Unfinished
from functions.polling.admission import Limits, admit, beyond_share
from functions.polling.budgets import affordable, budgets_in_force, reserve
from functions.polling.pausing import choose_probe
from functions.polling.warmups import first_pending_warmups, waits_for_warmup
from functions.services import Services
from functions.settings import PollSettings


class NextBatches:
    """The batches that one poll admits. It may admit twice: the listing in between may find room.

    Attributes:
        admitted: what this poll has admitted.
    """

    def __init__(self, services: Services[PollSettings], unfinished: Unfinished) -> None:
        self._services, self._unfinished = services, unfinished
        self.admitted: list[Batch] = []

    def admit(self, sending: Sending | None, ended: Sequence[Batch]) -> list[Batch]:
        """Choose batches to send now, and record for status.json why the others wait.

        Args:
            sending: the circuit breaker's state; None if it could not be read. While it is paused, at most a probe
                is chosen.
            ended: the batches that this poll has seen end. They no longer take up room.
        """
        if sending is None:
            return []
        self._unfinished.not_admitted.clear()
        now = self._services.now()
        moved = {batch_key(batch) for batch in [*ended, *self.admitted]}
        waiting = self._without_warmup_waits(self._sendable(moved, now), ended, now)
        if not waiting or (sending.not_before or "") > timestamps.text(now):
            return []
        in_flight = [
            *(batch for batch in self._unfinished.batches
              if _takes_up_room(batch, now) and batch_key(batch) not in moved),
            *self.admitted,
        ]  # fmt: skip
        more = self._choose(sending, waiting, in_flight, now)
        self.admitted.extend(more)
        return more

    def _sendable(self, moved: set[str], now: datetime) -> list[Batch]:
        """Return the idle batches whose jobs are neither held nor canceled.

        A batch waits while its job cannot be read, because the job may be either.
        """
        canceled = self._unfinished.canceled
        jobs = {job.job: job for job in self._unfinished.jobs}
        return [
            batch for batch in self._unfinished.of(BatchStatus.WAITING)
            if batch.is_idle(now) and batch.job not in canceled and batch_key(batch) not in moved
            and batch.job in jobs and not jobs[batch.job].holds(batch)
        ]  # fmt: skip

    def _without_warmup_waits(
        self, waiting: Sequence[Batch], ended: Sequence[Batch], now: datetime
    ) -> list[Batch]:
        """Return the batches that need not wait for the first row of a shared prefix to be answered."""
        just_ended = {batch_key(batch) for batch in ended}
        first = first_pending_warmups(
            (batch for batch in self._unfinished.batches if batch_key(batch) not in just_ended),
            now,
        )
        self._unfinished.pass_over(
            [batch for batch in waiting if waits_for_warmup(batch, first)], "warm_up"
        )
        return [batch for batch in waiting if not waits_for_warmup(batch, first)]

    def _choose(
        self, sending: Sending, waiting: list[Batch], in_flight: list[Batch], now: datetime
    ) -> list[Batch]:
        settings = self._services.settings
        budgets = budgets_in_force(self._services, self._unfinished, self.admitted)
        waiting = affordable(self._services, self._unfinished, budgets, waiting)
        limits = Limits(settings.open_batches, settings.queued_requests)
        chosen = admit(waiting, in_flight, limits, now)
        self._pass_over(waiting, in_flight, chosen)
        if sending.paused_reason is not None:
            chosen = choose_probe(self._services, sending, waiting, chosen)
        return reserve(self._services, budgets, chosen)

    def _pass_over(
        self, waiting: list[Batch], in_flight: list[Batch], chosen: list[Batch]
    ) -> None:
        """Record which batches wait for room, and which for room in the share of their folder."""
        admitted = {batch_key(batch) for batch in chosen}
        left = [batch for batch in waiting if batch_key(batch) not in admitted]
        beyond = beyond_share(left, [*in_flight, *chosen])
        self._unfinished.pass_over(beyond, "share")
        keys = {batch_key(batch) for batch in beyond}
        self._unfinished.pass_over(
            [batch for batch in left if batch_key(batch) not in keys], "room"
        )


def _takes_up_room(batch: Batch, now: datetime) -> bool:
    """Return whether a batch is or may be at Anthropic, or submit has acquired it to send it."""
    return batch.status in IN_FLIGHT_BATCH_STATUSES or (
        batch.status == BatchStatus.WAITING and batch.is_leased(now)
    )
