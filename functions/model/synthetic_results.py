"""Results in the API's format for rows that were never sent or never answered."""

import msgspec

from functions.model.items.batch import CloseReason
from functions.model.rows import Rejection

_CLOSING_SENTENCES = {
    CloseReason.GONE: "the batch was deleted or archived at Anthropic before its results were downloaded",
    CloseReason.MISSING: "several downloads of the ended batch contained no result for this row",
    CloseReason.UNREADABLE: "several downloads of the ended batch contained no readable result for this row; "
    "the unreadable lines are in the folder unreadable/ beside results.jsonl",
    CloseReason.STUCK: "the relay failed several times to process the batch of this row; see its logs",
    CloseReason.LOST: "the result of this row was in a file that was deleted under work/",
}


def closed_result(closing: CloseReason) -> bytes:
    """Return the result of a row that the API did not answer."""
    if closing is CloseReason.CANCELED:
        return b'{"type":"canceled"}'
    error = {"type": closing.value, "message": _CLOSING_SENTENCES[closing]}
    inner = {"type": "error", "error": error, "request_id": None}
    return msgspec.json.encode({"type": "errored", "error": inner})


def rejected_result(rejection: Rejection) -> bytes:
    """Return the result of a row that was never sent."""
    return msgspec.json.encode({"type": "rejected", "error": rejection})
