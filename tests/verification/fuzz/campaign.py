"""Fuzz every target in its own process: a million coverage-guided inputs from a fixed seed.

Requires `make .local/fuzz/.installed`. A full campaign takes about 20 minutes on two cores.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.verification.figures import Figures
from tests.verification.fuzz import corpus
from tests.verification.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[3]
INSTALLED = ROOT / ".local" / "fuzz"
QUICK_DIVISOR = 200
"""A quick campaign has one input in this many."""
MAX_INPUT_BYTES = 600
HANG_S = 60
SEED = 3
_FINISHED = re.compile(r"^Done (\d+) runs", re.MULTILINE)
_PROGRESS = re.compile(r"^#(\d+)\t", re.MULTILINE)
_RAISED = re.compile(r"Uncaught Python exception: ===\n(.*)")


def campaign(full: bool) -> Figures:  # noqa: FBT001 - called positionally
    """Fuzz all targets."""
    figures = Figures("fuzz")
    started = time.monotonic()
    if not (INSTALLED / "atheris").exists():
        figures.violations.append("atheris is missing: make .local/fuzz/.installed")
        return figures
    runs_by_target = {
        name: runs if full else runs // QUICK_DIVISOR for name, (_, runs) in TARGETS.items()
    }
    with ThreadPoolExecutor(os.process_cpu_count()) as pool:
        for tried, failure in pool.map(lambda item: _fuzz(*item), runs_by_target.items()):
            figures.tried += tried
            figures.recovered += tried - bool(failure)
            figures.rows_lost += "rows out = rows in" in failure
            figures.violations += [failure] if failure else []
    figures.seconds = time.monotonic() - started
    return figures


def _fuzz(target: str, runs: int) -> tuple[int, str]:
    """Fuzz one target; return the number of inputs, and what failed."""
    with _findings_folder(target) as folder:
        corpus.unpack(target, folder / "corpus")
        command = [
            sys.executable, "-m", "tests.verification.fuzz.run", target, str(folder / "corpus"), f"-runs={runs}", f"-seed={SEED}",
            f"-dict={corpus.DICTIONARY}", f"-max_len={MAX_INPUT_BYTES}", f"-timeout={HANG_S}", "-len_control=20",
            f"-artifact_prefix={folder}/broke-",
        ]  # fmt: skip
        paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{INSTALLED}"}
        completed = subprocess.run(  # noqa: S603 - our own command
            command, env={**os.environ, **paths}, cwd=ROOT, capture_output=True, check=False
        )
        output = (completed.stdout + completed.stderr).decode(errors="replace")
        if completed.returncode == 0 and (finished := _FINISHED.search(output)):
            return int(finished[1]), ""
        return _inputs_tried(output), _failure(target, folder, output)


@contextmanager
def _findings_folder(target: str) -> Iterator[Path]:
    """Yield a folder for findings, deleted afterwards unless FUZZ_FOLDER names one to keep."""
    configured = os.environ.get("FUZZ_FOLDER")
    if configured:
        yield Path(configured) / target
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _inputs_tried(output: str) -> int:
    counts = [int(count) for count in _PROGRESS.findall(output)]
    return max(counts, default=0)


def _failure(target: str, folder: Path, output: str) -> str:
    """Describe a failure and its input, which belongs into the corpus once it is fixed."""
    exception = _RAISED.search(output)
    message = exception[1] if exception else output[-500:]
    inputs = [file.read_bytes() for file in sorted(folder.glob("broke-*"))]
    return f"{target}: {message}: {inputs!r}"


if __name__ == "__main__":
    print(campaign("--full" in sys.argv))  # noqa: T201 - a command
