"""A whole job beside the plain script, and beside batchwizard, which is what PyPI has for it."""

import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks import workload
from benchmarks.processes import BenchmarkError, Run, far_end, measure
from benchmarks.relay import KEY, UPLOADS, Relay, make_table
from benchmarks.whole import check, whole

SCRIPT = Path(__file__).with_name("rivals") / "whole.py"
UPLOAD = "whole.jsonl"


@dataclass
class Versus:
    """One upload, done by each side in turns.

    Attributes:
        folder: where S3 keeps what is written, and the rivals write.
        sdk: the Python of the plain script's environment.
        batchwizard: that of batchwizard's.
    """

    relay: Relay
    folder: Path
    sdk: Path
    batchwizard: Path
    rows: int

    def runs(self, repeats: int) -> dict[str, list[Run]]:
        """Do the job that often; the rivals begin and end with a file on this machine, ours at S3."""
        upload = self.folder / UPLOADS / UPLOAD
        upload.parent.mkdir(parents=True, exist_ok=True)
        workload.write_upload(upload, self.rows)
        found: dict[str, list[Run]] = defaultdict(list)
        make_table(self.relay.cloud)
        with (
            far_end("benchmarks.s3", "--folder", self.folder) as self.relay.s3,
            far_end("benchmarks.claude", "--answers") as self.relay.claude,
        ):
            for repeat in range(repeats):
                ours = whole(self.relay, self.folder, UPLOAD, f"w{repeat}")
                check(self.relay, self.folder, UPLOAD, f"w{repeat}", self.rows)
                found["whole"].append(ours.as_run)
                found["whole sdk"].append(self._script(upload))
                found["whole batchwizard"].append(self._batchwizard(upload))
        return found

    def _script(self, upload: Path) -> Run:
        written = self.folder / "theirs.jsonl"
        ended = measure(self.sdk, SCRIPT, upload, written, env=self._environment())
        self._check([written])
        return ended

    def _batchwizard(self, upload: Path) -> Run:
        """Run its command; what it takes to start is part of it, as for whoever types it."""
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
        env = self._environment() | {"HOME": str(home)}
        ended = measure(*command, "--output-directory", out, upload, env=env)
        self._check([*out.glob("*.jsonl")])
        shutil.rmtree(home)
        shutil.rmtree(out)
        return ended

    def _check(self, files: list[Path]) -> None:
        lines = 0
        for file in files:
            lines += file.read_bytes().count(b"\n")
            file.unlink()
        if lines != self.rows:
            message = f"the rival wrote {lines:,} lines, and {self.rows:,} were expected"
            raise BenchmarkError(message)

    def _environment(self) -> dict[str, str]:
        return {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": self.relay.claude}
