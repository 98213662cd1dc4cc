"""Settings are written by infra and read by the functions."""

from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from functions.errors import SettingError
from functions.settings import PollSettings, ResultsSettings, Settings, SubmitSettings

REQUIRED = {
    "table_name": "t", "uploads_bucket": "u", "results_bucket": "r", "topic_arn": "a", "secret_name": "s",
    "submit_queue_url": "q1", "results_queue_url": "q2", "queue_url": "q",
}  # fmt: skip
SETTINGS_TYPES: list[type[Settings]] = [SubmitSettings, PollSettings, ResultsSettings]


TEXTS = {
    "base_url": "https://gateway.example/v1",
    "api_version": "2023-06-01",
    "repeats": "run",
    "report": "figures",
    "workspace_id": "default",
}


@st.composite
def drawn_settings(draw: st.DrawFn, settings_type: type[Settings]) -> Settings:
    """Draw every field of a settings type within its bounds."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(settings_type, include_extras=True).items():
        base, meta = (*get_args(hint), None)[:2] if get_origin(hint) is Annotated else (hint, None)
        if base is int:
            bounds: Any = meta or Meta(ge=0)
            values[name] = draw(st.integers(bounds.ge, bounds.le or 10**12))
        elif base is bool:
            values[name] = draw(st.booleans())
        else:
            values[name] = TEXTS.get(name) or draw(st.text(max_size=9))
    return settings_type(**values)


@pytest.mark.parametrize("settings_type", SETTINGS_TYPES)
@given(data=st.data())
def test_settings_survive_the_environment(
    settings_type: type[Settings], data: st.DataObject
) -> None:
    settings = data.draw(drawn_settings(settings_type))
    env = settings.to_env()

    assert settings_type.from_env(env | {"PATH": "/bin"}) == settings
    assert all(name == name.upper() and isinstance(value, str) for name, value in env.items())


@pytest.mark.parametrize("settings_type", SETTINGS_TYPES)
def test_each_default_is_within_its_bounds(settings_type: type[Settings]) -> None:
    settings = settings_type.from_env({name.upper(): value for name, value in REQUIRED.items()})

    assert settings_type.from_env(settings.to_env()) == settings


@pytest.mark.parametrize("settings_type", SETTINGS_TYPES)
def test_missing_settings_have_their_defaults(settings_type: type[Settings]) -> None:
    settings = settings_type.from_env({name.upper(): value for name, value in REQUIRED.items()})

    assert (settings.base_url, settings.api_version, settings.retention_days) == (
        "https://api.anthropic.com", "2026-10-21", 90,
    )  # fmt: skip


@pytest.mark.parametrize("settings_type", SETTINGS_TYPES)
@pytest.mark.parametrize("name", ["table_name", "topic_arn"])
def test_a_missing_setting_is_named(settings_type: type[Settings], name: str) -> None:
    env = {key.upper(): value for key, value in REQUIRED.items() if key != name}

    with pytest.raises(SettingError, match=name.upper()):
        settings_type.from_env(env)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ATTEMPTS", "three", "ATTEMPTS is 'three', but must be a whole number from 1 to 9"),
        ("ATTEMPTS", "10", "ATTEMPTS is '10', but must be a whole number from 1 to 9"),
        ("BATCH_BYTES", "0", "BATCH_BYTES is '0', but must be a whole number of at least 1"),
        ("REPEATS", "often", "REPEATS is 'often', but must be 'skip' or 'run'"),
        ("API_VERSION", "latest", "API_VERSION is 'latest', but must be a version of the API such as"),
        ("BASE_URL", "http://proxy.example", "BASE_URL is 'http://proxy.example', but must be an https"),
        ("ROW_BYTES", "x" * 99, f"ROW_BYTES is '{'x' * 40}', but must be"),
    ],
)  # fmt: skip
def test_an_invalid_value_raises_an_error_with_the_range(
    name: str, text: str, message: str
) -> None:
    env = {key.upper(): value for key, value in REQUIRED.items()} | {name: text}

    with pytest.raises(SettingError) as caught:
        SubmitSettings.from_env(env)

    assert str(caught.value).startswith(f"the setting {message}")


def test_no_setting_contains_the_key() -> None:
    """Only the secret contains the key; the environment has the secret's name."""
    names = {field.name for settings_type in SETTINGS_TYPES for field in fields(settings_type)}

    assert {name for name in names if "key" in name or "secret" in name} == {
        "secret_name",
        "admin_secret_name",
    }
