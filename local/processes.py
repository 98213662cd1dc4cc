"""Start programs, each in its own process group, and stop them by their ids."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from local import interruption

GRACE_S = 0.5
TAIL_LINES = 8


def run_program(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end in its own process group, and stop that group if this command is asked to end."""
    with subprocess.Popen(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        try:
            while True:
                interruption.check()
                with suppress(subprocess.TimeoutExpired):
                    output, errors = process.communicate(timeout=interruption.TICK_S)
                    return subprocess.CompletedProcess(
                        process.args, process.returncode, output, errors
                    )
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


@dataclass(frozen=True)
class Program:
    """A running program, perhaps started by an earlier command.

    Attributes:
        pid: the id of its process and process group.
        started_at: when it started. A process with the same id and another start time is not ours.
        log: the file that receives its output.
    """

    pid: int
    started_at: str
    log: Path

    @classmethod
    def start(cls, command: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> Self:
        """Start a program in its own process group, so that Ctrl-C does not reach it."""
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = [str(argument) for argument in command]
        redirections = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        pid = os.posix_spawn(
            arguments[0], arguments, dict(env), file_actions=redirections, setsid=True
        )
        return cls(pid=pid, started_at=start_time(pid) or "", log=log)

    def is_running(self) -> bool:
        """Return whether it still runs."""
        return bool(self.started_at) and start_time(self.pid) == self.started_at

    def stop(self) -> None:
        """Stop it and its child processes: SIGTERM, then SIGKILL."""
        if not self.is_running():
            return
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            # SIGKILL also reaches children that outlive a leader which obeyed SIGTERM.
            self._signal(signal_number)
            self._wait()
        _reap_child(self.pid)

    def log_tail(self) -> str:
        """Return the last `TAIL_LINES` lines of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-TAIL_LINES:])

    def _wait(self) -> None:
        deadline = time.monotonic() + GRACE_S
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _signal(self, signal_number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, signal_number)
        except (ProcessLookupError, PermissionError):
            return


def start_time(pid: int) -> str | None:
    """Return the start time of a live process as an opaque string, or None."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    ps_output = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return None if not ps_output or ps_output.startswith("Z") else ps_output.partition(" ")[2]


def _reap_child(pid: int) -> None:
    """Reap a child process; a program of an earlier command is not our child."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
