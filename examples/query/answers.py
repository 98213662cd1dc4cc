"""Read a results.jsonl into columns: the same for every job, even when no row failed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS = [
    "job",
    "row",
    "custom_id",
    "outcome",
    "answer",
    "stop_reason",
    "error",
    "message",
    "input_tokens",
    "output_tokens",
]


def answers(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the columns of each row, in order; None for what a row does not have."""
    with path.open(encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            result, custom_id = line["result"], line["custom_id"]
            message, error = result.get("message"), result.get("error", {})
            error = error.get("error", error)  # the API wraps its errors, a rejection does not
            usage = message["usage"] if message else {}
            yield {
                "job": path.parent.name,
                "row": line["row"],
                "custom_id": custom_id,
                "outcome": result["type"],
                "answer": message and text_of(message),
                "stop_reason": message and message["stop_reason"],
                "error": error.get("code") or error.get("type"),
                "message": error.get("message"),
                "input_tokens": usage.get("input_tokens"),
                "output_tokens": usage.get("output_tokens"),
            }


def text_of(message: dict[str, Any]) -> str:
    """Return the text of an answer, without its thinking."""
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")
