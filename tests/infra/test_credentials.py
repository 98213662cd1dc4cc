"""`make deploy` without credentials says so before it builds anything."""

import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra import credentials

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("environment", "code", "says"),
    [
        ({}, 1, "there are no AWS credentials: set AWS_PROFILE"),
        ({"AWS_PROFILE": "gone"}, 1, "The config profile (gone) could not be found"),
        ({"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}, 0, ""),
    ],
)
def test_missing_credentials_are_one_sentence(
    tmp_path: Path, environment: dict[str, str], code: int, says: str
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "infra.credentials"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == code
    assert says in process.stderr
    assert len(process.stderr.splitlines()) == code


def test_the_metadata_service_is_asked_only_where_it_answers_quickly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere, its silence would take more than the two seconds in which the sentence is printed."""
    waits: list[float] = []

    def connect(address: tuple[str, int], timeout_s: float) -> socket.socket:
        assert address == credentials.EC2_METADATA
        waits.append(timeout_s)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path)})

    assert credentials.problem() == credentials.MESSAGE
    assert sum(waits) <= 0.5
    assert os.environ["AWS_EC2_METADATA_DISABLED"] == "true"


@pytest.mark.parametrize("target", ["bootstrap", "deploy", "destroy"])
@pytest.mark.parametrize("terminal", [True, False])
def test_without_credentials_make_says_one_sentence_and_installs_nothing(
    tmp_path: Path, target: str, *, terminal: bool
) -> None:
    """At a terminal, the sentence is the last line; a script gets the exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.run(  # noqa: S603 - a list made here
        ["make", target, "CDK_LIBRARY=not-installed", "--old-file=.venv/.installed"],  # noqa: S607 - the make of PATH
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stderr=theirs if terminal else subprocess.PIPE,
        stdout=subprocess.PIPE,
        check=False,
    )
    os.close(theirs)
    said = os.read(ours, 4096) if terminal else process.stderr
    os.close(ours)

    first, *others = said.decode().splitlines()
    assert first == credentials.MESSAGE
    assert process.stdout == b""
    if terminal:
        assert (process.returncode, others) == (0, [])
    else:
        assert process.returncode == 2
        assert len(others) == 1  # `make: *** …`
