"""A Lambda function that posts events to Slack: subscribe it to the topic ``EventsTopicArn``.

WEBHOOK_SECRET names a secret that holds the URL of an incoming webhook. A delivery that comes twice
is posted twice. The text has figures and names, never prompts or answers.
"""

import json
import os
import urllib.request
from typing import Any

import boto3

TIMEOUT_S = 10


def handler(event: dict[str, Any], _context: object) -> None:
    """Post each event; after an error, Lambda tries again."""
    secrets = boto3.client("secretsmanager")
    url = secrets.get_secret_value(SecretId=os.environ["WEBHOOK_SECRET"])["SecretString"].strip()
    for record in event["Records"]:
        post(url, text_of(record["Sns"]["Subject"], json.loads(record["Sns"]["Message"])))


def text_of(subject: str, event: dict[str, Any]) -> str:
    """Return the message: the subject, the cost, and where the results are."""
    data = event["data"]
    cost = data.get("cost_usd")
    details = [f"${cost:,.2f}" if cost is not None else None, data.get("results")]
    lines = [f"*{escape(subject)}*", escape(" · ".join(filter(None, details)))]
    return "\n".join(filter(None, lines))


def escape(text: str) -> str:
    """Escape what Slack reads as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def post(url: str, text: str) -> None:
    """Post a message. Raise for an answer that is not 2xx."""
    body = json.dumps({"text": text}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the URL is yours
    urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310
