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
THINNED = 200
"""A quick campaign has one of so many inputs."""
LONGEST = 600
HANG_S = 60
SEED = 3
_DONE = re.compile(r"^Done (\d+) runs", re.MULTILINE)
_SO_FAR = re.compile(r"^#(\d+)\t", re.MULTILINE)
_RAISED = re.compile(r"Uncaught Python exception: ===\n(.*)")


def campaign(full: bool) -> Figures:  # noqa: FBT001 - as all campaigns are called
    """Fuzz everything."""
    figures = Figures("fuzz")
    began = time.monotonic()
    if not (INSTALLED / "atheris").exists():
        figures.broken.append("atheris is missing: make .local/fuzz/.installed")
        return figures
    wanted = {name: runs if full else runs // THINNED for name, (_, runs) in TARGETS.items()}
    with ThreadPoolExecutor(os.process_cpu_count()) as pool:
        for tried, broken in pool.map(lambda item: _fuzz(*item), wanted.items()):
            figures.tried += tried
            figures.recovered += tried - bool(broken)
            figures.rows_lost += "rows out = rows in" in broken
            figures.broken += [broken] if broken else []
    figures.seconds = time.monotonic() - began
    return figures


def _fuzz(target: str, runs: int) -> tuple[int, str]:
    """Fuzz one target; gives how many inputs it had, and what broke."""
    with _folder(target) as folder:
        corpus.unpack(target, folder / "corpus")
        command = [
            sys.executable, "-m", "tests.verification.fuzz.run", target, str(folder / "corpus"), f"-runs={runs}", f"-seed={SEED}",
            f"-dict={corpus.WORDS}", f"-max_len={LONGEST}", f"-timeout={HANG_S}", "-len_control=20",
            f"-artifact_prefix={folder}/broke-",
        ]  # fmt: skip
        paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{INSTALLED}"}
        done = subprocess.run(  # noqa: S603 - our own command
            command, env={**os.environ, **paths}, cwd=ROOT, capture_output=True, check=False
        )
        told = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode == 0 and (finished := _DONE.search(told)):
            return int(finished[1]), ""
        return _tried(told), _broken(target, folder, told)


@contextmanager
def _folder(target: str) -> Iterator[Path]:
    """Give a folder for what is found: gone afterwards, unless FUZZ_FOLDER says where it stays."""
    kept = os.environ.get("FUZZ_FOLDER")
    if kept:
        yield Path(kept) / target
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _tried(told: str) -> int:
    counts = [int(count) for count in _SO_FAR.findall(told)]
    return max(counts, default=0)


def _broken(target: str, folder: Path, told: str) -> str:
    """Say what broke, and the input that breaks it: put it into the corpus once it is mended."""
    raised = _RAISED.search(told)
    what = raised[1] if raised else told[-500:]
    inputs = [file.read_bytes() for file in sorted(folder.glob("broke-*"))]
    return f"{target}: {what}: {inputs!r}"


if __name__ == "__main__":
    print(campaign("--full" in sys.argv))  # noqa: T201 - a command
