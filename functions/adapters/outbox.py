"""The outbox: events are stored in the table, then published, then deleted."""

from collections.abc import Sequence

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.event_publisher import EventPublisher, is_message_error
from functions.adapters.table import Table
from functions.model.events import Event
from functions.model.records import EVENT, pending_event, read_event

logger = Logger(child=True)


class Outbox:
    """The stored events and their topic."""

    def __init__(self, table: Table, publisher: EventPublisher) -> None:
        self._table, self._publisher = table, publisher

    def publish_pending(self, job: str) -> int:
        """Publish the stored events of a job. Return how many SNS accepted."""
        condition = "job = :job AND begins_with(#item, :event)"
        stored_events = self._table.query(condition, {":job": job, ":event": EVENT})
        return self.publish([read_event(item) for item in stored_events])

    def publish(self, pending: Sequence[Event]) -> int:
        """Publish stored events, oldest first. Poll repeats those that SNS does not accept now.

        Returns:
            How many events SNS accepted.
        """
        published = 0
        for event in sorted(pending, key=lambda event: event.time):
            try:
                self._publisher.publish(event)
            except (ClientError, BotoCoreError) as error:
                logger.warning(
                    "event not published",
                    extra={"event": event.id, "problem": type(error).__name__},
                )
                if is_message_error(error):
                    continue
                return published
            self._delete(event)
            published += 1
        return published

    def _delete(self, event: Event) -> None:
        item = pending_event(event)
        self._table.write(self._table.delete(item.job, item.item, {}))
