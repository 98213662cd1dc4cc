import socket
from contextlib import closing
from pathlib import Path

import pytest

from local.workspace import LOOPBACK, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(root=tmp_path, folder=tmp_path / ".local")


def test_a_port_is_saved_for_later_commands(workspace: Workspace) -> None:
    choose_claude = workspace.port("simulator")

    assert (
        Workspace(workspace.root, workspace.folder).port("simulator", must_be_free=True)
        == choose_claude
    )


def test_each_program_has_its_own_port(workspace: Workspace) -> None:
    assert workspace.port("simulator") != workspace.port("emulator")


def test_a_port_in_use_is_replaced_when_it_must_be_free(
    workspace: Workspace,
) -> None:
    choose_claude = workspace.port("simulator")
    with closing(socket.create_server((LOOPBACK, choose_claude))):
        assert workspace.port("simulator") == choose_claude
        another = workspace.port("simulator", must_be_free=True)

    assert another != choose_claude
    assert workspace.port("simulator") == another


def test_unreadable_ports_are_chosen_again(workspace: Workspace) -> None:
    workspace.folder.mkdir()
    (workspace.folder / "ports.json").write_text("{torn")

    assert workspace.port("simulator") > 0
