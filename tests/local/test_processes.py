import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local.processes import Program, birth

type Start = Callable[[str], Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Program] = []

    def begin(script: str) -> Program:
        program = Program.start([sys.executable, "-c", script], env={}, log=tmp_path / "log")
        started.append(program)
        return program

    yield begin
    for program in started:
        program.stop()


def wait_until(so: Callable[[], object]) -> None:
    until = time.monotonic() + 10
    while not so():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_program_is_stopped_with_all_that_it_started(start: Start) -> None:
    program = start(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(99)\n"
    )
    wait_until(program.tail)
    child = int(program.tail())

    assert program.runs()
    assert birth(child)

    program.stop()

    assert not program.runs()
    wait_until(lambda: birth(child) is None)


def test_a_program_that_does_not_heed_is_killed(start: Start) -> None:
    program = start(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(99)\n"
    )
    wait_until(program.tail)

    program.stop()

    assert not program.runs()


def test_a_program_that_has_ended_does_not_run(start: Start) -> None:
    program = start("print('said')")

    wait_until(lambda: not program.runs())

    assert program.tail() == "said"


def test_the_process_of_somebody_else_that_got_the_same_id_is_left_alone(start: Start) -> None:
    theirs = start("import time; time.sleep(99)")

    replace(theirs, born="at another time").stop()

    assert theirs.runs()


def test_a_program_gets_the_environment_it_is_given_and_no_other(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "theirs")

    program = start("import os; print('AWS_SECRET_ACCESS_KEY' in os.environ)")

    wait_until(program.tail)
    assert program.tail() == "False"
