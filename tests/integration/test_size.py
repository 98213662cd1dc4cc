"""Memory: what is measured is the process of the stage alone; S3 is in another one."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.s3 import serving

ROOT = Path(__file__).parents[2]
MB = 1_000_000


def peak_mb(endpoint: str, key: str) -> tuple[float, int]:
    """Plan one upload in a process of its own; gives its peak memory, in MB, and the rows planned."""
    command = [sys.executable, "-m", "tests.planning", endpoint, key]
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
