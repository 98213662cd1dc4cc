"""Limit a process to a share of a CPU, as Lambda does by memory, with a Linux control group (needs root)."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import BenchmarkError

ONE_CPU_MB = 1769
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""
PERIOD_US = 20_000
_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def cpu_share(memory_mb: int) -> Iterator[Callable[[], list[str]]]:
    """Yield a function that returns a command prefix with the CPU share of this Lambda memory.

    Each command gets its own group.

    Raises:
        BenchmarkError: no control group can be created.
    """
    quota_us = round(memory_mb / ONE_CPU_MB * PERIOD_US)
    groups: list[Path] = []

    def prefix() -> list[str]:
        groups.append(_group(quota_us))
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(groups[-1] / "cgroup.procs")]

    try:
        yield prefix
    finally:
        for group in groups:
            group.rmdir()


def _group(quota_us: int) -> Path:
    v1_controller = _ROOT / "cpu"
    try:
        group = Path(
            tempfile.mkdtemp(
                prefix="relay-", dir=v1_controller if v1_controller.is_dir() else _ROOT
            )
        )
        if v1_controller.is_dir():
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US), encoding="ascii")
            (group / "cpu.cfs_quota_us").write_text(str(quota_us), encoding="ascii")
        else:
            (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}", encoding="ascii")
    except OSError as error:
        message = f"limiting the CPU needs root on Linux: {error}"
        raise BenchmarkError(message) from error
    return group
