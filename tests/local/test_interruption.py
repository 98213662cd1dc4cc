"""Ctrl-C ends a command wherever it is, and leaves no program behind."""

import argparse
import io
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from local import commands
from local import environment as environments
from local.interruption import EXIT_CODE, STOP_SIGNALS
from local.started_job import StartedJob
from local.workspace import Workspace

ROOT = Path(__file__).parent.parent.parent
MOMENTS = 2
"""Random moments at which the demo is interrupted. Set RELAY_MOMENTS for more."""
LATEST_S = 8.0
PREAMBLE = """
import time
from local import interruption
interruption.PATIENCE_S = 0.5
interruption.install()
"""
IN_A_FINALIZER = """
class Slow:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(0.5)
del_me = Slow()
del del_me
while True:
    interruption.pause(1)
"""
IN_A_CALL_THAT_HANGS = """
print("ready", flush=True)
time.sleep(60)
"""
IN_AN_IMPORT = """
import runpy, sys
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "local.command_line":
            print("ready", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
runpy.run_module("local", run_name="__main__")
"""
IN_A_FINALIZER_THAT_HANGS = """
class Hanging:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(60)
hanging = Hanging()
del hanging
time.sleep(60)
"""


@pytest.mark.parametrize("code", [IN_A_FINALIZER, IN_A_CALL_THAT_HANGS, IN_A_FINALIZER_THAT_HANGS])
@pytest.mark.parametrize("signal_number", STOP_SIGNALS)
def test_a_signal_is_never_lost(code: str, signal_number: signal.Signals) -> None:
    with subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-c", PREAMBLE + code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal_number)
        _, errors = process.communicate(timeout=4.0)

    assert errors.rstrip().endswith(b"KeyboardInterrupt")


def test_a_signal_during_a_slow_import_ends_the_command_with_a_sentence() -> None:
    with subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-c", PREAMBLE + IN_AN_IMPORT],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=4.0)

    assert process.returncode == EXIT_CODE
    assert errors == "claude-batch-relay: interrupted\n"


@pytest.mark.parametrize("moment", range(int(os.environ.get("RELAY_MOMENTS", MOMENTS))))
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for programs in /proc")
def test_the_demo_is_interrupted_at_a_random_moment(moment: int, tmp_path: Path) -> None:
    delay_s = random.Random().uniform(0, LATEST_S)  # noqa: S311 - no secret
    with subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-m", "local", "run", "--into", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        _wait_until_it_handles(signal.SIGALRM, process.pid)
        time.sleep(delay_s)
        children = _descendants(process.pid)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)

    told = f"moment {moment}, after {delay_s:.2f} s: {output}{errors}"
    assert process.returncode in {130, 0, -signal.SIGINT}, told
    assert not Workspace.of_this_clone().folder.joinpath("cloud", "running.json").exists(), told
    assert not _alive_after(2.0, children), told


def _wait_until_it_handles(signal_number: signal.Signals, pid: int) -> None:
    """Wait for `interruption.install`. Before that, Python itself starts, or a shell has it ignore signals."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        handled = int(status.partition("SigCgt:")[2].split()[0], 16)
        if handled >> (signal_number - 1) & 1:
            return
        time.sleep(0.01)
    pytest.fail("the program handles no signals after 30 s")


def _descendants(pid: int) -> set[int]:
    """Return the programs that a program has started, and those that they have started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def _alive_after(seconds: float, pids: set[int]) -> set[int]:
    deadline = time.monotonic() + seconds
    while alive := {pid for pid in pids if Path(f"/proc/{pid}").exists()}:
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.05)
    return set()


@pytest.mark.parametrize(
    ("kind", "ended", "told"),
    [
        ("up", False, "a-3f9a continues in the local cloud: to cancel it, run `./relay cancel in/a.csv`"),
        ("up", True, ""),
        ("run", False, ""),
    ],
)  # fmt: skip
def test_an_interrupted_demo_names_the_jobs_that_go_on_in_the_cloud_of_make_up(
    monkeypatch: pytest.MonkeyPatch, kind: str, *, ended: bool, told: str
) -> None:
    job = StartedJob(file=Path("a.csv"), key="in/a.csv", id="3f9a", folder="results/in/a/3f9a")
    if ended:
        job.events["1"] = {"type": "x.job.completed"}

    def interrupt(_environment: object, _files: object, jobs: list[StartedJob], _: object) -> None:
        jobs.append(job)
        raise KeyboardInterrupt

    environment = SimpleNamespace(kind=kind)
    monkeypatch.setattr(environments, "borrow", lambda *_: nullcontext(environment))
    monkeypatch.setattr(commands, "_process", interrupt)
    arguments = argparse.Namespace(files=[ROOT / "examples" / "questions.jsonl"])

    with pytest.raises(KeyboardInterrupt) as interrupted:
        commands.run(arguments, Workspace.of_this_clone(), Console(file=io.StringIO()))

    assert str(interrupted.value).endswith(told)
    assert bool(str(interrupted.value)) is bool(told)
