"""A Lambda function with which a state machine uploads a file and waits until its job has ended.

The state machine invokes it with a task token: it stores the token under the key of the upload,
then uploads. SNS invokes it when the job has ended: it returns the event's data for that token.
TOKENS_TABLE names a table whose partition key is ``key`` and whose TTL attribute is ``expires``.
"""

import json
import os
import time
from typing import Any

import boto3

FOLDER = "step-functions"
KEPT_S = 3 * 24 * 3600  # longer than the state machine waits


def handler(event: dict[str, Any], _context: object) -> None:
    """Start a job for a state machine, or return the ends of jobs to theirs."""
    if "token" in event:
        start(event["token"], event["execution"], event["source"])
        return
    for record in event["Records"]:
        finish(json.loads(record["Sns"]["Message"]))


def tokens() -> Any:  # noqa: ANN401 - boto3 makes its classes when it runs
    """Return the table of the task tokens."""
    return boto3.resource("dynamodb").Table(os.environ["TOKENS_TABLE"])


def start(token: str, execution: str, source: dict[str, str]) -> None:
    """Store the token, then upload the file: its event cannot come before the token is there."""
    key = f"{FOLDER}/{execution}/{source['key'].rpartition('/')[2]}"
    tokens().put_item(Item={"key": key, "token": token, "expires": int(time.time()) + KEPT_S})
    from_object = {"Bucket": source["bucket"], "Key": source["key"]}
    boto3.client("s3").copy(from_object, os.environ["UPLOADS_BUCKET"], key)


def finish(event: dict[str, Any]) -> None:
    """Return an event to the state machine that waits for it. A second delivery changes nothing."""
    data = event["data"]
    item = tokens().get_item(Key={"key": data["upload"]["key"]}).get("Item")
    if item is None:
        return
    client = boto3.client("stepfunctions")
    try:
        if "outcome" in data:
            client.send_task_success(taskToken=item["token"], output=json.dumps(data))
        else:  # skipped or ignored: no job of this upload will end
            client.send_task_failure(
                taskToken=item["token"], error=event["type"], cause=data["message"]
            )
    except (client.exceptions.TaskTimedOut, client.exceptions.TaskDoesNotExist):
        print(f"{event['id']}: nobody waits for it any more")
