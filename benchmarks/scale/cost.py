"""Price a million requests and an idle month in AWS: calls, seconds and bytes times their prices."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.scale.arrivals import CHUNK

PRICES = Path(__file__).parent / "prices.json"
MILLION = 1_000_000
GB = 1e9
GIB_MB = 1024
MONTH_H, MONTH_DAYS = 730, 30.4
MONTH_POLLS = MONTH_H * 60
WORK_DAYS, BATCH_DAYS = 8, 400
"""How long work files lie: 7 days, and until the next midnight; how long a batch's item stays in the table."""
DISK_MB = {"plan": 1024, "send": 1024, "collect": 4096, "assemble": 4096}
FREE_DISK_MB = 512
POLL_MB = 512
CONTAINERS, COLD_S = 21, 3.0
"""Containers that start for a million requests: ten of submit and of results, one of poll; seconds each, billed."""
KEY_READS = 250
"""The key is read by each container, and anew after some minutes of work: fewer than that."""
POLLERS, POLL_WAIT_S = 5, 20
"""Lambda reads a queue with five long polls of 20 seconds at least."""
METRICS, ALARMS, QUEUES = 7, 12, 2

_PUT = ("PutObject", "PutObjectTagging", "CreateMultipartUpload", "UploadPart", "UploadPartCopy",
        "CompleteMultipartUpload", "ListObjectsV2")  # fmt: skip
_GET = ("GetObject", "HeadObject")


@dataclass(frozen=True)
class Calls:
    """Calls by name, such as ``s3.PutObject``; DynamoDB's units, SQS' messages, and bytes.

    Attributes:
        chunk: of each chunk.
        job: of a job, beside those of its chunks.
        idle: of a poll with nothing to do.
        item_bytes: of a batch's item in the table.
    """

    chunk: Mapping[str, float]
    job: Mapping[str, float]
    idle: Mapping[str, float]
    item_bytes: int


@dataclass(frozen=True)
class Price:
    """What one of something costs, in USD; `free` of them a month cost nothing, if nobody else in the account uses them.

    Attributes:
        source: where AWS says it.
        read: on which page it was found; None if on none, and it is from memory.
    """

    usd: float
    free: float
    source: str
    read: str | None


@dataclass(frozen=True)
class Line:
    """One line of a bill."""

    what: str
    amount: float

    @property
    def service(self) -> str:
        """The service, as AWS names it."""
        return next(name for name in SERVICES if self.what.startswith(name))

    @property
    def usd(self) -> float:
        """What it costs without any free tier."""
        return self.amount * prices()[self.what].usd

    @property
    def usd_beyond_free(self) -> float:
        """What it costs in an account that does nothing else in that month."""
        price = prices()[self.what]
        return max(0.0, self.amount - price.free) * price.usd


SERVICES = ("Lambda", "S3", "DynamoDB", "SQS", "SNS", "Scheduler", "CloudWatch", "Secrets Manager", "Internet egress")  # fmt: skip


@cache
def prices() -> dict[str, Price]:
    """Read the price list."""
    listed: Mapping[str, Any] = json.loads(PRICES.read_text())["prices"]
    return {
        name: Price(one["usd"] / one["per"], one["free"], one["source"], one["read"])
        for name, one in listed.items()
    }


@cache
def priced_at() -> str:
    """Return when the prices were looked up."""
    return str(json.loads(PRICES.read_text())["date"])


@dataclass(frozen=True)
class Stage:
    """What was measured of a stage, at the memory that is deployed."""

    stage: str
    memory_mb: int
    seconds_per_million: float
    peak_mb: float


def stages(results: Path) -> list[Stage]:
    """Read the seconds of Lambda that the benchmarks measured, at the memory that the stack deploys.

    Raises:
        KeyError: there are none in this file: run the benchmarks first.
    """
    rows = json.loads(results.read_text())["lambda"]
    names = Stage.__dataclass_fields__
    return [Stage(**{name: row[name] for name in names}) for row in rows if row["default"]]


def of_million(calls: Calls, measured: Iterable[Stage], item_minutes: int) -> list[Line]:
    """Price a job of a million requests.

    Args:
        calls: as counted.
        measured: seconds of Lambda.
        item_minutes: unfinished batches, summed over the polls that read them.
    """
    chunks = MILLION // CHUNK
    call_counts = {name: chunks * each + calls.job[name] for name, each in calls.chunk.items()}
    stored = call_counts["s3.work_bytes"] / GB * WORK_DAYS / MONTH_DAYS
    items = chunks * calls.item_bytes / GB * BATCH_DAYS / MONTH_DAYS
    read = call_counts["dynamodb.half_reads"] / 2 + item_minutes * calls.item_bytes / 4096 / 2
    return [
        *_compute_lines(list(measured)),
        Line("Lambda requests", call_counts["lambda.invocations"]),
        Line("S3 PUT, COPY, POST, LIST", sum(call_counts[f"s3.{name}"] for name in _PUT)),
        Line("S3 GET, HEAD", sum(call_counts[f"s3.{name}"] for name in _GET)),
        Line("S3 GB-months", stored),
        Line("S3 tag-months", call_counts["s3.PutObjectTagging"] * WORK_DAYS / MONTH_DAYS),
        Line("DynamoDB write units", call_counts["dynamodb.writes"]),
        Line("DynamoDB read units", read),
        Line("DynamoDB GB-months", items),
        Line("DynamoDB recovery GB-months", items),
        Line("SQS requests", 3 * call_counts["sqs.messages"]),
        Line("SNS requests", call_counts["sns.Publish"]),
        Line("CloudWatch log GB", call_counts["log.bytes"] / GB),
        Line("Secrets Manager calls", KEY_READS),
    ]


def _compute_lines(measured: list[Stage]) -> list[Line]:
    """Add up the seconds of the stages, and of the containers that start."""
    stage_gb_s = sum(stage.seconds_per_million * stage.memory_mb for stage in measured) / GIB_MB
    started = CONTAINERS * COLD_S * max(stage.memory_mb for stage in measured) / GIB_MB
    disk = sum(
        stage.seconds_per_million * (DISK_MB[stage.stage] - FREE_DISK_MB) for stage in measured
    )  # fmt: skip
    return [
        Line("Lambda GB-seconds", stage_gb_s + started),
        Line("Lambda disk GB-seconds", disk / GIB_MB),
    ]


def egress(calls: Calls) -> Line:
    """Price what a million requests are in bytes, on their way to Anthropic over the internet."""
    return Line("Internet egress GB", calls.chunk["claude.sent_bytes"] * MILLION / CHUNK / GB)


def of_idle_month(calls: Calls, poll_s: float) -> list[Line]:
    """Price a month in which nobody uploads anything.

    Args:
        calls: as counted.
        poll_s: how long a poll with nothing to do is billed for, in seconds.
    """
    idle = {name: MONTH_POLLS * each for name, each in calls.idle.items()}
    receives = QUEUES * POLLERS * MONTH_H * 3600 / POLL_WAIT_S
    return [
        Line("Lambda GB-seconds", MONTH_POLLS * poll_s * POLL_MB / GIB_MB),
        Line("Lambda requests", MONTH_POLLS),
        Line("DynamoDB write units", idle["dynamodb.writes"]),
        Line("DynamoDB read units", idle["dynamodb.half_reads"] / 2),
        Line("SQS requests", receives),
        Line("Scheduler invocations", MONTH_POLLS),
        Line("CloudWatch log GB", idle["log.bytes"] / GB),
        Line("CloudWatch metrics", METRICS),
        Line("CloudWatch alarms", ALARMS),
        Line("Secrets Manager secrets", 1),
    ]


def total(lines: Iterable[Line]) -> float:
    """Add up a bill, in USD, without any free tier."""
    return sum(line.usd for line in lines)


def by_service(lines: Iterable[Line]) -> dict[str, float]:
    """Add up each service's part, in USD, without any free tier; the largest first."""
    parts: dict[str, float] = {}
    for line in lines:
        parts[line.service] = parts.get(line.service, 0.0) + line.usd
    return dict(sorted(parts.items(), key=lambda part: -part[1]))
