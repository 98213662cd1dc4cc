import socket
from contextlib import closing
from pathlib import Path

import pytest

from local.workspace import LOOPBACK, Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path, folder=tmp_path / ".local")


def test_a_port_is_chosen_once_and_kept_for_later_commands(home: Home) -> None:
    chosen = home.port("simulator")

    assert Home(home.root, home.folder).port("simulator", idle=True) == chosen


def test_each_program_has_a_port_of_its_own(home: Home) -> None:
    assert home.port("simulator") != home.port("emulator")


def test_a_port_that_another_program_has_is_given_up_where_an_idle_one_is_wanted(
    home: Home,
) -> None:
    chosen = home.port("simulator")
    with closing(socket.create_server((LOOPBACK, chosen))):
        assert home.port("simulator") == chosen
        another = home.port("simulator", idle=True)

    assert another != chosen
    assert home.port("simulator") == another


def test_ports_that_cannot_be_read_are_chosen_anew(home: Home) -> None:
    home.folder.mkdir()
    (home.folder / "ports.json").write_text("{torn")

    assert home.port("simulator") > 0
