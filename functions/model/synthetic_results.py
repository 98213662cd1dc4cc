"""Results in the API's format for rows that were never sent or never answered."""

import msgspec

from functions.model.items import CloseReason
from functions.model.rows import Rejection

_CLOSING_SENTENCES = {
    CloseReason.GONE: "the batch was deleted or archived at Anthropic before its results were fetched",
    CloseReason.MISSING: "the batch ended without a result for this row, in several downloads",
    CloseReason.STUCK: "the relay could not process this row's batch in several tries; see its logs",
}


def closing_result(closing: CloseReason) -> bytes:
    """Return the result of a row that the API did not answer."""
    if closing is CloseReason.CANCELED:
        return b'{"type":"canceled"}'
    error = {"type": closing.value, "message": _CLOSING_SENTENCES[closing]}
    inner = {"type": "error", "error": error, "request_id": None}
    return msgspec.json.encode({"type": "errored", "error": inner})


def rejected_result(rejection: Rejection) -> bytes:
    """Return the result of a row that was never sent."""
    return msgspec.json.encode({"type": "rejected", "error": rejection})
