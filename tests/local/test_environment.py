import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from local import commands, environment
from local.errors import LocalError
from local.processes import Program, start_time
from local.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(root=tmp_path, folder=tmp_path / ".local")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    sleep = [sys.executable, "-c", "import time; time.sleep(99)"]
    program = Program.start(sleep, env={}, log=tmp_path / "log")
    yield program
    program.stop()


def write_running_file(workspace: Workspace, program: Program, **changes: object) -> None:
    """Write running.json as the command that starts a local cloud does."""
    content = {
        "kind": "up",
        "owner_pid": 1,
        "owner_started_at": "",
        "endpoint": "http://127.0.0.1:9",
        "claude": "simulator",
        "programs": [
            {"pid": program.pid, "started_at": program.started_at, "log": str(program.log)}
        ],
        "digest": "d",
        "outputs": {"UploadsBucket": "u"},
        **changes,
    }
    (workspace.folder / "cloud").mkdir(parents=True)
    (workspace.folder / "cloud" / "running.json").write_text(json.dumps(content))


def test_a_later_command_finds_a_running_environment(
    workspace: Workspace, program: Program
) -> None:
    write_running_file(workspace, program)

    running = environment.find_running(workspace)

    assert running is not None
    assert (running.outputs, running.programs) == ({"UploadsBucket": "u"}, (program,))


def test_leftovers_of_a_killed_run_are_stopped(workspace: Workspace, program: Program) -> None:
    write_running_file(
        workspace, program, kind="run", owner_pid=999_999, owner_started_at="long ago"
    )

    assert environment.find_running(workspace) is None
    assert not program.is_running()


def test_an_incomplete_environment_is_stopped(workspace: Workspace, program: Program) -> None:
    write_running_file(workspace, program, outputs={})

    assert environment.find_running(workspace) is None
    assert not program.is_running()


def test_an_environment_with_a_dead_program_is_not_used(
    workspace: Workspace, program: Program
) -> None:
    ended = {"pid": 999_999, "started_at": "1", "log": "log"}
    running = {"pid": program.pid, "started_at": program.started_at, "log": "log"}
    write_running_file(workspace, program, programs=[running, ended])

    assert environment.find_running(workspace) is None
    assert not program.is_running()


def test_an_environment_of_another_running_command_is_left_alone(
    workspace: Workspace, program: Program
) -> None:
    parent = os.getppid()
    write_running_file(
        workspace, program, kind="run", owner_pid=parent, owner_started_at=start_time(parent)
    )

    with pytest.raises(LocalError, match=f"process {parent}"):
        environment.find_running(workspace)

    assert program.is_running()


def test_stop_does_nothing_when_nothing_is_running(workspace: Workspace) -> None:
    assert environment.find_running(workspace) is None
    assert not environment.stop(workspace)


def test_the_clients_of_a_local_cloud_are_created_once(
    workspace: Workspace, program: Program
) -> None:
    write_running_file(workspace, program)
    found = environment.peek(workspace)

    assert found is not None
    assert found.cloud.s3 is found.cloud.s3


def test_the_settings_of_a_shell_point_its_aws_clients_at_the_local_cloud(
    workspace: Workspace, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    write_running_file(workspace, program)

    commands.env(Namespace(), workspace, Console())

    bash = ["bash", "-c", f"{capsys.readouterr().out}\nenv"]
    set_before = {"PATH": os.environ["PATH"], "AWS_PROFILE": "mine", "AWS_SESSION_TOKEN": "mine"}
    shell = subprocess.run(bash, env=set_before, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    settings = [line for line in shell.stdout.splitlines() if line.startswith("AWS_")]
    assert sorted(settings) == [
        "AWS_ACCESS_KEY_ID=111122223333",
        "AWS_DEFAULT_REGION=us-east-1",
        "AWS_ENDPOINT_URL=http://127.0.0.1:9",
        "AWS_REGION=us-east-1",
        "AWS_SECRET_ACCESS_KEY=local",
    ]


def test_without_a_local_cloud_there_are_no_settings(workspace: Workspace) -> None:
    with pytest.raises(LocalError, match="make up"):
        commands.env(Namespace(), workspace, Console())


def test_an_unreadable_running_file_is_ignored(workspace: Workspace, program: Program) -> None:
    write_running_file(workspace, program)
    (workspace.folder / "cloud" / "running.json").write_text('{"kind": "up"')

    assert environment.find_running(workspace) is None
