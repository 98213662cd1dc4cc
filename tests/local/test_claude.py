from pathlib import Path

import pytest

from local.claude import chosen
from local.errors import LocalError
from local.workspace import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path, folder=tmp_path / ".local")


def test_nothing_is_sent_to_the_real_api_unless_it_is_asked_for(home: Home) -> None:
    claude = chosen(home, {"ANTHROPIC_API_KEY": "sk-ant-real"})

    assert claude.base_url.startswith("http://127.0.0.1:")
    assert claude.key == "sk-local"


def test_the_real_api_gets_the_key_of_the_environment_and_waits_as_deployed(home: Home) -> None:
    claude = chosen(home, {"CLAUDE": "real", "ANTHROPIC_API_KEY": " sk-ant-real\n"})

    assert (claude.base_url, claude.key) == ("https://api.anthropic.com", "sk-ant-real")
    assert claude.context() == {"baseUrl": "https://api.anthropic.com"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [({"CLAUDE": "real"}, "ANTHROPIC_API_KEY"), ({"CLAUDE": "reel"}, "CLAUDE=real")],
)
def test_a_choice_that_cannot_be_made_is_a_sentence(
    home: Home, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(LocalError, match=said):
        chosen(home, environment)


def test_a_key_never_shows(home: Home) -> None:
    claude = chosen(home, {"CLAUDE": "real", "ANTHROPIC_API_KEY": "sk-ant-real"})

    assert "sk-ant-real" not in repr(claude)
