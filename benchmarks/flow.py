"""Compare plan, send and collect of one large upload, each side in turn."""

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks import workload
from benchmarks.processes import BenchmarkError, Run, counts, measure
from benchmarks.relay import UPLOADS, Relay
from functions.model.ids import RequestId
from functions.model.items.batch import Batch
from functions.model.items.work_item import Step

BASELINES = Path(__file__).with_name("baselines")
UPLOAD = "upload.jsonl"


class _Line(msgspec.Struct):
    row: int
    custom_id: str
    result: msgspec.Raw


@dataclass
class StageComparison:
    """Runs the stages and their baselines on one upload.

    Attributes:
        folder: holds the objects of S3 and the results of Claude.
        baseline_python: the Python of the baselines' environment.
    """

    relay: Relay
    folder: Path
    baseline_python: Path
    rows: int

    def runs(self, repeats: int) -> dict[str, list[Run]]:
        """Repeat all measurements; return the runs by name."""
        upload = self.folder / UPLOADS / UPLOAD
        upload.parent.mkdir(parents=True)
        workload.write_upload(upload, self.rows)
        runs_by_name: dict[str, list[Run]] = defaultdict(list)
        for repeat in range(repeats):
            for name, run in self._run_once(upload, f"v{repeat}"):
                runs_by_name[name].append(run)
        return runs_by_name

    def _run_once(self, upload: Path, version: str) -> list[tuple[str, Run]]:
        job, planned = self.relay.plan(UPLOAD, version, upload.stat().st_size)
        cut = measure(sys.executable, "-m", "benchmarks.cut", upload)
        loads = measure(self.baseline_python, BASELINES / "loads.py", upload)
        copy = measure("cp", upload, self.folder / "copy.jsonl")
        sending = self._send(job)
        self.relay.mark_ended(job)
        collecting = self._collect(self.relay.batch(job))
        planning = [("plan", planned), ("cut", cut), ("loads", loads), ("cp", copy)]
        return [*planning, *sending, *collecting]

    def _send(self, job: str) -> list[tuple[str, Run]]:
        batch = self.relay.batch(job)
        ours = self.relay.step("submit", job, Step.SEND)
        _require_equal("bytes sent", counts(self.relay.claude)["last"], batch.size_bytes)
        env = self._baseline_env()
        sdk = measure(self.baseline_python, BASELINES / "send.py", UPLOADS, UPLOAD, env=env)
        body = self._body(batch)
        curl = measure(
            "curl", "--silent", "--fail", "--request", "POST", "--header", "Expect:", "--upload-file", body,
            f"{self.relay.claude}/v1/messages/batches",
        )  # fmt: skip
        return [("send", ours), ("send sdk", sdk), ("send curl", curl)]

    def _body(self, batch: Batch) -> Path:
        """Download a chunk's body from S3 into one file."""
        body = self.folder / "body.json"
        read = f"{self.relay.s3}/results/{batch.requests_key}"
        measure("curl", "--silent", "--fail", "--output", body, read)
        _require_equal("bytes of the body", body.stat().st_size, batch.size_bytes)
        return body

    def _collect(self, batch: Batch) -> list[tuple[str, Run]]:
        ids = [
            str(RequestId(batch.job, batch.chunk, batch.attempt, row))
            for row in range(batch.first_row, batch.last_row + 1)
        ]
        results = self.folder / f"{batch.batch_id}.jsonl"
        workload.write_results(results, ids)
        ours = self.relay.step("results", batch.job, Step.COLLECT)
        self._verify(self.relay.batch(batch.job))
        written = self.folder / "theirs.jsonl"
        sdk = measure(
            self.baseline_python, BASELINES / "collect.py", str(batch.batch_id), written, env=self._baseline_env()
        )  # fmt: skip
        _require_equal("lines of the baseline", written.read_bytes().count(b"\n"), self.rows)
        results.unlink()
        return [("collect", ours), ("collect sdk", sdk)]

    def _verify(self, batch: Batch) -> None:
        """Verify the collected results: one line per row, in order, with the row's own result."""
        if batch.part is None:
            message = f"the batch was not collected: it is {batch.status}"
            raise BenchmarkError(message)
        copy = self.folder / "ours.jsonl"
        source = f"{self.relay.s3}/results/{batch.part.results.key}"
        measure("curl", "--silent", "--fail", "--output", copy, source)
        decode = msgspec.json.Decoder(_Line).decode
        row_number = 0
        with copy.open("rb") as lines:
            for row_number, line in enumerate(lines, 1):
                read = decode(line)
                is_own_result = b"msg_%024d" % (row_number - 1) in bytes(read.result)[:80]
                if read.row != row_number or not (
                    is_own_result or row_number % workload.FAILING == 1
                ):
                    message = f"line {row_number} of the results is not that of row {row_number}"
                    raise BenchmarkError(message)
        _require_equal("lines collected", row_number, self.rows)

    def _baseline_env(self) -> dict[str, str]:
        claude = {"ANTHROPIC_API_KEY": "sk-local", "ANTHROPIC_BASE_URL": self.relay.claude}
        return self.relay.cloud.env() | claude | {"AWS_ENDPOINT_URL_S3": self.relay.s3}


def _require_equal(quantity: str, actual: int, expected: int) -> None:
    if actual != expected:
        message = f"{quantity}: {actual:,}, expected {expected:,}"
        raise BenchmarkError(message)
