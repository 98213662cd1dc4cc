"""Compare uploads of 1 GB with uploads of 0.1 GB, for each kind of file, and their readers with the usual libraries.

    make kinds           # 200 MB and 50 MB, a few minutes
    make kinds FULL=1    # 1 GB and 0.1 GB; writes the table in docs/benchmarks.md
    python -m benchmarks.kinds --full --only Parquet    # writes one row of the table

Speeds are per second of CPU time, so that other programs on the machine disturb them less. To add a kind, add an
entry to `KINDS`.
"""

import argparse
import csv
import gzip
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import msgspec

from benchmarks.lambdas import Container
from benchmarks.processes import ROOT, BenchmarkError, Run, measure, start_fake
from benchmarks.relay import UPLOADS, Relay, cloud, make_table, s3_notification, unpack_bundle
from benchmarks.report import machine, replace_section
from functions.model.ids import job_id
from functions.model.items.job import JobStatus
from functions.model.items.work_item import JOB, SCHEMA, Step
from local.errors import LocalError

MB = 10**6
REDUCED, FULL = (50 * MB, 200 * MB), (100 * MB, 1000 * MB)
REPEATS = 3
MAX_MEMORY_GROWTH = 1.1
REQUESTS_PER_BATCH = 10_000
"""The deployed default. A chunk of these rows has 25 MB."""
MAX_INVOCATIONS = 100
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by make kinds FULL=1 -->", "<!-- end of make kinds -->"
TEMPLATE = """\
[request]
custom_id = "{{id}}"
[request.params]
model = "claude-haiku-4-5"
max_tokens = 512
messages = [{ role = "user", content = "{{text}}" }]
"""
_BASELINES = Path(__file__).with_name("baselines")
_TEXT_CHARS = 2_300
_POOL_WORDS = 400_000
_WORDS = ("delivery", "payment", "lamp", "two", "of", "three", "für", "—", '"on its way"', "arrived,", "then\n", "4th")  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of upload, with the program that reads it elsewhere.

    Attributes:
        name: its name in the table.
        suffix: the suffix of the key.
        write: writes an upload of these rows.
        baseline: its name in the table.
        command: the baseline's command, without the file.
        template: whether rows need a template, as tables do.
    """

    name: str
    suffix: str
    write: Callable[[Path, Iterable["Prompt"]], None]
    baseline: str
    command: tuple[str | Path, ...]
    template: bool = False


@dataclass(frozen=True)
class Prompt:
    """One row: its id and its text."""

    id: str
    text: str

    @property
    def request(self) -> bytes:
        """Return the row as a request of the Message Batches API."""
        turn = {"role": "user", "content": self.text}
        params = {"model": "claude-haiku-4-5", "max_tokens": 512, "messages": [turn]}
        return msgspec.json.encode({"custom_id": self.id, "params": params})


def _write_csv(file: Path, prompts: Iterable[Prompt]) -> None:
    with file.open("w", encoding="utf-8", newline="") as output:
        writer = csv.writer(output)
        writer.writerow(["id", "text"])
        writer.writerows((prompt.id, prompt.text) for prompt in prompts)


def _write_array(file: Path, prompts: Iterable[Prompt]) -> None:
    with file.open("wb") as output:
        before = b"["
        for prompt in prompts:
            output.write(before + prompt.request)
            before = b",\n"
        output.write(b"]")


def _write_gzip(file: Path, prompts: Iterable[Prompt]) -> None:
    with gzip.open(file, "wb", compresslevel=6) as output:
        for prompt in prompts:
            output.write(prompt.request + b"\n")


def _write_parquet(file: Path, prompts: Iterable[Prompt]) -> None:
    """Write with DuckDB as it writes by itself: Snappy, and 122,880 rows in a row group."""
    lines = file.with_suffix(".rows")
    with lines.open("wb") as output:
        for prompt in prompts:
            output.write(msgspec.json.encode({"id": prompt.id, "text": prompt.text}) + b"\n")
    with duckdb.connect() as connection:
        rows = connection.read_json(str(lines), columns={"id": "VARCHAR", "text": "VARCHAR"})
        rows.write_parquet(str(file))
    lines.unlink()


KINDS = (
    Kind("CSV", ".csv", _write_csv, "`csv.reader`", (sys.executable, _BASELINES / "csv_rows.py"), template=True),
    Kind("JSON array", ".json", _write_array, "`json.load`", (sys.executable, _BASELINES / "json_array.py")),
    Kind("JSON Lines, gzip", ".jsonl.gz", _write_gzip, "`zcat`", ("sh", "-c", 'exec zcat "$0" > /dev/null')),
    Kind("Parquet", ".parquet", _write_parquet, "DuckDB", (sys.executable, _BASELINES / "duckdb_rows.py"), template=True),
)  # fmt: skip


def prompts(size_bytes: int) -> Iterator[Prompt]:
    """Generate rows of this total size, always the same ones.

    Each text is a random piece of a long text, so that it compresses as real text does, to about a third.
    """
    rng = random.Random(5)  # noqa: S311 - has to be deterministic
    words = [*_WORDS, *(f"{rng.getrandbits(28):x}" for _ in range(2_000))]
    pool = " ".join(rng.choices(words, k=_POOL_WORDS))
    for number in range(size_bytes // (_TEXT_CHARS + 100)):
        start = rng.randrange(len(pool) - _TEXT_CHARS)
        yield Prompt(f"row-{number:09}", pool[start : start + _TEXT_CHARS])


@dataclass(frozen=True)
class Upload:
    """An upload that is measured.

    Attributes:
        file: the local file, which the fake S3 serves.
        rows: the number of its rows.
        text_bytes: the length of its text, unpacked.
    """

    kind: Kind
    file: Path
    rows: int
    text_bytes: int

    @classmethod
    def write(cls, kind: Kind, folder: Path, size_bytes: int) -> "Upload":
        """Write the upload and its options."""
        file = folder / UPLOADS / f"{size_bytes // MB}{kind.suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = sum(1 for _ in prompts(size_bytes))
        kind.write(file, prompts(size_bytes))
        if kind.template:
            file.with_name(f"{file.name}.relay.toml").write_text(TEMPLATE, encoding="utf-8")
        return cls(kind, file, rows, _text_bytes(file))

    def mb_s(self, seconds: float) -> float:
        """Return the speed in MB of text per second of CPU time."""
        return self.text_bytes / seconds / 1e6


def _text_bytes(file: Path) -> int:
    """Return the length of an upload's text, unpacked."""
    if file.suffix == ".parquet":
        query = "SELECT sum(strlen(id) + strlen(text)) FROM read_parquet(?)"
        [(size,)] = duckdb.execute(query, [str(file)]).fetchall()
        return int(size)
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as text:
        return sum(len(block) for block in iter(lambda: text.read(MB), b""))


@dataclass(frozen=True)
class Measurement:
    """One kind of upload.

    Attributes:
        pairs: the relay's reader and the baseline on the larger upload, one after the other.
        plans: the CPU seconds and the peak MB of plan, for the smaller and the larger upload.
    """

    upload: Upload
    pairs: list[tuple[Run, Run]]
    plans: tuple[tuple[float, float], tuple[float, float]]

    @property
    def memory_is_flat(self) -> bool:
        """Return whether the larger upload takes at most 10 % more memory."""
        (_, small), (_, large) = self.plans
        return large <= small * MAX_MEMORY_GROWTH

    def row(self) -> str:
        """Return the row of the table."""
        upload, (ours, theirs) = self.upload, zip(*self.pairs, strict=True)
        speeds = [
            upload.mb_s(statistics.median(run.work_cpu_s for run in side))
            for side in (ours, theirs)
        ]
        ratio = statistics.median(b.work_cpu_s / a.work_cpu_s for a, b in self.pairs)
        peaks = [statistics.median(run.peak_mb for run in side) for side in (ours, theirs)]
        (_, small_mb), (plan_s, large_mb) = self.plans
        cells = (
            upload.kind.name, f"{speeds[0]:.0f} MB/s", upload.kind.baseline, f"{speeds[1]:.0f} MB/s", f"{ratio:.2f}",
            f"{peaks[0]:.0f} / {peaks[1]:.0f}", f"{upload.mb_s(plan_s):.0f} MB/s", f"{small_mb:.0f} / {large_mb:.0f}",
            "yes" if self.memory_is_flat else "**no**",
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure each kind and print the table; with --full, write it into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinds", description=main.__doc__)
    parser.add_argument("--full", action="store_true", help="1 GB instead of 200 MB")
    parser.add_argument(
        "--only", choices=[kind.name for kind in KINDS], help="one kind; its row alone is written"
    )
    options = parser.parse_args()
    full, kinds = options.full, [kind for kind in KINDS if options.only in {None, kind.name}]
    workspace = ROOT / ".local" / "bench"
    workspace.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=workspace) as folder:
            sizes = FULL if full else REDUCED
            lines = table(measure_all(Path(folder), kinds, sizes), sizes)
    except (BenchmarkError, LocalError) as error:
        sys.exit(f"the benchmark failed: {error}")
    print("\n".join(lines))
    if full and options.only:
        replace_row(PAGE, lines[-1])
    elif full:
        replace_section(PAGE, BEGIN, END, lines)


def replace_row(page: Path, row: str) -> None:
    """Replace the row of one kind in the table of a page, or add it at the end."""
    lines = page.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip("\n").split("\n")
    name = row.partition("|")[2].partition("|")[0]
    places = [number for number, line in enumerate(lines) if line.startswith(f"|{name}|")]
    place = places[0] if places else len(lines)
    replace_section(page, BEGIN, END, [*lines[:place], row, *lines[place + 1 :]])


def measure_all(folder: Path, kinds: Iterable[Kind], sizes: tuple[int, int]) -> list[Measurement]:
    """Measure each kind in a folder of its own, which is deleted before the next one."""
    bundle = unpack_bundle(folder / "bundle")
    measurements = []
    with cloud(folder / "cloud") as aws:
        relay = Relay(aws, bundle, "", "", requests=REQUESTS_PER_BATCH)
        for kind in kinds:
            print(f"measuring {kind.name}", flush=True)
            with tempfile.TemporaryDirectory(dir=folder) as objects:
                measurements.append(measure_kind(relay, Path(objects), kind, sizes))
    return measurements


def measure_kind(relay: Relay, folder: Path, kind: Kind, sizes: tuple[int, int]) -> Measurement:
    """Plan both uploads, and read the larger one beside the baseline."""
    small, large = (Upload.write(kind, folder, size) for size in sizes)
    make_table(relay.cloud)
    with (
        start_fake("benchmarks.s3", "--folder", folder) as relay.s3,
        start_fake("benchmarks.claude", "--answers") as relay.claude,
    ):
        plans = (plan(relay, folder, small), plan(relay, folder, large))
    pairs = [(_read(large), measure(*kind.command, large.file)) for _ in range(REPEATS)]
    return Measurement(large, pairs, plans)


def _read(upload: Upload) -> Run:
    run = measure(sys.executable, "-m", "benchmarks.read", upload.file)
    if run.report["rows"] != upload.rows:
        message = f"{upload.file.name}: {run.report['rows']:,} rows, expected {upload.rows:,}"
        raise BenchmarkError(message)
    return run


def plan(relay: Relay, folder: Path, upload: Upload) -> tuple[float, float]:
    """Plan an upload with the whole stage, in as many invocations as it takes.

    Returns:
        The CPU seconds of all invocations, and the peak memory in MB.

    Raises:
        BenchmarkError: not all rows were planned.
    """
    key, name = upload.file.name, job_id(UPLOADS, upload.file.name, "v1")
    message = s3_notification(key, "v1", upload.file.stat().st_size)
    container = Container(relay, "submit", folder)
    seconds = container.invoke(message, "plan").work_cpu_s
    for _ in range(MAX_INVOCATIONS):
        job = relay.items.job(name)
        if job is None or job.status != JobStatus.PLANNING or job.waiting_for:
            break
        message = {"schema": SCHEMA, "job": name, "item": JOB, "next_step": Step.PLAN}
        seconds += container.invoke(message, "plan").work_cpu_s
    peak_mb = container.stop()
    job = relay.items.job(name)
    if job is None or job.status == JobStatus.PLANNING or job.sendable_rows != upload.rows:
        problem = f"{key}: {job and job.sendable_rows} rows planned, expected {upload.rows:,}"
        raise BenchmarkError(problem)
    return seconds, peak_mb


def table(measurements: Iterable[Measurement], sizes: tuple[int, int]) -> list[str]:
    """Return the lines of the table, with date and machine."""
    small, large = (f"{size / 1e9:g} GB" for size in sizes)
    today = datetime.now(UTC).date().isoformat()
    return [
        f"{machine()}, {today}: uploads of {large}, and of {small} for comparison.",
        "",
        f"| upload | relay reads | baseline | reads | times better | MB, relay / baseline | *plan* | *plan*, MB at {small} / {large} | at most 10 % more |",
        "|---|---|---|---|---:|---|---|---|---|",
        *(measurement.row() for measurement in measurements),
    ]


if __name__ == "__main__":
    main()
