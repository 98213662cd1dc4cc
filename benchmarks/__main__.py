"""The relay beside what a user would pick instead: ``make bench``, or ``make bench FULL=1``.

Each side runs in a process of its own, and so do the far ends, all on loopback. Times are those of the work once
everything is imported, for both; what importing takes is a row of its own. Memory is the whole process's peak.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import rows
from benchmarks.flow import Flow
from benchmarks.processes import ROOT, BenchmarkError, far_end
from benchmarks.relay import Relay, cloud
from benchmarks.report import show, write
from benchmarks.standing import assemble, cold_starts, poll
from local.errors import LocalError

RIVALS = ("anthropic==2.12.0", "boto3==1.43.106")
REDUCED = {"rows": 20_000, "repeats": 3, "open": 1_000, "finished": 2_000, "chunks": 50}
FULL = {"rows": 100_000, "repeats": 3, "open": 1_000, "finished": 20_000, "chunks": 500}
CHUNK_BYTES = 24_000_000


def main() -> None:
    """Measure, print the table, and write benchmarks/results.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--full", action="store_true", help="100,000 rows instead of 20,000")
    size = FULL if parser.parse_args().full else REDUCED
    home = ROOT / ".local" / "bench"
    home.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=home) as folder:
            _measure(Path(folder), size)
    except (BenchmarkError, LocalError) as error:
        sys.exit(f"the benchmark did not come to its end: {error}")


def _measure(folder: Path, size: dict[str, int]) -> None:
    rival = _rivals()
    print(f"measuring with {size['rows']:,} rows, {size['repeats']} times", flush=True)
    requests = ("--requests", str(size["rows"]))
    with (
        cloud(folder / "cloud") as aws,
        far_end("benchmarks.s3", "--folder", folder) as s3,
        far_end("benchmarks.claude", "--folder", folder, *requests) as claude,
    ):
        relay = Relay(aws, Path(sys.executable), s3, claude)
        runs = Flow(relay, folder, rival, size["rows"]).runs(size["repeats"])
        amounts = ((1, 0), (size["open"], 0), (size["open"], size["finished"]))
        polls = [poll(relay, folder, open_, finished) for open_, finished in amounts]
        joined = assemble(relay, size["chunks"], CHUNK_BYTES)
    cold = cold_starts(folder / "bundle", size["repeats"])
    lines = [
        *rows.of_flow(runs, size["rows"]),
        *rows.of_polls(polls),
        rows.of_assembly(joined, size["chunks"] * CHUNK_BYTES),
        *rows.of_cold_starts(cold),
    ]
    show(lines)
    everything = {**runs, "poll": [one.run for one in polls], "assemble": [joined[0]]}
    everything |= {f"import {name}": several for name, several in cold.items()}
    write(ROOT / "benchmarks" / "results.json", lines, everything, size)


def _rivals() -> Path:
    """Give the Python of the rivals' own environment, installed unless it is there."""
    folder = ROOT / ".local" / "rivals"
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if not installed.exists() or installed.read_text(encoding="utf-8").split() != [*RIVALS]:
        uv = str(Path(sys.executable).with_name("uv"))
        commands = (
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *RIVALS],
        )  # fmt: skip
        for command in commands:
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode:
                message = f"the rivals could not be installed: {ended.stderr.strip()[-600:]}"
                raise BenchmarkError(message)
        installed.write_text("\n".join(RIVALS), encoding="utf-8")
    return python


if __name__ == "__main__":
    main()
