"""The whole relay in one process: real stages, AWS in memory, a simulated Claude on a socket.

The table has the keys and indexes of our synthesized template. Only the clock and the services
outside the process are replaced.
"""

import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpcore2
import msgspec
from moto import mock_aws

from functions.adapters import claims, uploads
from functions.adapters.anthropic_api import Claude
from functions.adapters.event_publisher import EventPublisher
from functions.adapters.queues import WorkQueues
from functions.adapters.s3 import ObjectStore
from functions.adapters.table import Table
from functions.model import cost_ledger, estimate, items, records, spending
from functions.model.ids import stem_of
from functions.poll import poll
from functions.polling.phases import Phases
from functions.polling.poll_summary import PollSummary
from functions.results import results
from functions.services import SOURCE, Services
from functions.settings import PollSettings, ResultsSettings, Settings, SubmitSettings
from functions.submit import submit
from infra.template import read_template
from local.simulator import Simulator, serving
from tests.fakes import strict_s3
from tests.fakes.aws import QUEUES, TOPIC, FakeAws

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

# Each client of the SDK reads all certificates of the machine, in 25 ms. The simulator speaks plain HTTP.
vars(httpcore2)["default_ssl_context"] = cache(httpcore2.default_ssl_context)

_MINUTES = 30
UPLOADS, RESULTS, TABLE = "uploads", "results", "relay"
REGION = "eu-central-1"


@dataclass
class Lambda:
    """Lambda's context: its remaining time."""

    left_s: float = 900.0

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left_s * 1000)


@dataclass
class Harness:
    """Everything that a job uses between its upload and its event.

    Repeated uploads of the same bytes run here, unless a test deploys with `repeats` ``skip``.
    """

    simulator: Simulator
    url: str
    s3: "S3Client"
    sqs: "SQSClient"
    sns: "SNSClient"
    dynamodb: "DynamoDBClient"
    topic: str
    queues: dict[str, str]
    moment: datetime = field(default_factory=lambda: datetime.now(UTC))
    key: str = "sk-local"
    keys: dict[type[Settings], str] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=lambda: {"repeats": "run"})
    context: Lambda = field(default_factory=Lambda)

    def __post_init__(self) -> None:
        self._claudes: dict[type[Settings], Claude] = {}
        self.simulator.clock = self.seconds
        self.dynamodb.meta.events.register(
            "provide-client-params.dynamodb.TransactWriteItems", _reject_unread_attributes
        )
        self.dynamodb.meta.events.register(
            "provide-client-params.dynamodb.Query", _reject_empty_keys
        )
        self.deploy()

    def deploy(self, **overrides: Any) -> None:
        """Rebuild the services of all functions with other settings."""
        self.overrides |= overrides
        self.submit = self._services(SubmitSettings, {"queue_url": self.queues["submit"]})
        self.results = self._services(ResultsSettings, {"queue_url": self.queues["results"]})
        urls = {
            "submit_queue_url": self.queues["submit"],
            "results_queue_url": self.queues["results"],
        }
        self.poll = self._services(PollSettings, urls)
        self.items, self.ownership = self.submit.items, self.submit.ownership
        self.circuit, self.poll_lock = self.submit.circuit, self.submit.poll_lock

    def _services[S: Settings](
        self, settings_type: type[S], queue_urls: dict[str, str]
    ) -> Services[S]:
        overridden = {
            name: value
            for name, value in self.overrides.items()
            if name in settings_type.__dataclass_fields__
        }
        settings = settings_type(
            table_name=TABLE, uploads_bucket=UPLOADS, results_bucket=RESULTS, topic_arn=self.topic,
            secret_name="secret", base_url=self.url, **{**queue_urls, **overridden},
        )  # fmt: skip
        claude = Claude(
            base_url=self.url,
            api_version=settings.api_version,
            read_key=lambda _fresh: self.keys.get(settings_type, self.key),
            create_timeout_s=overridden.get("create_timeout_s", 20.0),
            clock=self.seconds,
        )
        return Services(
            settings=settings,
            table=Table(TABLE, client=self.dynamodb),
            files=ObjectStore(RESULTS, client=self.s3),
            claude=claude,
            publisher=EventPublisher(self.topic, SOURCE + TABLE, client=self.sns),
            now=self.now,
        )

    def now(self) -> datetime:
        return self.moment

    def seconds(self) -> float:
        return self.moment.timestamp()

    def pass_time(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    # -- what users do

    def upload(self, key: str, body: bytes) -> str:
        """Upload a file and deliver S3's event to submit; return the key."""
        event = self.put(key, body)
        self.submit_message(event)
        return key

    def put(self, key: str, body: bytes) -> str:
        """Upload a file; return S3's event."""
        version = self.s3.put_object(Bucket=UPLOADS, Key=key, Body=body)["VersionId"]
        event_time = self.moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return s3_event(UPLOADS, key, len(body), version, event_time)

    def submit_message(self, body: str) -> None:
        submit(self.submit, body, self.context)  # type: ignore[arg-type]

    # -- what the schedule and the queues do

    def tick(self, seconds: float = 60.0) -> PollSummary:
        """Advance the clock, poll, and run everything in both queues."""
        self.pass_time(seconds)
        summary = self.poll_once()
        self.drain_queues()
        return summary

    def poll_once(self, phases: Phases | None = None) -> PollSummary:
        queues = WorkQueues(self.queues["submit"], self.queues["results"], client=self.sqs)
        return poll(self.poll, queues, phases)

    def drain_queues(self) -> None:
        for body in self._drain("submit"):
            submit(self.submit, body, self.context)  # type: ignore[arg-type]
        for body in self._drain("results"):
            results(self.results, parse_work_message(body), self.context)  # type: ignore[arg-type]

    def _drain(self, name: str) -> list[str]:
        bodies: list[str] = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.queues[name], MaxNumberOfMessages=10
        ).get("Messages", []):
            for message in messages:
                self.sqs.delete_message(
                    QueueUrl=self.queues[name], ReceiptHandle=message["ReceiptHandle"]
                )
                bodies.append(message["Body"])
        return bodies

    def finish(self, ticks: int = 60) -> int:
        """Tick until nothing is unfinished; return the number of ticks.

        After 30 minutes a tick takes two hours, since retry delays grow.
        """
        unfinished = self.items.unfinished()
        for tick in range(1, ticks + 1):
            self.tick(60.0 if tick <= _MINUTES else 7200.0)
            unfinished = self.items.unfinished()
            if not (unfinished.jobs or unfinished.batches or unfinished.events):
                return tick
        message = f"unfinished after {ticks} ticks: {unfinished}"
        raise AssertionError(message)

    # -- what users get

    def results_folder(self, key: str) -> str:
        """Return the results folder of the key's newest job."""
        stem = stem_of(key)
        stored_objects = self.s3.list_objects_v2(Bucket=RESULTS, Prefix=f"results/{stem}/").get(
            "Contents", []
        )
        return max(stored_objects, key=lambda stored_object: stored_object["LastModified"])[
            "Key"
        ].rpartition("/")[0]

    def read(self, key: str, name: str) -> bytes:
        return self.s3.get_object(Bucket=RESULTS, Key=f"{self.results_folder(key)}/{name}")[
            "Body"
        ].read()

    def lines(self, key: str, name: str = "results.jsonl") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read(key, name).split(b"\n") if line]

    def manifest(self, key: str) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self.read(key, "manifest.json"))
        return manifest

    def events(self) -> list[dict[str, Any]]:
        """Return the events since the last call, as a subscriber gets them."""
        return [json.loads(json.loads(body)["Message"]) for body in self._drain("events")]

    def envelopes(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self._drain("events")]


def _reject_unread_attributes(params: Any, **_: Any) -> None:
    """Reject attributes that no struct reads: type checkers do not see the keys of a dict."""
    for write in params["TransactItems"]:
        ((_verb, operation),) = write.items()
        unknown = {
            *operation.get("ExpressionAttributeNames", {}).values(),
            *operation.get("Item", {}),
        } - _READ_ATTRIBUTES
        assert not unknown, f"no struct reads {unknown}"


def _reject_empty_keys(params: Any, **_: Any) -> None:
    """Reject empty text in a key condition, as DynamoDB does with a ValidationException; moto accepts it."""
    empty = [
        name for name, value in params["ExpressionAttributeValues"].items() if value == {"S": ""}
    ]
    assert not empty, f"a key cannot be compared with empty text: {empty}"


_READ_ATTRIBUTES = {
    name
    for module in (items, records, cost_ledger, claims, uploads, estimate, spending)
    for struct in vars(module).values()
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct)
    for name in struct.__struct_fields__
}
"""Attributes that a struct reads."""


def s3_event(bucket: str, key: str, size: int, version: str, event_time: str) -> str:
    """Return S3's message of a new object."""
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": event_time,
        "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": urllib.parse.quote_plus(key), "size": size, "versionId": version},
        },
    }
    return json.dumps({"Records": [record]})


def parse_work_message(body: str) -> Any:
    from functions.adapters.queues import read_work_message  # noqa: PLC0415 - used only here

    return read_work_message(body)


@contextmanager
def open_harness(folder: Path, **simulator_options: Any) -> Iterator[Harness]:
    """Open a relay over in-memory AWS, with its own simulator on a socket."""
    simulator, account = Simulator(folder, **simulator_options), FakeAws()
    s3, sqs, sns, dynamodb = map(account.client, ("s3", "sqs", "sns", "dynamodb"))
    with serving(simulator) as url:
        yield Harness(simulator, url, s3, sqs, sns, dynamodb, TOPIC, QUEUES)


@contextmanager
def open_moto_harness(folder: Path, **simulator_options: Any) -> Iterator[Harness]:
    """Open a relay over moto, for tests of botocore hooks, HTTP headers or SDK retries."""
    simulator = Simulator(folder, **simulator_options)
    with mock_aws(), serving(simulator) as url:
        clients = moto_clients()
        yield Harness(simulator, url, *clients, *create_resources(*clients))


def moto_clients() -> "tuple[S3Client, SQSClient, SNSClient, DynamoDBClient]":
    """Return a client for each service."""
    return (
        strict_s3.make_strict(boto3.client("s3", region_name=REGION)),
        boto3.client("sqs", region_name=REGION),
        boto3.client("sns", region_name=REGION),
        boto3.client("dynamodb", region_name=REGION),
    )


def create_resources(
    s3: "S3Client", sqs: "SQSClient", sns: "SNSClient", dynamodb: "DynamoDBClient"
) -> tuple[str, dict[str, str]]:
    """Create buckets, table, queues and topic in an empty AWS; return the topic and the queues."""
    location: Any = {"LocationConstraint": REGION}
    for bucket in (UPLOADS, RESULTS):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=location)
    s3.put_bucket_versioning(Bucket=UPLOADS, VersioningConfiguration={"Status": "Enabled"})
    make_table(dynamodb)
    queues = {
        name: sqs.create_queue(QueueName=name)["QueueUrl"]
        for name in ("submit", "results", "events")
    }
    topic = sns.create_topic(Name="events")["TopicArn"]
    sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:123456789012:events"
    )
    return topic, queues


def make_table(dynamodb: "DynamoDBClient") -> None:
    """Create the table that our template describes."""
    dynamodb.create_table(TableName=TABLE, BillingMode="PAY_PER_REQUEST", **_table_shape())


@cache
def _table_shape() -> Any:
    resources = read_template()["Resources"].values()
    (table,) = (
        resource
        for resource in resources
        if resource["Type"] in {"AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable"}
    )
    properties = ("KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes")
    return {name: table["Properties"][name] for name in properties}


def make_row(number: int, text: str = "hello", **params: Any) -> bytes:
    """Return a row that can be sent."""
    messages = [{"role": "user", "content": f"{text} {number}"}]
    row = {
        "custom_id": f"row-{number}",
        "params": {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": messages, **params},
    }
    return json.dumps(row).encode()


def make_upload(rows: int, text: str = "hello") -> bytes:
    """Return an upload of rows that can all be sent."""
    return b"\n".join(make_row(number, text) for number in range(1, rows + 1))


def succeeded(relay: Harness, key: str) -> list[bool]:
    return [line["result"]["type"] == "succeeded" for line in relay.lines(key)]


def every_row_accepted_once(relay: Harness) -> bool:
    """Return whether no row's params were accepted twice."""
    return set(relay.simulator.accepted_params().values()) == {1}
