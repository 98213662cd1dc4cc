"""Processes of the benchmark: the measured ones, and the fake services."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.s3 import COUNTS

ROOT = Path(__file__).parents[1]
LAUNCH = Path(__file__).with_name("launch.py")
REPORT_PREFIX = '{"work_s"'
"""The prefix of the line in which a process reports its work."""


class BenchmarkError(Exception):
    """A measured program failed or gave a wrong result."""


@dataclass(frozen=True)
class Run:
    """The resource usage of one process.

    Attributes:
        work_s: seconds of the work without imports, by the process's own clock.
        work_cpu_s: CPU seconds of the work, over all threads.
        wall_s: wall time of the whole process.
        cpu_s: CPU seconds of the whole process.
        peak_mb: peak resident memory.
        report: what the process reports about itself.
    """

    work_s: float
    work_cpu_s: float
    wall_s: float
    cpu_s: float
    peak_mb: float
    report: dict[str, Any] = field(default_factory=dict)


def measure(*command: str | Path, env: Mapping[str, str] | None = None) -> Run:
    """Run a program; its last line of output may be a JSON report.

    Raises:
        BenchmarkError: it failed; the message is its last line of output.
    """
    with tempfile.TemporaryDirectory() as folder:
        usage_file = Path(folder, "took.json")
        arguments = [sys.executable, "-S", LAUNCH, usage_file, *command]
        process = subprocess.run(
            [str(word) for word in arguments], capture_output=True, text=True, check=False, cwd=ROOT,
            env=build_env(env or {}),
        )  # fmt: skip
        if process.returncode:
            last_line = (process.stderr or process.stdout).strip().rpartition("\n")[2]
            message = f"{' '.join(str(word)[:60] for word in command)} failed: {last_line or process.returncode}"
            raise BenchmarkError(message)
        system = json.loads(usage_file.read_text(encoding="utf-8"))
    report_line = process.stdout.strip().rpartition("\n")[2]
    report = (
        json.loads(report_line)
        if report_line.startswith(REPORT_PREFIX)
        else {"work_s": system["wall_s"]}
    )
    work_s, work_cpu_s = report.pop("work_s"), report.pop("work_cpu_s", system["cpu_s"])
    return Run(work_s, work_cpu_s, **system, report=report)


@contextmanager
def start_fake(module: str, *arguments: str | Path) -> Iterator[str]:
    """Start a fake service in its own process, and yield its address."""
    command = [sys.executable, "-m", module, *(str(argument) for argument in arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                message = f"{module} did not start"
                raise BenchmarkError(message)
            yield url
        finally:
            process.terminate()


def counts(url: str) -> dict[str, int]:
    """Return the counters of a fake service."""
    with urllib.request.urlopen(url + COUNTS, timeout=30) as answer:  # noqa: S310 - a loopback address made here
        return dict(json.loads(answer.read()))


def build_env(extra: Mapping[str, str]) -> dict[str, str]:
    """Build an environment without the user's proxy and AWS settings."""
    inherited = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ
    }
    return {**inherited, "LANG": "C.UTF-8", **extra}
