"""Compare a whole job with a plain SDK script and with batchwizard from PyPI."""

import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks import workload
from benchmarks.processes import BenchmarkError, Run, measure, start_fake
from benchmarks.relay import KEY, UPLOADS, Relay, make_table, s3_notification
from benchmarks.whole import check, measure_job

SCRIPT = Path(__file__).with_name("baselines") / "whole.py"
UPLOAD = "whole.jsonl"


@dataclass
class EndToEnd:
    """Processes one upload with each side in turn.

    Attributes:
        folder: holds the objects of S3 and the output of the baselines.
        sdk: the Python of the SDK script's environment.
        batchwizard: the Python of batchwizard's environment.
    """

    relay: Relay
    folder: Path
    sdk: Path
    batchwizard: Path
    rows: int

    def runs(self, repeats: int) -> dict[str, list[Run]]:
        """Repeat the job; the baselines read and write local files, the relay uses S3."""
        upload = self.folder / UPLOADS / UPLOAD
        upload.parent.mkdir(parents=True, exist_ok=True)
        workload.write_upload(upload, self.rows)
        runs_by_name: dict[str, list[Run]] = defaultdict(list)
        make_table(self.relay.cloud)
        with (
            start_fake("benchmarks.s3", "--folder", self.folder) as self.relay.s3,
            start_fake("benchmarks.claude", "--answers") as self.relay.claude,
        ):
            for repeat in range(repeats):
                notification = s3_notification(UPLOAD, f"w{repeat}", upload.stat().st_size)
                ours = measure_job(self.relay, self.folder, notification)
                check(self.relay, self.folder, UPLOAD, f"w{repeat}", self.rows)
                runs_by_name["whole"].append(ours.as_run)
                runs_by_name["whole sdk"].append(self._run_script(upload))
                runs_by_name["whole batchwizard"].append(self._run_batchwizard(upload))
        return runs_by_name

    def _run_script(self, upload: Path) -> Run:
        written = self.folder / "theirs.jsonl"
        run = measure(self.sdk, SCRIPT, upload, written, env=self._env())
        self._check_line_count([written])
        return run

    def _run_batchwizard(self, upload: Path) -> Run:
        """Run its command; its start-up counts, as for its users."""
        home, out = self.folder / "home", self.folder / "out"
        home.mkdir()
        command = (
            self.batchwizard.with_name("batchwizard"),
            "process",
            "--provider",
            "anthropic",
            "--check-interval",
            "0",
        )
        env = self._env() | {"HOME": str(home)}
        run = measure(*command, "--output-directory", out, upload, env=env)
        self._check_line_count([*out.glob("*.jsonl")])
        shutil.rmtree(home)
        shutil.rmtree(out)
        return run

    def _check_line_count(self, files: list[Path]) -> None:
        lines = 0
        for file in files:
            lines += file.read_bytes().count(b"\n")
            file.unlink()
        if lines != self.rows:
            message = f"the baseline wrote {lines:,} lines, expected {self.rows:,}"
            raise BenchmarkError(message)

    def _env(self) -> dict[str, str]:
        return {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": self.relay.claude}
