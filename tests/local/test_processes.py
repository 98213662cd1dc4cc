import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local.processes import Program, start_time

type Start = Callable[[str], Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Program] = []

    def start_script(script: str) -> Program:
        program = Program.start([sys.executable, "-c", script], env={}, log=tmp_path / "log")
        started.append(program)
        return program

    yield start_script
    for program in started:
        program.stop()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_stop_also_stops_child_processes(start: Start) -> None:
    program = start(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(99)\n"
    )
    wait_until(program.log_tail)
    child_pid = int(program.log_tail())

    assert program.is_running()
    assert start_time(child_pid)

    program.stop()

    assert not program.is_running()
    wait_until(lambda: start_time(child_pid) is None)


def test_a_program_that_ignores_sigterm_is_killed(start: Start) -> None:
    program = start(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(99)\n"
    )
    wait_until(program.log_tail)

    program.stop()

    assert not program.is_running()


def test_a_program_that_has_ended_is_not_running(start: Start) -> None:
    program = start("print('done')")

    wait_until(lambda: not program.is_running())

    assert program.log_tail() == "done"


def test_another_process_with_a_reused_pid_is_left_alone(start: Start) -> None:
    other = start("import time; time.sleep(99)")

    replace(other, started_at="at another time").stop()

    assert other.is_running()


def test_a_program_gets_only_the_given_environment(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "theirs")

    program = start("import os; print('AWS_SECRET_ACCESS_KEY' in os.environ)")

    wait_until(program.log_tail)
    assert program.log_tail() == "False"
