"""Read the API key from Secrets Manager.

The secret is the plain key, or JSON such as ``{"ANTHROPIC_API_KEY": "sk-ant-…"}``, which the console's
key/value editor writes.
"""

from functools import cache
from typing import Any

import boto3
import msgspec
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.clients import QUICK
from functions.errors import UNREADABLE_JSON, KeyMissingError, KeyUnreadableError

NAME = "ANTHROPIC_API_KEY"
UNSET_KEY = "not-set-yet"
"""The secret's initial value. Functions pause sending while it is unchanged."""


def is_key(text: str) -> bool:
    """Return whether a text may be a key. Any other is no valid header value, so every request would fail."""
    return bool(text) and text != UNSET_KEY and text.isascii() and text.isprintable()


@cache
def _secrets_manager() -> SecretsProvider:
    # The default session is the one that is traced; Powertools would open another.
    return SecretsProvider(boto_config=QUICK, boto3_session=boto3.DEFAULT_SESSION)


def read_key(secret_name: str, *, fresh: bool) -> str:
    """Return the API key from a secret.

    Args:
        secret_name: the secret's name or ARN.
        fresh: whether to bypass the cache, which keeps values for a few seconds.

    Raises:
        KeyUnreadableError: the secret cannot be read; the message has AWS's error code.
        KeyMissingError: the secret is JSON without a key, or not text.
    """
    try:
        # Powertools declares str, but returns bytes for a binary secret.
        stored: Any = _secrets_manager().get(secret_name, force_fetch=fresh)
    except (GetParameterError, ClientError, BotoCoreError) as error:
        raise KeyUnreadableError(_code(error)) from None
    return key_of(stored)


def key_of(stored: str | bytes) -> str:
    """Return the API key from the value of a secret.

    Raises:
        KeyMissingError: the value is JSON without a key, or not text.
    """
    text = _from_bytes(stored) if isinstance(stored, bytes) else str(stored)
    return _from_json(text) if text.lstrip().startswith("{") else text


def _code(error: Exception) -> str:
    """Return AWS's error code. Powertools wraps the original error."""
    cause = error.__cause__ or error.__context__ or error
    if isinstance(cause, ClientError):
        return str(cause.response["Error"]["Code"])
    return type(cause).__name__


def _from_bytes(stored: bytes) -> str:
    """Return the text of a binary secret, as tools store it that read a file."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        message = "the secret is not UTF-8 text; store the API key as plain text"
        raise KeyMissingError(message) from None


def _from_json(text: str) -> str:
    try:
        members = msgspec.json.decode(text, type=dict[str, Any])
    except UNREADABLE_JSON:
        members = {}
    key = members.get(NAME)
    if not isinstance(key, str):
        message = (
            f'the secret is JSON without "{NAME}"; store the API key as plain text, or as '
            f'{{"{NAME}": "sk-ant-…"}}'
        )
        raise KeyMissingError(message) from None
    return key
