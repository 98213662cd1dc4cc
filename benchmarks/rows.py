"""The rows of the table: what is compared with what, and what the issue asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.lambdas import STAGES
from benchmarks.processes import Run
from benchmarks.report import Line, median, timed
from benchmarks.steady_state import Polled
from benchmarks.whole import Whole
from benchmarks.workload import ROW_BYTES

MOST_CALLS = 2
PARSED_MB_S = 150
MOST_SHARE = 0.01
MOST_MB = 250
MORE_TIME, MORE_MEMORY = 1.2, 1.1
LEAN = 8
"""The SDK's memory over ours, at the least."""
FULL_ROWS = 100_000
"""Rows from which the targets of time hold; with fewer, fixed costs weigh more."""


def of_flow(runs: Mapping[str, Sequence[Run]], rows: int) -> list[Line]:
    """Compare plan, send and collect."""
    speed = rows * ROW_BYTES / 1e6 / median(runs["cut"])
    lines = [
        timed(runs["send"], runs["send sdk"], work=f"send {rows:,} requests", against="batches.create(requests=[…])",
              target="≥ 10, ≤ 1/8 memory", least=10, memory=LEAN),
        timed(runs["send"], runs["send curl"], work="", against="curl --upload-file", target="≥ 1/4", least=0.25),
        timed(runs["collect"], runs["collect sdk"], work=f"collect {rows:,} results",
              against="loop over results(), unordered, to a file", target="≥ 8, ≤ memory", least=8, memory=1),
        timed(runs["cut"], runs["loads"], work="plan: read, check, cut, local", against="json.loads per line",
              target="", least=0),
        Line("", f"{speed:.0f} MB/s", "", "", None, "", f"≥ {PARSED_MB_S} MB/s", speed >= PARSED_MB_S),
        timed(runs["cut"], runs["cp"], work="", against="cp to another file, unread", target="", least=0),
        timed(runs["plan"], runs["loads"], work="plan, the whole stage, S3 to S3", against="json.loads per line",
              target="", least=0),
    ]  # fmt: skip
    return [_for_full_runs(line, rows) if line.ratio is not None else line for line in lines]


def of_whole(runs: Mapping[str, Sequence[Run]], rows: int) -> list[Line]:
    """Compare a whole job; theirs ends with a file that is in no order."""
    ours = runs["whole"]
    names = {"whole sdk": "plain SDK script", "whole batchwizard": "batchwizard 0.5.0"}
    lines = [
        _for_full_runs(
            timed(ours, runs[name], work=f"whole job, {rows:,} rows", against=what, target="≥ 4, the faster", least=4), rows
        )
        for name, what in names.items()
    ]  # fmt: skip
    peak = median(ours, "peak_mb")
    most = Line(
        "", "", "", "", None, f"{peak:.0f}", f"≤ {MOST_MB} MB in any stage", peak <= MOST_MB
    )
    return [*lines, most]


def _for_full_runs(line: Line, rows: int) -> Line:
    """Leave a target without a verdict where the run is too small for it."""
    if rows >= FULL_ROWS or not line.target:
        return line
    return replace(line, target=f"{line.target} (FULL=1)", reached=None)


def of_growth(grown: tuple[Whole, Whole], sizes_bytes: tuple[int, int]) -> list[Line]:
    """Compare a large upload with a small one: memory by function, time a byte by step."""
    small = grown[0]
    told = [f"{size / 1e9:g} GB" for size in sizes_bytes]
    lines = []
    for step, stage in STAGES.items():
        if step not in small.steps:
            continue
        each = [
            whole.steps[step] / size * 1e9 for whole, size in zip(grown, sizes_bytes, strict=True)
        ]
        peaks = [whole.peaks[stage] for whole in grown]
        fits = each[1] <= each[0] * MORE_TIME and peaks[1] <= peaks[0] * MORE_MEMORY
        lines.append(
            Line(
                f"{told[1]} upload, {step}", f"{each[1]:.2f} s/GB", told[0], f"{each[0]:.2f} s/GB",
                round(each[0] / each[1], 2), f"{peaks[1]:.0f} / {peaks[0]:.0f}", "memory + 10 %, time a byte + 20 %", fits,
            )
        )  # fmt: skip
    return lines


def of_polls(polls: Sequence[Polled]) -> list[Line]:
    """Show what a poll asks for, against one with a single open batch."""
    one, many, history = polls
    return [
        Line(
            f"poll {polled.open:,} open, {polled.finished:,} finished", _asked(polled), f"{base.open:,} open, "
            f"{base.finished:,} finished", _asked(base), None, f"{polled.run.peak_mb:.0f} / {base.run.peak_mb:.0f}",
            target, reached,
        )
        for polled, base, target, reached in (
            (many, one, f"≤ {MOST_CALLS} API calls", many.api_calls <= MOST_CALLS),
            (history, many, "history reads nothing", history.dynamodb == many.dynamodb),
        )
    ]  # fmt: skip


def _asked(polled: Polled) -> str:
    items = polled.dynamodb.get("items", 0)
    reads = sum(polled.dynamodb.get(name, 0) for name in ("Query", "GetItem"))
    return f"{polled.api_calls} API, {reads} reads of {items:,} items, {polled.run.work_s:.2f} s"


def of_assembly(joined: tuple[Run, Mapping[str, int]], size_bytes: int) -> Line:
    """Show which bytes of a join pass through the Lambda."""
    run, seen = joined
    passed, copied = seen.get("read", 0) + seen.get("written", 0), seen.get("copied", 0)
    reached = copied == size_bytes and passed <= size_bytes * MOST_SHARE
    return Line(
        f"assemble {size_bytes / 1e9:.1f} GB", f"{run.work_s:.2f} s, {passed / 1e3:.0f} kB pass", "copied by S3",
        f"{copied / 1e9:.1f} GB", None, f"{run.peak_mb:.0f}", "≤ 1 % pass", reached,
    )  # fmt: skip


def of_cold_starts(runs: Mapping[str, Sequence[Run]]) -> list[Line]:
    """Compare importing a stage from the bundle with importing the SDK from it."""
    sdk = runs["anthropic"]
    return [
        timed(several, sdk, work=f"cold start: import {name}", against="import anthropic", target="≤ 1/2",
              least=2, clock="wall_s")
        for name, several in runs.items() if several is not sdk
    ]  # fmt: skip
