"""A Lambda function that hears of finished jobs: subscribe it to the topic ``EventsTopicArn``.

It is complete, and needs nothing but what Lambda's Python has. Two things make a subscriber right:

1. **The same event may come twice** (SNS and Lambda both deliver at least once). An event's ``id``
   is made from what happened, so a second delivery has the same id: write it down with a condition,
   in a table of yours whose partition key is ``id``, and pass over what is there already.
2. **Let SNS filter.** With this filter policy on the subscription (attributes, not body), the
   function is not even called for anything else:
   ``{"type": ["job.completed", "job.rejected"], "folder": [{"prefix": "marketing"}]}``

The role needs ``dynamodb:PutItem`` and ``dynamodb:GetItem`` on the table named in SEEN_TABLE, and
``s3:GetObject`` on ``results/*`` in the results bucket. To be deployed as ``subscriber.handler``.

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
KEPT_S = 30 * 24 * 3600  # longer than anything delivers again; the table's TTL attribute: expires


def handler(event: dict[str, Any], _context: object) -> None:
    """Take what SNS delivers; an error is raised, so that Lambda tries again, then dead-letters."""
    for record in event["Records"]:
        told = json.loads(record["Sns"]["Message"])
        if told["type"] in {"job.completed", "job.rejected"}:
            once(told)


def once(event: dict[str, Any]) -> None:
    """Do the work for an event, unless an earlier delivery of it has.

    The note says first that the work is taken, then that it is done: had it said "done" before,
    a crash in between would lose the event; had it only said so after, two would work at once.
    """
    seen, now = boto3.resource("dynamodb").Table(os.environ["SEEN_TABLE"]), int(time.time())
    note = {"id": event["id"], "state": "taken", "taken_at": now, "expires": now + KEPT_S}
    try:
        seen.put_item(
            Item=note,
            ConditionExpression="attribute_not_exists(id) OR (#s = :taken AND taken_at < :stale)",
            ExpressionAttributeNames={"#s": "state"},
            ExpressionAttributeValues={":taken": "taken", ":stale": now - STALE_S},
        )
    except seen.meta.client.exceptions.ConditionalCheckFailedException:
        if seen.get_item(Key={"id": event["id"]})["Item"]["state"] == "taken":
            raise  # another delivery is at it, or died at it: Lambda tries again later
        print(f"{event['id']} came again; nothing to do")
        return
    work(event["data"])
    seen.put_item(Item=note | {"state": "done"})


def work(job: dict[str, Any]) -> None:
    """Do with the results what you like; here, count the rows that got no answer."""
    place = urlsplit(job["results"])
    key = place.path.lstrip("/") + "results.jsonl"
    print(f"{job['name']} {job['outcome']}: {json.dumps(job['counts'])}")
    lines = boto3.client("s3").get_object(Bucket=place.netloc, Key=key)["Body"].iter_lines()
    unanswered = sum(json.loads(line)["result"]["type"] != "succeeded" for line in lines)
    print(f"{unanswered} rows of s3://{place.netloc}/{key} have no answer")
