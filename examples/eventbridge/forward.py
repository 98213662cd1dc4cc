"""A Lambda function that puts the relay's events on an EventBridge bus.

Subscribe it to the topic ``EventsTopicArn``. The CloudEvent is the `detail`, its type the
`detail-type`. EventBridge delivers at least once, too: `detail.id` tells repeats.
"""

import json
import os
from typing import Any

import boto3

SOURCE = "claude-batch-relay"


def handler(event: dict[str, Any], _context: object) -> None:
    """Put each event on the bus; after an error, Lambda tries again.

    Raises:
        RuntimeError: EventBridge refused an event.
    """
    messages = [json.loads(record["Sns"]["Message"]) for record in event["Records"]]
    entries: list[Any] = [
        {
            "EventBusName": os.environ["BUS"],
            "Source": SOURCE,
            "DetailType": message["type"],
            "Detail": json.dumps(message),
        }
        for message in messages
    ]
    answer = boto3.client("events").put_events(Entries=entries)
    if answer["FailedEntryCount"]:
        refused = [entry["ErrorCode"] for entry in answer["Entries"] if "ErrorCode" in entry]
        message = f"EventBridge refused {len(refused)} of {len(entries)} events: {refused[0]}"
        raise RuntimeError(message)
