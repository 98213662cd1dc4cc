"""The rows of the table: comparisons and their targets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.lambdas import STAGES
from benchmarks.processes import Run
from benchmarks.report import Line, median, timed
from benchmarks.steady_state import PollRun
from benchmarks.whole import JobRun
from benchmarks.workload import ROW_BYTES

MAX_CALLS = 2
PARSED_MB_S = 150
MAX_SHARE = 0.01
MAX_MB = 250
MAX_TIME_GROWTH, MAX_MEMORY_GROWTH = 1.2, 1.1
MIN_MEMORY_RATIO = 8
"""The minimum ratio of the SDK's memory to ours."""
FULL_ROWS = 100_000
"""The number of rows from which time targets apply; with fewer, fixed costs dominate."""


def stage_lines(runs: Mapping[str, Sequence[Run]], rows: int) -> list[Line]:
    """Compare plan, send and collect."""
    speed = rows * ROW_BYTES / 1e6 / median(runs["cut"])
    lines = [
        timed(runs["send"], runs["send sdk"], work=f"send {rows:,} requests", against="batches.create(requests=[…])",
              target="≥ 10, ≤ 1/8 memory", min_ratio=10, min_memory_ratio=MIN_MEMORY_RATIO),
        timed(runs["send"], runs["send curl"], work="", against="curl --upload-file", target="≥ 1/4", min_ratio=0.25),
        timed(runs["collect"], runs["collect sdk"], work=f"collect {rows:,} results",
              against="loop over results(), unordered, to a file", target="≥ 8, ≤ memory", min_ratio=8, min_memory_ratio=1),
        timed(runs["cut"], runs["loads"], work="plan, local: read, validate, cut", against="json.loads per line",
              target="", min_ratio=0),
        Line("", f"{speed:.0f} MB/s", "", "", None, "", f"≥ {PARSED_MB_S} MB/s", speed >= PARSED_MB_S),
        timed(runs["cut"], runs["cp"], work="", against="cp to another file", target="", min_ratio=0),
        timed(runs["plan"], runs["loads"], work="plan, the whole stage, S3 to S3", against="json.loads per line",
              target="", min_ratio=0),
    ]  # fmt: skip
    return [_for_full_runs(line, rows) if line.ratio is not None else line for line in lines]


def end_to_end_lines(runs: Mapping[str, Sequence[Run]], rows: int) -> list[Line]:
    """Compare a whole job; the baselines write an unordered file."""
    ours = runs["whole"]
    names = {"whole sdk": "plain SDK script", "whole batchwizard": "batchwizard 0.5.0"}
    lines = [
        _for_full_runs(
            timed(ours, runs[name], work=f"whole job, {rows:,} rows", against=baseline, target="≥ 4", min_ratio=4), rows
        )
        for name, baseline in names.items()
    ]  # fmt: skip
    peak = median(ours, "peak_mb")
    memory_line = Line(
        "", "", "", "", None, f"{peak:.0f}", f"≤ {MAX_MB} MB in any stage", peak <= MAX_MB
    )
    return [*lines, memory_line]


def _for_full_runs(line: Line, rows: int) -> Line:
    """Mark a target as not applicable if the run is too small for it."""
    if rows >= FULL_ROWS or not line.target:
        return line
    return replace(line, target=f"{line.target} (FULL=1)", reached=None)


def growth_lines(growth_runs: tuple[JobRun, JobRun], sizes_bytes: tuple[int, int]) -> list[Line]:
    """Compare a large upload with a small one: memory by function, time per byte by step."""
    small_run = growth_runs[0]
    size_labels = [f"{size / 1e9:g} GB" for size in sizes_bytes]
    lines = []
    for step, stage in STAGES.items():
        if step not in small_run.steps:
            continue
        seconds_per_gb = [
            job_run.steps[step] / size * 1e9
            for job_run, size in zip(growth_runs, sizes_bytes, strict=True)
        ]
        peaks = [job_run.peaks[stage] for job_run in growth_runs]
        is_reached = (
            seconds_per_gb[1] <= seconds_per_gb[0] * MAX_TIME_GROWTH
            and peaks[1] <= peaks[0] * MAX_MEMORY_GROWTH
        )
        lines.append(
            Line(
                f"{size_labels[1]} upload, {step}", f"{seconds_per_gb[1]:.2f} s/GB", size_labels[0], f"{seconds_per_gb[0]:.2f} s/GB",
                round(seconds_per_gb[0] / seconds_per_gb[1], 2), f"{peaks[1]:.0f} / {peaks[0]:.0f}", "≤ 10 % more memory, ≤ 20 % more time per byte", is_reached,
            )
        )  # fmt: skip
    return lines


def poll_lines(polls: Sequence[PollRun]) -> list[Line]:
    """Compare the calls of a poll with those of a smaller one."""
    one, many, history = polls
    return [
        Line(
            f"poll {polled.open:,} open, {polled.finished:,} finished", _work_of(polled), f"{base.open:,} open, "
            f"{base.finished:,} finished", _work_of(base), None, f"{polled.run.peak_mb:.0f} / {base.run.peak_mb:.0f}",
            target, reached,
        )
        for polled, base, target, reached in (
            (many, one, f"≤ {MAX_CALLS} API calls", many.api_calls <= MAX_CALLS),
            (history, many, "reads no finished batch", history.dynamodb == many.dynamodb),
        )
    ]  # fmt: skip


def _work_of(polled: PollRun) -> str:
    items = polled.dynamodb.get("items", 0)
    reads = sum(polled.dynamodb.get(name, 0) for name in ("Query", "GetItem"))
    return f"{polled.api_calls} API, {reads} reads of {items:,} items, {polled.run.work_s:.2f} s"


def assembly_line(assembly: tuple[Run, Mapping[str, int]], size_bytes: int) -> Line:
    """Show how many bytes of a multipart copy pass through the function."""
    run, byte_counts = assembly
    passed, copied = (
        byte_counts.get("read", 0) + byte_counts.get("written", 0),
        byte_counts.get("copied", 0),
    )
    reached = copied == size_bytes and passed <= size_bytes * MAX_SHARE
    return Line(
        f"assemble {size_bytes / 1e9:.1f} GB", f"{run.work_s:.2f} s, {passed / 1e3:.0f} kB through Lambda", "copied by S3",
        f"{copied / 1e9:.1f} GB", None, f"{run.peak_mb:.0f}", "≤ 1 % through Lambda", reached,
    )  # fmt: skip


def cold_start_lines(runs: Mapping[str, Sequence[Run]]) -> list[Line]:
    """Compare importing a stage from the bundle with importing the SDK from it."""
    sdk = runs["anthropic"]
    return [
        timed(import_runs, sdk, work=f"cold start: import {name}", against="import anthropic", target="≤ 1/2",
              min_ratio=2, clock="wall_s")
        for name, import_runs in runs.items() if import_runs is not sdk
    ]  # fmt: skip
