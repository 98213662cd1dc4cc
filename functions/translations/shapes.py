"""Check the shape of a row's members. Each function raises `NotTranslatableError` with the code ``malformed_row``."""

from collections.abc import Mapping
from typing import Any, NoReturn

from functions.translations.contract import NotTranslatableError


def malformed(where: str, expected: str) -> NoReturn:
    """Raise for a member that is missing or has another shape."""
    sentence = f'"{where}" is missing or malformed; it must be {expected}'
    raise NotTranslatableError(code="malformed_row", sentence=sentence)


def object_of(value: object, where: str) -> Mapping[str, Any]:
    """Return the member if it is an object."""
    return value if isinstance(value, dict) else malformed(where, "an object")


def list_of(value: object, where: str) -> list[Any]:
    """Return the member if it is a list."""
    return value if isinstance(value, list) else malformed(where, "a list")


def text_of(value: object, where: str) -> str:
    """Return the member if it is a string."""
    return value if isinstance(value, str) else malformed(where, "a string")
