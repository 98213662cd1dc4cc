from pathlib import Path

import pytest

from local.api_endpoint import choose_claude
from local.errors import LocalError
from local.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(root=tmp_path, folder=tmp_path / ".local")


def test_the_simulator_is_used_unless_the_real_api_is_requested(workspace: Workspace) -> None:
    claude = choose_claude(workspace, {"ANTHROPIC_API_KEY": "sk-ant-real"})

    assert claude.base_url.startswith("http://127.0.0.1:")
    assert claude.key == "sk-local"


def test_the_real_api_gets_the_key_of_the_environment_and_the_deployed_settings(
    workspace: Workspace,
) -> None:
    claude = choose_claude(workspace, {"CLAUDE": "real", "ANTHROPIC_API_KEY": " sk-ant-real\n"})

    assert (claude.base_url, claude.key) == ("https://api.anthropic.com", "sk-ant-real")
    assert claude.variables() == {"BASE_URL": "https://api.anthropic.com"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"CLAUDE": "real"}, "ANTHROPIC_API_KEY"), ({"CLAUDE": "reel"}, "CLAUDE=real")],
)
def test_an_invalid_choice_raises_an_error_that_explains_it(
    workspace: Workspace, environment: dict[str, str], expected: str
) -> None:
    with pytest.raises(LocalError, match=expected):
        choose_claude(workspace, environment)


def test_a_key_never_appears_in_a_repr(workspace: Workspace) -> None:
    claude = choose_claude(workspace, {"CLAUDE": "real", "ANTHROPIC_API_KEY": "sk-ant-real"})

    assert "sk-ant-real" not in repr(claude)
