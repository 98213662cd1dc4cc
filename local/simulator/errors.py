"""The two kinds of errors: answers of the API, and misuse of the simulator.

ApiError      an answer with the API's error shape
ControlError  an unknown fault, option or batch; the message names it
"""

import re
from collections.abc import Mapping


class ApiError(Exception):
    """An error answer of the API.

    Args:
        status: HTTP status.
        kind: the API's error type: ``invalid_request_error``, ``not_found_error``, …
        message: one sentence.
        headers: additional headers, such as ``retry-after``.
        details: the ``details`` object of the error, if it has one.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.error: dict[str, object] = {"type": kind, "message": message}
        if details is not None:
            self.error["details"] = dict(details)


class ControlError(Exception):
    """The fault, option or batch does not exist."""


def invalid(message: str) -> ApiError:
    """Build the API's 400."""
    return ApiError(400, "invalid_request_error", message)


def not_found(message: str) -> ApiError:
    """Build the API's 404."""
    return ApiError(404, "not_found_error", message)


def too_large(message: str) -> ApiError:
    """Build the API's 413."""
    return ApiError(413, "request_too_large", message)


_MISSING = re.compile(r"Object missing required field `(\w+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_WRONG_TYPE = re.compile(r"Expected `(\w+)[^`]*`, got .*", re.DOTALL)
_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "array": "list",
    "object": "dictionary",
}


def api_message(message: str) -> str:
    """Translate msgspec's message to the API's: ``messages.0.role: Field required``."""
    problem, _, path = message.partition(" - at `$")
    location = re.sub(r"\[(\d+)\]", r".\1", path).strip("`.")
    if missing := _MISSING.fullmatch(problem):
        location, problem = f"{location}.{missing[1]}".strip("."), "Field required"
    elif unknown := _UNKNOWN.fullmatch(problem):
        location, problem = f"{location}.{unknown[1]}".strip("."), "Extra inputs are not permitted"
    elif wrong := _WRONG_TYPE.fullmatch(problem):
        problem = f"Input should be a valid {_TYPES.get(wrong[1], wrong[1])}"
    return f"{location}: {problem}" if location else problem
