"""Plan one generated upload and print its memory use; test_memory_limits.py runs this alone."""

import json
import os
import resource
import sys

import boto3
from moto import mock_aws

from functions.adapters.anthropic_api import Claude
from functions.adapters.event_publisher import EventPublisher
from functions.adapters.s3 import ObjectStore
from functions.adapters.table import Table
from functions.services import Services
from functions.settings import SubmitSettings
from functions.submit import submit
from tests.harness import REGION, TABLE, Lambda, make_table, s3_event

PASS_S3_THROUGH = {"core": {"passthrough": {"services": ["s3"]}}}


def main(endpoint: str, key: str) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = "testing"
    os.environ["AWS_DEFAULT_REGION"] = REGION
    with mock_aws(config=PASS_S3_THROUGH):  # type: ignore[call-overload]
        make_table(boto3.client("dynamodb"))
        rows = plan(endpoint, key)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"peak_mb": peak_mb, "rows": rows}))  # noqa: T201 - the test reads this


def plan(endpoint: str, key: str) -> int:
    """Plan the upload with submit; return its number of rows."""
    topic = boto3.client("sns").create_topic(Name="events")["TopicArn"]
    settings = SubmitSettings(
        table_name=TABLE, uploads_bucket="uploads", results_bucket="results", topic_arn=topic, secret_name="none",
        queue_url="submit",
        repeats="run",
        estimate_rows=0,  # no Claude runs here
    )  # fmt: skip
    services = Services(
        settings=settings,
        table=Table(TABLE),
        files=ObjectStore("results", client=boto3.client("s3", endpoint_url=endpoint)),
        claude=Claude(base_url=endpoint, api_version="2026-10-21", read_key=lambda _fresh: "none"),
        publisher=EventPublisher(topic, "urn:test"),
    )
    submit(services, s3_event("uploads", key, 1, "v1", "2026-11-23T00:00:00.000Z"), Lambda())  # type: ignore[arg-type]
    (job,) = services.items.unfinished().jobs
    return job.checkpoint.row


if __name__ == "__main__":
    main(*sys.argv[1:])
