"""Memory: what is measured is the process of the stage alone; S3 is in another one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.processes import far_end
from benchmarks.s3 import serving
from functions.adapters.s3 import MAX_QUEUED_TAGS
from functions.adapters.table import serialize
from functions.adapters.work_items import PAGE
from tests.harness import TABLE, Harness
from tests.unit.factories import JOB_ID, batch

ROOT = Path(__file__).parents[2]
MB = 1_000_000


def peak_mb(endpoint: str, key: str) -> tuple[float, int]:
    """Plan one upload in a process of its own; gives its peak memory, in MB, and the rows planned."""
    command = [sys.executable, "-m", "tests.integration.bounded_planning", endpoint, key]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    told = json.loads(ended.stdout.splitlines()[-1])
    return told["peak_mb"], told["rows"]


def test_promise_3_memory_does_not_grow_with_the_upload() -> None:
    sizes = {"/uploads/small.jsonl": 120 * MB, "/uploads/large.jsonl": 480 * MB}
    with serving(sizes) as endpoint:
        small, small_rows = peak_mb(endpoint, "small.jsonl")
        large, large_rows = peak_mb(endpoint, "large.jsonl")

    assert (small_rows, large_rows) == (50_000, 200_000)
    assert large < small * 1.1


def test_promise_3_every_stage_works_with_less_memory_than_its_files_are_long(
    tmp_path: Path,
) -> None:
    """`tests.integration.bounded` sets the limits; here are the far ends."""
    sizes = {"/uploads/large.jsonl": 240 * MB}
    sizes |= {f"/results/work/{number}": 1 << 20 for number in range(300)}
    with (
        serving(sizes, tmp_path) as endpoint,
        far_end("benchmarks.claude", "--folder", tmp_path, "--requests", "100000") as claude,
    ):
        command = [
            sys.executable,
            "-m",
            "tests.integration.bounded",
            endpoint,
            claude,
            str(tmp_path),
        ]
        # One arena: else each thread reserves 64 MiB that it never uses, and the limit counts them.
        env = {**os.environ, "MALLOC_ARENA_MAX": "1"}
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)  # noqa: S603  # fmt: skip

    assert ended.returncode == 0, ended.stderr[-2000:]
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["sent"] > 200 * MB
    assert told["collected"] > 200 * MB
    assert told["joined"] == 300 << 20


def test_promise_3_the_batches_of_a_long_job_are_read_some_at_a_time(moto_relay: Harness) -> None:
    relay = moto_relay
    for number in range(1, 2 * PAGE + 2):
        item = msgspec.to_builtins(batch(chunk=number))
        relay.dynamodb.put_item(TableName=TABLE, Item=serialize(item))
    pages: list[int] = []

    def note(parsed: dict[str, Any], **_: object) -> None:
        pages.append(len(parsed["Items"]))

    relay.dynamodb.meta.events.register("after-call.dynamodb.Query", note)
    found = relay.results.items.batches(JOB_ID)

    assert [one.item for one in found] == [f"{number:05}-1" for number in range(1, 2 * PAGE + 2)]
    assert pages == [PAGE, PAGE, 1]


def test_promise_3_the_files_of_a_long_job_are_tagged_some_at_a_time(moto_relay: Harness) -> None:
    relay = moto_relay
    tagged: list[str] = []
    ahead: list[int] = []

    def note(params: dict[str, Any], **_: object) -> None:
        tagged.append(params["url_path"])

    def keys() -> Iterator[str]:
        for number in range(2 * MAX_QUEUED_TAGS + 1):
            ahead.append(number - len(tagged))
            yield f"work/{number}"

    relay.s3.meta.events.register("before-call.s3.PutObjectTagging", note)
    relay.results.files.tag_done(keys())

    assert len(tagged) == len({*tagged}) == 2 * MAX_QUEUED_TAGS + 1
    assert max(ahead) < MAX_QUEUED_TAGS
