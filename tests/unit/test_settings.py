"""What infra writes, the function reads."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.errors import SettingError
from functions.settings import PollSettings, ResultsSettings, Settings, SubmitSettings

NEEDED = {
    "table_name": "t", "uploads_bucket": "u", "results_bucket": "r", "topic_arn": "a", "secret_name": "s",
    "submit_queue_url": "q1", "results_queue_url": "q2", "queue_url": "q",
}  # fmt: skip
KINDS: list[type[Settings]] = [SubmitSettings, PollSettings, ResultsSettings]


def made(kind: type[Settings], number: int, text: str) -> Settings:
    own = {field.name: field.type for field in fields(kind)}
    given_ = {name: number if type_ is int else text for name, type_ in own.items()}
    return kind(**given_)  # type: ignore[arg-type]  # every field, by its own type


@pytest.mark.parametrize("kind", KINDS)
@given(number=st.integers(0, 10**12), text=st.text(max_size=9))
def test_what_infra_writes_the_function_reads(
    kind: type[Settings], number: int, text: str
) -> None:
    settings = made(kind, number, text)
    env = settings.to_env()

    assert kind.from_env(env | {"PATH": "/bin"}) == settings
    assert all(name == name.upper() and isinstance(value, str) for name, value in env.items())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_said_is_as_in_the_design(kind: type[Settings]) -> None:
    settings = kind.from_env({name.upper(): value for name, value in NEEDED.items()})

    assert (settings.base_url, settings.api_version, settings.retention_days) == (
        "https://api.anthropic.com", "2026-10-21", 90,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["table_name", "topic_arn"])
def test_a_setting_that_is_missing_is_named(kind: type[Settings], name: str) -> None:
    env = {key.upper(): value for key, value in NEEDED.items() if key != name}

    with pytest.raises(SettingError, match=name.upper()):
        kind.from_env(env)


def test_a_number_that_is_none_is_refused() -> None:
    env = {key.upper(): value for key, value in NEEDED.items()} | {"ATTEMPTS": "three"}

    with pytest.raises(SettingError, match="ATTEMPTS is no whole number: 'three'"):
        SubmitSettings.from_env(env)


def test_no_setting_holds_the_key() -> None:
    """The key is in the secret alone; a function's environment names the secret."""
    names = {field.name for kind in KINDS for field in fields(kind)}

    assert {name for name in names if "key" in name or "secret" in name} == {"secret_name"}
