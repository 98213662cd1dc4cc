"""Read the members of a row. A member of a wrong type rejects the row with a sentence that names it."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeIs

from functions.translations.contract import NotTranslatableError

MAX_DEPTH = 100
"""The deepest nesting of what is sent verbatim, so that it can be encoded again."""
_MAX_INTEGER = 2**53


def invalid(field: str, expected: str) -> NotTranslatableError:
    """Return the error for a member whose value is wrong."""
    return NotTranslatableError("invalid_field", f'"{field}" must be {expected}')


def mapping(value: object, field: str) -> Mapping[str, Any]:
    """Return the value, an object."""
    if not isinstance(value, Mapping):
        raise invalid(field, "an object")
    return value


def array(value: object, field: str) -> Sequence[Any]:
    """Return the value, an array."""
    if not isinstance(value, list):
        raise invalid(field, "an array")
    return value


def text(value: object, field: str) -> str:
    """Return the value, a string."""
    if not isinstance(value, str):
        raise invalid(field, "a string")
    return value


def name(value: object, field: str) -> str:
    """Return the value, a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise invalid(field, "a string that is not empty")
    return value


def flag(value: object, field: str) -> bool | None:
    """Return the value, true or false; None if it is null."""
    if value is not None and not isinstance(value, bool):
        raise invalid(field, "true or false")
    return value


def count(value: object, field: str) -> int | None:
    """Return the value, a whole number from 1; None if it is null."""
    if value is None:
        return None
    if not _is_number(value) or not 1 <= value <= _MAX_INTEGER or value != int(value):
        raise invalid(field, "a whole number of at least 1")
    return int(value)


def number(value: object, field: str, highest: float) -> float | None:
    """Return the value, a number from 0 to `highest`; None if it is null."""
    if value is None:
        return None
    if not _is_number(value) or not 0 <= value <= highest:
        raise invalid(field, f"a number from 0 to {highest:g}")
    return value


def shallow[Json: Mapping[str, Any]](value: Json, field: str) -> Json:
    """Return an object unless it is nested too deeply to be encoded again."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise invalid(field, f"nested at most {MAX_DEPTH} levels deep")


def _is_number(value: object) -> TypeIs[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _inside(value: Mapping[str, Any] | list[Any]) -> list[Any]:
    """Return the arrays and objects directly inside an array or object."""
    inner = value.values() if isinstance(value, Mapping) else value
    return [one for one in inner if isinstance(one, Mapping | list)]
