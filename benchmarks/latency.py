"""Measure the latency that the relay adds to a small job: ``make latency``, a few minutes.

The stack runs in the local cloud with the deployed schedule of one minute. The simulator ends each batch after a
random time, at any moment between two polls, and not before the last upload. So only the schedule invokes poll, as
in an idle relay; a busy relay polls more often.
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.processes import ROOT
from benchmarks.report import machine, replace_section
from functions.model import timestamps
from functions.model.ids import RequestId, job_id
from local import emulator
from local.assembly import assemble
from local.cloud import Cloud
from local.deploy import deploy
from local.errors import LocalError
from local.simulator import Simulator, serving
from local.subscriber import Subscriber, subscribe
from local.workspace import Workspace, free_port

WAVES, UPLOADS = 1, 32
ROWS = 5
SPREAD_S = 30.0
"""The uploads of a wave are spread at random over this many seconds."""
PROCESSING_S = (30.0, 75.0)
"""The minimum and maximum processing time of a batch; none ends during the uploads."""
TIMEOUT_S = 240.0
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- written by make latency -->"
END = "<!-- end of make latency -->"


@dataclass
class Wave:
    """The jobs of a wave, by id.

    Attributes:
        uploaded_s: when the upload was complete, in seconds since 1970.
        completed_s: when `job.completed` was received.
    """

    uploaded_s: dict[str, float] = field(default_factory=dict)
    completed_s: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure, print the table, and write it into docs/benchmarks.md."""
    workspace = Workspace.of_this_clone()
    workspace.folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=workspace.folder) as folder:
            simulator = Simulator(Path(folder, "simulator"))
            lines = _table(_measure(workspace, Path(folder), simulator), simulator)
    except LocalError as error:
        sys.exit(f"the latency could not be measured: {error}")
    print("\n".join(lines))
    replace_section(PAGE, BEGIN, END, lines)


def _measure(workspace: Workspace, folder: Path, simulator: Simulator) -> list[Wave]:
    with (
        deployed(workspace, folder, simulator) as (cloud, outputs),
        subscribe(cloud, outputs["EventsTopicArn"]) as subscriber,
    ):
        _wave(cloud, outputs, simulator, subscriber, 1, (0, 1))  # cold starts are not counted
        simulator.reset()
        return [_wave(cloud, outputs, simulator, subscriber, UPLOADS) for _ in range(WAVES)]


@contextmanager
def deployed(
    workspace: Workspace, folder: Path, simulator: Simulator
) -> Iterator[tuple[Cloud, Mapping[str, str]]]:
    """Start an emulator of AWS and deploy the stack; stop both at the end."""
    python = emulator.install(workspace)
    with serving(simulator) as url:
        stack = assemble(workspace, "latency", {"BASE_URL": url, "REPEATS": "run"})
        local_emulator = emulator.start(python, folder, port=free_port())
        try:
            outputs = deploy(local_emulator.cloud, stack)
            local_emulator.cloud.secrets.put_secret_value(
                SecretId=outputs["SecretName"], SecretString="sk-local"
            )
            yield local_emulator.cloud, outputs
        finally:
            local_emulator.program.stop()


def _wave(
    cloud: Cloud,
    outputs: Mapping[str, str],
    simulator: Simulator,
    subscriber: Subscriber,
    uploads: int,
    processing_s: tuple[float, float] = PROCESSING_S,
) -> Wave:
    """Upload some small files at random times, and receive the end of each job."""
    wave, rng = Wave(), random.Random()  # noqa: S311 - no secret
    due_times = sorted(rng.uniform(0, SPREAD_S if uploads > 1 else 0) for _ in range(uploads))
    started = time.monotonic()
    while len(wave.completed_s) < uploads:
        if time.monotonic() - started > TIMEOUT_S:
            message = f"{uploads - len(wave.completed_s)} jobs did not end in {TIMEOUT_S:.0f} s"
            raise LocalError(message)
        if due_times and time.monotonic() - started >= due_times[0]:
            del due_times[0]
            simulator.processing_s = rng.uniform(*processing_s)
            _upload(cloud, outputs["UploadsBucket"], wave)
        for delivery in subscriber.receive():
            if delivery.attributes["type"] == "job.completed":
                wave.completed_s.setdefault(delivery.attributes["job"], time.time())
        time.sleep(0.05)
    print(f"{len(wave.completed_s)} jobs in {time.monotonic() - started:.0f} s", flush=True)
    return wave


def _upload(cloud: Cloud, bucket: str, wave: Wave) -> None:
    key = f"latency/{time.time_ns()}.jsonl"
    version = cloud.s3.put_object(Bucket=bucket, Key=key, Body=b"\n".join(_rows()))["VersionId"]
    wave.uploaded_s[job_id(bucket, key, version)] = time.time()


def _rows() -> Iterator[bytes]:
    for row in range(1, ROWS + 1):
        messages = [{"role": "user", "content": f"question {row}"}]
        params = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": messages}
        yield msgspec.json.encode({"custom_id": str(row), "params": params})


def _table(waves: list[Wave], simulator: Simulator) -> list[str]:
    created: dict[str, float] = {}
    ended: dict[str, float] = {}
    for batch in simulator.batches():
        request = RequestId.parse(next(simulator.billed_ids(str(batch["id"]))))
        if request is not None:
            created[request.job] = timestamps.parse(str(batch["created_at"])).timestamp()
            ended[request.job] = timestamps.parse(str(batch["ended_at"])).timestamp()
    to_create = [
        created[job] - time_s for wave in waves for job, time_s in wave.uploaded_s.items()
    ]
    to_event = [time_s - ended[job] for wave in waves for job, time_s in wave.completed_s.items()]
    today = datetime.now(UTC).date().isoformat()
    return [
        f"{machine()}, {today}: {len(to_create)} uploads of {ROWS} rows within {SPREAD_S:.0f} s, poll scheduled every",
        "minute, warm functions, with AWS and Anthropic simulated on the same machine:",
        "",
        "| from | to | p50 | p95 | longest |",
        "|---|---|---:|---:|---:|",
        _row("upload complete", "batch created at the API", to_create),
        _row("batch ended at the API", "`job.completed` received", to_event),
    ]


def _row(begin: str, end: str, seconds: list[float]) -> str:
    median, p95 = (
        statistics.median(seconds),
        statistics.quantiles(seconds, n=20, method="inclusive")[-1],
    )
    return f"| {begin} | {end} | {median:.1f} s | {p95:.1f} s | {max(seconds):.1f} s |"


if __name__ == "__main__":
    main()
