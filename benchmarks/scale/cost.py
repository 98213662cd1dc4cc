"""Price a million requests and an idle month in AWS: calls, seconds and bytes times their prices."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.scale import capacity
from benchmarks.scale.arrivals import CHUNK
from benchmarks.scale.capacity import Capacity
from benchmarks.scale.units import units
from infra.settings import StackSettings

PRICES = Path(__file__).parent / "prices.json"
MILLION = 1_000_000
GB = 1e9
GIB_MB = 1024
MONTH_H, MONTH_DAYS = 730, 30.4
MONTH_POLLS = MONTH_H * 60
WORK_DAYS, BATCH_DAYS = 8, 400
"""Work files stay for 7 days and until the next midnight; a batch's item stays in the table for 400 days."""
DISK_MB = {"plan": 2048, "send": 2048, "collect": 4096, "assemble": 4096}
FREE_DISK_MB = 512
POLL_MB = 512
CONCURRENCY = StackSettings.submit_concurrency
"""Invocations of submit at once, and of results."""
CONTAINERS, COLD_S = 2 * CONCURRENCY + 1, 3.0
"""Containers that start for a million requests, one of them for poll; billed seconds of each."""
KEY_READS = 250
"""Each container reads the key when it starts and again after some minutes of work: fewer reads than this."""
POLLERS, POLL_WAIT_S = 5, 20
"""Lambda keeps at least five long polls of 20 seconds open for each queue."""
METRICS, ALARMS, QUEUES = 7, 13, 2
DAY_POLLS = 24 * 60
SKIPPED_POLL_WRITES = 3
"""Writes of a poll that finds another one running: two to acquire the lock, one to request another poll."""
LOG_BYTES_PER_TRY = 1_000
"""Assumed: Lambda's own lines of two invocations and one line of the relay."""

_PUT = ("PutObject", "PutObjectTagging", "CreateMultipartUpload", "UploadPart", "UploadPartCopy",
        "CompleteMultipartUpload", "ListObjectsV2")  # fmt: skip
_GET = ("GetObject", "HeadObject")


@dataclass(frozen=True)
class Calls:
    """Counts by name: calls such as ``s3.PutObject``, DynamoDB units, SQS messages, and bytes.

    Attributes:
        chunk: the counts of each chunk.
        job: the counts of a job without its chunks.
        idle: the counts of a poll with nothing to do.
        item_bytes: the size of a batch's item in the table.
    """

    chunk: Mapping[str, float]
    job: Mapping[str, float]
    idle: Mapping[str, float]
    item_bytes: int


@dataclass(frozen=True)
class StalledDay:
    """The first day in which ended batches wait for an API key.

    Attributes:
        batches: ended batches that wait.
        tries: invocations of results, one for each try of each batch.
        calls: calls to AWS by name, such as ``UpdateItem``, without those of idle polls.
    """

    batches: int
    tries: int
    calls: Mapping[str, int]

    @property
    def tries_per_batch(self) -> float:
        """The tries of each batch."""
        return self.tries / self.batches


@dataclass(frozen=True)
class Price:
    """The price of one unit.

    Attributes:
        usd: US dollars.
        free: units a month that cost nothing if nothing else in the account uses them.
        source: AWS's own page of prices.
        read: the page on which the price was found; None if it is from memory.
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
        """The AWS service."""
        return next(name for name in SERVICES if self.what.startswith(name))

    @property
    def usd(self) -> float:
        """The cost without free tiers."""
        return self.amount * prices()[self.what].usd

    @property
    def usd_beyond_free(self) -> float:
        """The cost in an account whose free tier is otherwise unused."""
        price = prices()[self.what]
        return max(0.0, self.amount - price.free) * price.usd


SERVICES = ("Lambda", "S3", "DynamoDB", "SQS", "SNS", "Scheduler", "CloudWatch", "Secrets Manager", "Internet egress")  # fmt: skip


@cache
def prices() -> dict[str, Price]:
    """Read the price list."""
    listed: Mapping[str, Any] = json.loads(PRICES.read_text())["prices"]
    return {
        name: Price(entry["usd"] / entry["per"], entry["free"], entry["source"], entry["read"])
        for name, entry in listed.items()
    }


@cache
def priced_at() -> str:
    """Return the date on which the prices were looked up."""
    return str(json.loads(PRICES.read_text())["date"])


@dataclass(frozen=True)
class Stage:
    """The measurements of a stage at its deployed memory."""

    stage: str
    memory_mb: int
    seconds_per_million: float
    peak_mb: float


def stages(results: Path) -> list[Stage]:
    """Read the Lambda seconds that the benchmarks measured at the deployed memory.

    Raises:
        KeyError: the file has none; run the benchmarks first.
    """
    rows = json.loads(results.read_text())["lambda"]
    names = Stage.__dataclass_fields__
    return [Stage(**{name: row[name] for name in names}) for row in rows if row["default"]]


def of_million(calls: Calls, measured: Iterable[Stage], item_minutes: int) -> list[Line]:
    """Price a job of a million requests.

    Args:
        calls: the counts.
        measured: the measurements of the stages.
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
    """Return the seconds of the stages and of starting containers."""
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
    """Price the transfer of a million requests to Anthropic over the internet."""
    return Line("Internet egress GB", calls.chunk["claude.sent_bytes"] * MILLION / CHUNK / GB)


def of_idle_month(calls: Calls, poll_s: float) -> list[Line]:
    """Price a month without uploads.

    Args:
        calls: the counts.
        poll_s: the billed seconds of a poll with nothing to do.
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


def of_stalled_day(day: StalledDay, item_bytes: int, power: Capacity) -> list[Line]:
    """Price the first day in which ended batches wait for an API key, beyond an idle day.

    Each write to a batch counts in the table and in the index, and twice in a transaction. Each try also requests a
    poll, which nearly always finds another one running.

    Args:
        day: the counts.
        item_bytes: the size of a batch's item in the table.
        power: the measured capacity, for the seconds of Lambda.
    """
    calls, tries = day.calls, day.tries
    written = calls["UpdateItem"] + 2 * calls["TransactWriteItems"]
    pages = day.batches * item_bytes / 4096 / 2
    calls_per_try = (calls["UpdateItem"] + calls["TransactWriteItems"] + calls["GetItem"]) / tries
    try_s = capacity.poll_s(power, round(calls_per_try) + 1) + capacity.poll_s(
        power, SKIPPED_POLL_WRITES
    )
    reading_s = capacity.poll_s(power, 0, day.batches)
    seconds = tries * try_s + DAY_POLLS * reading_s
    return [
        Line("Lambda GB-seconds", seconds * POLL_MB / GIB_MB),
        Line("Lambda requests", 2 * tries),
        Line(
            "DynamoDB write units", written * 2 * units(item_bytes) + tries * SKIPPED_POLL_WRITES
        ),
        Line("DynamoDB read units", DAY_POLLS * pages + calls["GetItem"]),
        Line("SQS requests", calls["SendMessageBatch"] + 2 * tries),
        Line("SNS requests", calls["Publish"]),
        Line("CloudWatch log GB", tries * LOG_BYTES_PER_TRY / GB),
        Line("Secrets Manager calls", tries),
    ]


def total(lines: Iterable[Line]) -> float:
    """Return the sum of a bill in USD, without free tiers."""
    return sum(line.usd for line in lines)


def by_service(lines: Iterable[Line]) -> dict[str, float]:
    """Return the sum of each service in USD, without free tiers, the largest first."""
    parts: dict[str, float] = {}
    for line in lines:
        parts[line.service] = parts.get(line.service, 0.0) + line.usd
    return dict(sorted(parts.items(), key=lambda part: -part[1]))
