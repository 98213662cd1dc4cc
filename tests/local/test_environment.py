import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import environment
from local.errors import LocalError
from local.processes import Program, birth
from local.workspace import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path, folder=tmp_path / ".local")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    sleep = [sys.executable, "-c", "import time; time.sleep(99)"]
    program = Program.start(sleep, env={}, log=tmp_path / "log")
    yield program
    program.stop()


def note(home: Home, program: Program, **changes: object) -> None:
    """Write down a local cloud as a command that has started one does."""
    written = {
        "kind": "up",
        "starter": 1,
        "starter_born": "",
        "endpoint": "http://127.0.0.1:9",
        "claude": "simulator",
        "programs": [{"pid": program.pid, "born": program.born, "log": str(program.log)}],
        "digest": "d",
        "outputs": {"UploadsBucket": "u"},
        **changes,
    }
    (home.folder / "cloud").mkdir(parents=True)
    (home.folder / "cloud" / "running.json").write_text(json.dumps(written))


def test_what_is_up_is_found_by_a_later_command(home: Home, program: Program) -> None:
    note(home, program)

    found = environment.found(home)

    assert found is not None
    assert (found.outputs, found.programs) == ({"UploadsBucket": "u"}, (program,))


def test_what_a_killed_run_left_behind_is_stopped(home: Home, program: Program) -> None:
    note(home, program, kind="run", starter=999_999, starter_born="long ago")

    assert environment.found(home) is None
    assert not program.runs()


def test_a_cloud_that_was_never_completed_is_stopped(home: Home, program: Program) -> None:
    note(home, program, outputs={})

    assert environment.found(home) is None
    assert not program.runs()


def test_a_cloud_of_which_a_part_has_died_is_not_used(home: Home, program: Program) -> None:
    dead = {"pid": 999_999, "born": "1", "log": "log"}
    alive = {"pid": program.pid, "born": program.born, "log": "log"}
    note(home, program, programs=[alive, dead])

    assert environment.found(home) is None
    assert not program.runs()


def test_a_cloud_that_another_command_uses_for_itself_is_left_alone(
    home: Home, program: Program
) -> None:
    parent = os.getppid()
    note(home, program, kind="run", starter=parent, starter_born=birth(parent))

    with pytest.raises(LocalError, match=f"process {parent}"):
        environment.found(home)

    assert program.runs()


def test_with_nothing_running_there_is_nothing_to_stop(home: Home) -> None:
    assert environment.found(home) is None
    assert not environment.stop(home)


def test_a_note_that_cannot_be_read_is_as_none(home: Home, program: Program) -> None:
    note(home, program)
    (home.folder / "cloud" / "running.json").write_text('{"kind": "up"')

    assert environment.found(home) is None
