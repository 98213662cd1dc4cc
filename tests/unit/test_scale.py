"""The calculations behind docs/scale.md: waiting times, prices, DynamoDB units, parts."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale import cost, shares
from benchmarks.scale.arrivals import (
    FIRST_COME,
    HOUR,
    IN_TURNS,
    OURS,
    POLICIES,
    simulate,
    slow_duration,
)
from benchmarks.scale.cost import Calls, Line, Stage
from benchmarks.scale.limits import parts
from benchmarks.scale.page import verdict
from benchmarks.scale.units import in_index, size_bytes, units
from functions.adapters.multipart import PARTS_PER_SIZE, UploadTarget, write
from functions.model.multipart_plan import MIB, MIN_PART_BYTES
from functions.polling.admission import AGEING

HUGE_ROWS = 1_000_000


def test_a_small_job_waits_behind_a_large_one_only_first_come_first_served() -> None:
    queue, ours = (
        simulate(POLICIES[name], slow_duration, HUGE_ROWS) for name in (FIRST_COME, OURS)
    )

    assert queue.wait_percentile(50) > 24 * HOUR
    assert ours.wait_percentile(50) == 0
    assert max(ours.waits) < 6 * HOUR


def test_a_large_job_gets_everything_while_no_other_waits() -> None:
    """So on a slow day, a small job waits until the first of the large job's batches ends."""
    turns, ours = (simulate(POLICIES[name], slow_duration, HUGE_ROWS) for name in (IN_TURNS, OURS))

    assert ours.wait_percentile(80) == turns.wait_percentile(80)


def test_a_share_is_kept_and_no_folder_starves() -> None:
    """`imports/` has a share of ten batches and a high priority, `archive/` a low one; 40 batches fit."""
    imports, reports, archive = shares.simulate()

    assert (imports.most, imports.sent) == (10, 10 * shares.HOURS)
    assert imports.sent + reports.sent + archive.sent == 40 * shares.HOURS
    assert archive.longest_wait_h <= 2 * AGEING / timedelta(hours=1)
    assert len(archive.waiting) <= archive.longest_wait_h  # one a hour, none left behind


def test_the_table_of_shares_is_the_one_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs/scale.md").read_text(encoding="utf-8")

    assert all(f"| {' | '.join(row)} |" in page for row in shares.table())


def test_batches_that_take_twice_as_long_halve_the_daily_rows() -> None:
    hour, two = (
        simulate(POLICIES[OURS], lambda _, took=took: took, HUGE_ROWS, small=0)  # type: ignore[misc]
        for took in (HOUR, 2 * HOUR)
    )

    assert hour.rows_a_day == pytest.approx(200_000 * 24)
    assert two.rows_a_day == pytest.approx(hour.rows_a_day / 2)


def test_the_costs_of_the_services_add_up_to_the_total() -> None:
    lines = cost.of_million(made_up_calls(), [Stage("plan", 1024, 100.0, 1)], item_minutes=1_000)

    assert sum(cost.by_service(lines).values()) == pytest.approx(cost.total(lines))
    assert cost.by_service(lines).keys() >= {"S3", "Lambda", "DynamoDB", "SQS", "SNS"}


def test_lambda_is_billed_by_memory_and_seconds() -> None:
    small, large = (
        cost.total(cost.of_million(made_up_calls(), [Stage("plan", memory, 10_000.0, 1)], 0))
        for memory in (1024, 2048)
    )

    started = cost.CONTAINERS * cost.COLD_S
    assert large - small == pytest.approx((10_000 + started) * cost.prices()["Lambda GB-seconds"].usd)  # fmt: skip


def test_the_free_tier_is_deducted_once() -> None:
    free_line, larger_line = Line("SQS requests", 1_000_000), Line("SQS requests", 3_000_000)

    assert free_line.usd_beyond_free == 0
    assert larger_line.usd == pytest.approx(1.20)
    assert larger_line.usd_beyond_free == pytest.approx(0.80)


def test_every_line_of_an_idle_month_has_a_price() -> None:
    lines = cost.of_idle_month(made_up_calls(), poll_s=0.05)

    assert all(line.usd > 0 for line in lines)
    assert cost.total(lines) > sum(line.usd_beyond_free for line in lines)


def test_a_missed_target_is_stated() -> None:
    sent = Line("Internet egress GB", 2.5)

    assert "not reached" not in verdict(0.05, Line("Internet egress GB", 0.1))
    assert verdict(0.05, sent).count("**is not reached**") == 1
    assert verdict(0.11, sent).count("**is not reached**") == 2


@pytest.mark.parametrize("size", [0, 1, MIN_PART_BYTES, MIN_PART_BYTES + 1, 24_550_014, 51 * MIB])
def test_the_number_of_parts_is_that_of_a_real_write(size: int) -> None:
    s3: Any = CountingS3()
    blocks = (bytes(MIB) for _ in range(size // MIB))

    write(UploadTarget(s3, "results", "work/x", 1), [*blocks, bytes(size % MIB)])

    assert parts(size) == s3.seen["upload_part"] + s3.seen["put_object"]


def test_part_sizes_grow() -> None:
    assert parts(PARTS_PER_SIZE * MIN_PART_BYTES) == PARTS_PER_SIZE
    assert parts((PARTS_PER_SIZE + 2) * MIN_PART_BYTES) == PARTS_PER_SIZE + 1


def test_a_write_costs_a_unit_per_kb_and_twice_that_if_the_index_key_changes() -> None:
    waiting = {"open": {"S": "open"}, "status_key": {"S": "WAITING"}, "text": {"S": "x" * 1100}}
    sending = waiting | {"status_key": {"S": "SENDING"}}
    done = {"text": waiting["text"]}

    assert units(size_bytes(waiting)) == 2
    assert in_index({}, waiting) == 2
    assert in_index(waiting, waiting) == 2
    assert in_index(waiting, sending) == 4
    assert in_index(waiting, done) == 2
    assert in_index(done, done) == 0


class CountingS3:
    """An S3 client that counts calls and stores nothing."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def put_object(self, **_: Any) -> None:
        self.seen["put_object"] += 1

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "1"}

    def upload_part(self, **_: Any) -> dict[str, str]:
        self.seen["upload_part"] += 1
        return {"ETag": "1"}

    def complete_multipart_upload(self, **_: Any) -> None:
        self.seen["complete"] += 1


def made_up_calls() -> Calls:
    """Return made-up calls: one of each kind for each chunk."""
    s3 = ("PutObject", "PutObjectTagging", "CreateMultipartUpload", "UploadPart", "UploadPartCopy",
          "CompleteMultipartUpload", "ListObjectsV2", "GetObject", "HeadObject")  # fmt: skip
    names = (
        *(f"s3.{name}" for name in s3), "s3.work_bytes", "dynamodb.writes", "dynamodb.half_reads", "sqs.messages",
        "sns.Publish", "lambda.invocations", "log.bytes", "claude.sent_bytes",
    )  # fmt: skip
    each = dict.fromkeys(names, 1.0)
    return Calls(chunk=each, job=each, idle=each, item_bytes=1_149)
