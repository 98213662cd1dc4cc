"""The line format of results.jsonl and errors.jsonl."""

import msgspec

LINE_END = b"}\n"


def line_head(row: int, custom_id: bytes | msgspec.Raw) -> bytes:
    """Return the line up to the result: the row, and the user's custom_id byte for byte."""
    return b'{"row":%d,"custom_id":%b,"result":' % (row, custom_id)


def output_line(row: int, custom_id: bytes | msgspec.Raw, result: bytes) -> bytes:
    """Return a whole line, with the result byte for byte."""
    return b"".join((line_head(row, custom_id), result, LINE_END))
