"""Compare the relay with its alternatives: ``make bench``, or ``make bench FULL=1``.

Each side and each fake service runs in its own process, all on loopback. Times exclude imports, which are
separate rows. Memory is the peak of the whole process.
"""

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import rows
from benchmarks.end_to_end import EndToEnd
from benchmarks.flow import StageComparison
from benchmarks.installed import BATCHWIZARD, SDK, install_baseline
from benchmarks.memory import draw, sweep, to_json
from benchmarks.processes import ROOT, BenchmarkError, start_fake
from benchmarks.relay import Relay, cloud, unpack_bundle
from benchmarks.report import show, write, write_table
from benchmarks.steady_state import assemble, cold_starts, poll
from benchmarks.whole import measure_growth
from local.errors import LocalError

MB, GB = 10**6, 10**9
CHUNK_BYTES = 24_000_000
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Size:
    """The size of a benchmark run.

    Attributes:
        rows: rows of the upload that both sides process.
        repeats: number of repetitions; a ratio is the median over them.
        open: open batches of a poll.
        finished: finished batches in the same table.
        chunks: chunks of the job to assemble.
        uploads: sizes in bytes of a small and a large upload.
        memory: Lambda memory sizes in MB.
        sized_rows: rows for each memory size.
    """

    rows: int
    repeats: int
    open: int
    finished: int
    chunks: int
    uploads: tuple[int, int]
    memory: tuple[int, ...]
    sized_rows: int


REDUCED = Size(20_000, 3, 1_000, 2_000, 50, (100 * MB, 1 * GB), (512, 1024, 1769, 3008), 20_000)
FULL = Size(
    100_000, 3, 1_000, 1_000_000, 500, (100 * MB, 10 * GB),
    (512, 768, 1024, 1280, 1536, 1769, 2048, 2560, 3008), 50_000,
)  # fmt: skip


def main() -> None:
    """Measure, print the table, and write benchmarks/results.json, docs/benchmarks.md and a plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--full", action="store_true", help="100,000 rows instead of 20,000")
    full = parser.parse_args().full
    workspace = ROOT / ".local" / "bench"
    workspace.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=workspace) as folder:
            _measure(Path(folder), FULL if full else REDUCED)
    except (BenchmarkError, LocalError) as error:
        sys.exit(f"the benchmark failed: {error}")


def _measure(folder: Path, size: Size) -> None:
    sdk, batchwizard = install_baseline(*SDK), install_baseline(*BATCHWIZARD)
    bundle = unpack_bundle(folder / "bundle")
    print(f"measuring with {size.rows:,} rows, {size.repeats} times", flush=True)
    requests = ("--requests", str(size.rows))
    with cloud(folder / "cloud") as aws:
        with (
            start_fake("benchmarks.s3", "--folder", folder) as s3,
            start_fake("benchmarks.claude", "--folder", folder, *requests) as claude,
        ):
            relay = Relay(aws, bundle, s3, claude)
            runs = StageComparison(relay, folder, sdk, size.rows).runs(size.repeats)
        relay = Relay(aws, bundle, "", "", requests=10_000)
        runs |= EndToEnd(relay, folder, sdk, batchwizard, size.rows).runs(size.repeats)
        _print_progress("a large upload")
        growth_runs = measure_growth(relay, folder, size.uploads)
        _print_progress("memory sizes")
        memory_runs = sweep(relay, folder, size.sized_rows, size.memory)
        _print_progress("poll and assemble")
        assembly_run = assemble(relay, size.chunks, CHUNK_BYTES)
        poll_sizes = ((1, 0), (size.open, 0), (size.open, size.finished))
        polls = [poll(relay, folder, open_, finished) for open_, finished in poll_sizes]
    cold_start_runs = cold_starts(bundle, size.repeats)
    lines = [
        *rows.stage_lines(runs, size.rows),
        *rows.end_to_end_lines(runs, size.rows),
        *rows.growth_lines(growth_runs, size.uploads),
        *rows.poll_lines(polls),
        rows.assembly_line(assembly_run, size.chunks * CHUNK_BYTES),
        *rows.cold_start_lines(cold_start_runs),
    ]
    show(lines)
    everything = {
        **runs,
        "poll": [poll_run.run for poll_run in polls],
        "assemble": [assembly_run[0]],
    }
    everything |= {
        f"import {name}": runs_of_import for name, runs_of_import in cold_start_runs.items()
    }
    document = write(RESULTS, lines, everything, asdict(size) | {"lambda": to_json(memory_runs)})
    draw(ROOT / "benchmarks" / "memory.svg", memory_runs)
    if size is FULL:
        write_table(PAGE, document)


def _print_progress(step: str) -> None:
    print(f"measuring {step}", flush=True)


if __name__ == "__main__":
    main()
