"""Publish the events that their stage has not published."""

from datetime import datetime, timedelta

from functions.adapters.outbox import Outbox
from functions.errors import PublishError
from functions.model import timestamps
from functions.model.events import Event
from functions.model.unfinished import Unfinished
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

PUBLISHED_WITHIN = timedelta(minutes=15)
"""An event that SNS has not accepted within this time raises the alarm `stuck`."""
OUTBOX_GRACE = timedelta(seconds=10)
"""The stage that wrote an event publishes it itself; poll republishes only older ones."""


def publish_pending_events(
    services: Services[PollSettings], unfinished: Unfinished, phases: Phases
) -> None:
    """Publish the events that their stage has had time to publish itself, oldest first."""
    before = timestamps.text(services.now() - OUTBOX_GRACE)
    pending_events = [event for event in unfinished.events if event.time < before]
    phases.each(
        "events",
        pending_events,
        place,
        lambda event: _publish(services.outbox, event, services.now()),
    )


def _publish(outbox: Outbox, event: Event, now: datetime) -> None:
    """Publish a pending event.

    Raises:
        PublishError: SNS has not accepted it for 15 minutes; the alarm `stuck` counts it.
    """
    published = outbox.publish([event])
    if not published and timestamps.parse(event.time) + PUBLISHED_WITHIN < now:
        raise PublishError(event.id)
