"""Deterministic requests and answers that resemble real prompts."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

ROW_BYTES = 2_430
RESULT_BYTES = 2_150
FAILING = 100
"""One row in this many fails permanently and has a line in errors.jsonl and retry.jsonl."""

_PARAGRAPH = (
    'The customer writes:\n"I ordered three lamps on the 4th, and two arrived; the third was said to be '
    "'on its way' — since then, nothing.\"\n\nSort the message into one of: delivery, payment, product, other. "
)
_INVALID = (
    b'{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error",'
    b'"message":"max_tokens: Field required"},"request_id":null}}'
)


def write_upload(file: Path, rows: int) -> None:
    """Write an upload of rows of `ROW_BYTES`, with line breaks, quotes and dashes as in real text."""
    text = _of_size(ROW_BYTES - len(_row(0, "")))
    with file.open("wb") as upload:
        upload.writelines(_row(number, text) for number in range(rows))


def _row(number: int, text: str) -> bytes:
    turn = {"role": "user", "content": f"{number:09}\n{text}"}
    params = {"model": "claude-haiku-4-5", "max_tokens": 512, "messages": [turn]}
    return msgspec.json.encode({"custom_id": f"row-{number:09}", "params": params}) + b"\n"


def _of_size(size: int) -> str:
    """Repeat the paragraph until it is this long, as JSON."""
    escaped = len(msgspec.json.encode(_PARAGRAPH)) - 2
    return _PARAGRAPH * (size // escaped) + "." * (size % escaped)


def write_results(file: Path, custom_ids: Sequence[str]) -> None:
    """Write a batch's results in another order than its requests."""
    with file.open("wb") as results:
        results.writelines(answers([custom_id.encode() for custom_id in custom_ids]))


def answers(custom_ids: Sequence[bytes]) -> Iterator[bytes]:
    """Answer requests in another order, with a line of `RESULT_BYTES` each, except failures."""
    shuffled = list(enumerate(custom_ids))
    random.Random(4).shuffle(shuffled)  # noqa: S311 - has to be deterministic
    text = _of_size(RESULT_BYTES - len(_line(b"0" * 47, _answer(0, ""))))
    before, _, after = _answer(0, text).partition(b"0" * 24)
    for number, custom_id in shuffled:
        failed = number % FAILING == 0
        yield _line(custom_id, _INVALID if failed else b"%b%024d%b" % (before, number, after))


def _line(custom_id: bytes, result: bytes) -> bytes:
    return b'{"custom_id":"%b","result":%b}\n' % (custom_id, result)


def _answer(number: int, text: str) -> bytes:
    usage = {
        "input_tokens": 600, "output_tokens": 500, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "service_tier": "batch",
    }  # fmt: skip
    message = {
        "id": f"msg_{number:024}", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    return msgspec.json.encode({"type": "succeeded", "message": message})
