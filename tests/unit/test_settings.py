"""What infra writes, the function reads."""

from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from functions.errors import SettingError
from functions.settings import PollSettings, ResultsSettings, Settings, SubmitSettings

NEEDED = {
    "table_name": "t", "uploads_bucket": "u", "results_bucket": "r", "topic_arn": "a", "secret_name": "s",
    "submit_queue_url": "q1", "results_queue_url": "q2", "queue_url": "q",
}  # fmt: skip
KINDS: list[type[Settings]] = [SubmitSettings, PollSettings, ResultsSettings]


TEXTS = {"base_url": "https://gateway.example/v1", "api_version": "2023-06-01", "repeats": "run"}


@st.composite
def made(draw: st.DrawFn, kind: type[Settings]) -> Settings:
    """Draw every field of a kind of settings, within its bounds."""
    drawn: dict[str, Any] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        base, meta = (*get_args(hint), None)[:2] if get_origin(hint) is Annotated else (hint, None)
        if base is int:
            bounds: Any = meta or Meta(ge=0)
            drawn[name] = draw(st.integers(bounds.ge, bounds.le or 10**12))
        else:
            drawn[name] = TEXTS.get(name) or draw(st.text(max_size=9))
    return kind(**drawn)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_what_infra_writes_the_function_reads(kind: type[Settings], data: st.DataObject) -> None:
    settings = data.draw(made(kind))
    env = settings.to_env()

    assert kind.from_env(env | {"PATH": "/bin"}) == settings
    assert all(name == name.upper() and isinstance(value, str) for name, value in env.items())


@pytest.mark.parametrize("kind", KINDS)
def test_each_default_is_within_its_own_bounds(kind: type[Settings]) -> None:
    settings = kind.from_env({name.upper(): value for name, value in NEEDED.items()})

    assert kind.from_env(settings.to_env()) == settings


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


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
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
def test_a_wrong_value_is_refused_with_its_range(name: str, text: str, sentence: str) -> None:
    env = {key.upper(): value for key, value in NEEDED.items()} | {name: text}

    with pytest.raises(SettingError) as caught:
        SubmitSettings.from_env(env)

    assert str(caught.value).startswith(f"the setting {sentence}")


def test_no_setting_holds_the_key() -> None:
    """The key is in the secret alone; a function's environment names the secret."""
    names = {field.name for kind in KINDS for field in fields(kind)}

    assert {name for name in names if "key" in name or "secret" in name} == {"secret_name"}
