"""The secret as operators fill it, and its failures: each has a message without the key."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from functions.adapters import secret
from functions.errors import KeyMissingError, KeyUnreadableError

NAME = "relay/key"


@pytest.fixture(autouse=True)
def secrets() -> Iterator[Any]:
    with mock_aws():
        secret._secrets_manager.cache_clear()  # noqa: SLF001
        yield boto3.client("secretsmanager")
        secret._secrets_manager.cache_clear()  # noqa: SLF001


@pytest.mark.parametrize(
    "text",
    ["sk-ant-1", '{"ANTHROPIC_API_KEY": "sk-ant-1"}', ' {"ANTHROPIC_API_KEY":"sk-ant-1"}\n'],
)
def test_a_key_is_plain_text_or_a_member_of_json(secrets: Any, text: str) -> None:
    secrets.create_secret(Name=NAME, SecretString=text)

    assert secret.read_key(NAME, fresh=True) == "sk-ant-1"


def test_a_key_stored_as_bytes_is_read_as_text(secrets: Any) -> None:
    secrets.create_secret(Name=NAME, SecretBinary=b'{"ANTHROPIC_API_KEY": "sk-ant-1"}')

    assert secret.read_key(NAME, fresh=True) == "sk-ant-1"


def test_bytes_that_are_not_text_are_refused_with_a_sentence(secrets: Any) -> None:
    secrets.create_secret(Name=NAME, SecretBinary=b"sk-ant-1\xff")

    with pytest.raises(KeyMissingError, match="the secret is not UTF-8 text") as caught:
        secret.read_key(NAME, fresh=True)
    assert "sk-ant-1" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"key": "sk-ant-1"}', '{"ANTHROPIC_API_KEY": 5}', "{sk-ant-1"])
def test_json_without_a_key_raises_key_missing(secrets: Any, text: str) -> None:
    secrets.create_secret(Name=NAME, SecretString=text)

    with pytest.raises(KeyMissingError, match=r'JSON without "ANTHROPIC_API_KEY"') as caught:
        secret.read_key(NAME, fresh=True)
    assert "sk-ant-1" not in str(caught.value)
    assert caught.value.reason == "key_missing"


def test_a_missing_secret_raises_key_unreadable() -> None:
    with pytest.raises(KeyUnreadableError, match="ResourceNotFoundException") as caught:
        secret.read_key(NAME, fresh=True)
    assert caught.value.reason == "key_unreadable"


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (
            ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetSecretValue"),
            "AccessDenied",
        ),
        (ClientError({"Error": {"Code": "DecryptionFailure"}}, "GetSecretValue"), "Decryption"),
        (EndpointConnectionError(endpoint_url="https://aws"), "EndpointConnectionError"),
    ],
)
def test_the_reason_that_a_secret_is_unreadable_is_named(error: Exception, problem: str) -> None:
    failing = patch("botocore.client.BaseClient._make_api_call", side_effect=error)

    with failing, pytest.raises(KeyUnreadableError, match=problem):
        secret.read_key(NAME, fresh=True)
