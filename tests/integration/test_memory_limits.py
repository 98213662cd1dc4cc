"""Memory limits, measured in the process of the stage alone; S3 runs in another process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.processes import measure, start_fake
from benchmarks.s3 import serving
from functions.adapters.s3 import MAX_QUEUED_TAGS
from functions.adapters.table import serialize
from functions.adapters.work_items import PAGE
from tests.harness import TABLE, Harness
from tests.integration.memory_limited_job import HEADROOM, PIECES
from tests.unit.factories import JOB_ID, batch
from tests.unit.parquet_files import parquet_file

ROOT = Path(__file__).parents[2]
MB = 1_000_000
PAGE_ROWS = 16_384
"""Rows of 2 kB: a page of 34 MB."""


def peak_mb(endpoint: str, key: str) -> tuple[float, int]:
    """Plan one upload in its own process; return its peak memory in MB, and the rows planned."""
    command = [sys.executable, "-m", "tests.integration.memory_limited_plan", endpoint, key]
    process = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    report = json.loads(process.stdout.splitlines()[-1])
    return report["peak_mb"], report["rows"]


def test_promise_3_memory_does_not_grow_with_the_upload() -> None:
    sizes = {"/uploads/small.jsonl": 36 * MB, "/uploads/large.jsonl": 144 * MB}
    with serving(sizes) as endpoint:
        small, small_rows = peak_mb(endpoint, "small.jsonl")
        large, large_rows = peak_mb(endpoint, "large.jsonl")

    assert (small_rows, large_rows) == (15_000, 60_000)
    assert large < small * 1.1


def test_promise_3_every_stage_needs_less_memory_than_its_files(
    tmp_path: Path,
) -> None:
    """`tests.integration.memory_limited_job` sets the limits; S3 and Claude run here."""
    sizes = {"/uploads/large.jsonl": 180 * MB}
    sizes |= {f"/results/work/{number}": 1 << 20 for number in range(PIECES)}
    with (
        serving(sizes, tmp_path) as endpoint,
        start_fake("benchmarks.claude", "--folder", tmp_path, "--requests", "75000") as claude,
    ):
        command = [
            sys.executable,
            "-m",
            "tests.integration.memory_limited_job",
            endpoint,
            claude,
            str(tmp_path),
        ]
        # One arena: otherwise each thread reserves 64 MiB that it never uses, which the limit
        # counts.
        env = {**os.environ, "MALLOC_ARENA_MAX": "1"}
        process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)  # noqa: S603  # fmt: skip

    assert process.returncode == 0, process.stderr[-2000:]
    report = json.loads(process.stdout.splitlines()[-1])
    assert min(report.values()) > HEADROOM
    assert report["joined"] == PIECES << 20


def test_promise_3_the_batches_of_a_long_job_are_read_in_pages(moto_relay: Harness) -> None:
    relay = moto_relay
    for number in range(1, 2 * PAGE + 2):
        item = msgspec.to_builtins(batch(chunk=number))
        relay.dynamodb.put_item(TableName=TABLE, Item=serialize(item))
    pages: list[int] = []

    def record_page(parsed: dict[str, Any], **_: object) -> None:
        pages.append(len(parsed["Items"]))

    relay.dynamodb.meta.events.register("after-call.dynamodb.Query", record_page)
    batches = relay.results.items.batches(JOB_ID)

    assert [batch_item.item for batch_item in batches] == [
        f"{number:05}-1" for number in range(1, 2 * PAGE + 2)
    ]
    assert pages == [PAGE, PAGE, 1]


def test_promise_3_the_files_of_a_long_job_are_tagged_in_groups(moto_relay: Harness) -> None:
    relay = moto_relay
    tagged_paths: list[str] = []
    keys_ahead: list[int] = []

    def record_tag(params: dict[str, Any], **_: object) -> None:
        tagged_paths.append(params["url_path"])

    def counted_keys() -> Iterator[str]:
        for number in range(2 * MAX_QUEUED_TAGS + 1):
            keys_ahead.append(number - len(tagged_paths))
            yield f"work/{number}"

    relay.s3.meta.events.register("before-call.s3.PutObjectTagging", record_tag)
    relay.results.files.tag_done(counted_keys())

    assert len(tagged_paths) == len({*tagged_paths}) == 2 * MAX_QUEUED_TAGS + 1
    assert max(keys_ahead) < MAX_QUEUED_TAGS


def test_promise_3_memory_does_not_grow_with_the_pages_of_a_parquet_upload(tmp_path: Path) -> None:
    """DuckDB alone would hold a second page where one ends, and need 30 % more."""
    pages, texts = 2, "array_to_string([md5((i * 64 + x)::VARCHAR) for x in range(64)], '')"
    peaks = []
    for rows in (PAGE_ROWS, pages * PAGE_ROWS):
        path = tmp_path / f"{rows}.parquet"
        path.write_bytes(
            parquet_file(
                f"SELECT {texts} AS a FROM range({rows}) t(i)",  # noqa: S608 - constants
                f", data_page_size_limit {PAGE_ROWS * 2052}",
            )
        )
        run = measure(sys.executable, "-m", "benchmarks.read", path)
        assert run.report["rows"] == rows
        peaks.append(run.peak_mb)

    assert peaks[1] < peaks[0] * 1.1, peaks
