"""Answer calls that count the input tokens of one request: those that its answer would be billed for."""

from collections.abc import Set as AbstractSet

import msgspec

from local.simulator.answers import count_input_tokens
from local.simulator.errors import ApiError, invalid
from local.simulator.params import ParamsError, validate

MEMBERS = frozenset({
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control",
})  # fmt: skip
"""https://platform.claude.com/docs/en/api/messages-count-tokens; SDK 2.14 has the same."""
MAX_BYTES = 32_000_000


def count_tokens(body: bytes, version: str, models: AbstractSet[str]) -> int:
    """Return the input tokens of a request.

    Raises:
        ApiError: the API would refuse it.
    """
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise invalid(str(error)) from None
    if unknown := sorted(members.keys() - MEMBERS):
        message = f"{unknown[0]}: Extra inputs are not permitted"
        raise invalid(message)
    try:
        params = msgspec.json.encode({**members, "max_tokens": 1})
        parsed = validate(params, version, models)
    except ParamsError as error:
        status = 404 if error.kind == "not_found_error" else 400
        raise ApiError(status, error.kind, str(error)) from None
    return count_input_tokens(params, parsed)
