"""A Lambda function that processes finished jobs: subscribe it to the topic ``EventsTopicArn``.

It is complete and needs only Lambda's Python runtime. A correct subscriber does two things:

1. **Ignore duplicates.** SNS and Lambda both deliver at least once. A duplicate has the same
   ``id``: write it with a condition to a table whose partition key is ``id``, and skip ids that
   are there.
2. **Let SNS filter.** With this filter policy on the subscription (attributes, not body), the
   function is invoked only for these events:
   ``{"type": ["job.completed", "job.rejected"], "folder": [{"prefix": "marketing"}]}``

The role needs ``dynamodb:PutItem`` and ``dynamodb:GetItem`` on the table named in SEEN_TABLE, and
``s3:GetObject`` on ``results/*`` in the results bucket. Deploy it as ``subscriber.handler``.

Lambda checks who invokes it, so a message needs no signature check here. An HTTPS endpoint does:
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import json
import os
import time
from typing import Any
from urllib.parse import urlsplit

import boto3

STALE_S = 900  # longer than this function may run
KEPT_S = 30 * 24 * 3600  # longer than any redelivery; the table's TTL attribute is `expires`


def handler(event: dict[str, Any], _context: object) -> None:
    """Process deliveries of SNS; after an error Lambda retries, then dead-letters the event."""
    for record in event["Records"]:
        notification = json.loads(record["Sns"]["Message"])
        if notification["type"] in {"job.completed", "job.rejected"}:
            process_once(notification)


def process_once(event: dict[str, Any]) -> None:
    """Process an event unless an earlier delivery has processed it.

    The item says "taken" before the work and "done" after it. Writing "done" first would lose the
    event on a crash; writing only "done" would let two deliveries work at the same time.
    """
    seen, now = boto3.resource("dynamodb").Table(os.environ["SEEN_TABLE"]), int(time.time())
    item = {"id": event["id"], "state": "taken", "taken_at": now, "expires": now + KEPT_S}
    try:
        seen.put_item(
            Item=item,
            ConditionExpression="attribute_not_exists(id) OR (#s = :taken AND taken_at < :stale)",
            ExpressionAttributeNames={"#s": "state"},
            ExpressionAttributeValues={":taken": "taken", ":stale": now - STALE_S},
        )
    except seen.meta.client.exceptions.ConditionalCheckFailedException:
        if seen.get_item(Key={"id": event["id"]})["Item"]["state"] == "taken":
            raise  # another delivery is working on it, or crashed: Lambda retries later
        print(f"{event['id']} came again; nothing to do")
        return
    process(event["data"])
    seen.put_item(Item=item | {"state": "done"})


def process(job: dict[str, Any]) -> None:
    """Replace this with your own code; this example counts the rows without an answer."""
    location = urlsplit(job["results"])
    key = location.path.lstrip("/") + "results.jsonl"
    print(f"{job['name']} {job['outcome']}: {json.dumps(job['counts'])}")
    lines = boto3.client("s3").get_object(Bucket=location.netloc, Key=key)["Body"].iter_lines()
    unanswered = sum(json.loads(line)["result"]["type"] != "succeeded" for line in lines)
    print(f"{unanswered} rows of s3://{location.netloc}/{key} have no answer")
