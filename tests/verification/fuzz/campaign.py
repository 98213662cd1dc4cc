"""Fuzz every target, each in a process of its own: a million inputs and more, guided by coverage, always the same seed.

Needs what `make .local/fuzz/.installed` installs. A full campaign takes some twenty minutes on two cores.
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
"""A quick campaign has one of so many inputs."""
MAX_INPUT_BYTES = 600
HANG_S = 60
SEED = 3
_FINISHED = re.compile(r"^Done (\d+) runs", re.MULTILINE)
_PROGRESS = re.compile(r"^#(\d+)\t", re.MULTILINE)
_RAISED = re.compile(r"Uncaught Python exception: ===\n(.*)")


def campaign(full: bool) -> Figures:  # noqa: FBT001 - as all campaigns are called
    """Fuzz everything."""
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
    """Fuzz one target; gives how many inputs it had, and what broke."""
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
    """Give a folder for what is found: gone afterwards, unless FUZZ_FOLDER says where it stays."""
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
    """Say what broke, and the input that breaks it: put it into the corpus once it is mended."""
    exception = _RAISED.search(output)
    message = exception[1] if exception else output[-500:]
    inputs = [file.read_bytes() for file in sorted(folder.glob("broke-*"))]
    return f"{target}: {message}: {inputs!r}"


if __name__ == "__main__":
    print(campaign("--full" in sys.argv))  # noqa: T201 - a command
