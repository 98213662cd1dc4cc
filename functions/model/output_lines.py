"""The lines of results.jsonl and errors.jsonl."""

import msgspec

LINE_END = b"}\n"


def line_head(row: int, custom_id: bytes | msgspec.Raw) -> bytes:
    """Write what stands before the result in a line of results.jsonl: the row, and the user's custom_id byte for byte."""
    return b'{"row":%d,"custom_id":%b,"result":' % (row, custom_id)


def output_line(row: int, custom_id: bytes | msgspec.Raw, result: bytes) -> bytes:
    """Write a line of results.jsonl; the result, too, is as it came."""
    return b"".join((line_head(row, custom_id), result, LINE_END))
