"""The line format of results.jsonl and errors.jsonl."""

import re

import msgspec

from functions.model.loose_json import parsable

_LINE = re.compile(rb'\{"row":(\d+),"custom_id":(.*?),"result":(.*)\}', re.DOTALL)
LINE_END = b"}\n"


class OutputLine(msgspec.Struct):
    """A line of results.jsonl; the result is not parsed."""

    row: int
    custom_id: msgspec.Raw
    result: msgspec.Raw


_decoder = msgspec.json.Decoder(OutputLine)


def read_output_lines(text: bytes) -> list[OutputLine]:
    """Read whole lines, without the last line feed.

    Raises:
        msgspec.DecodeError: a line has another form.
    """
    try:
        return _decoder.decode_lines(text)
    except RecursionError:  # a result is nested too deeply
        return [_split_line(line) for line in text.split(b"\n")]
    except msgspec.DecodeError:
        return [_read_odd_line(line) for line in text.split(b"\n")]


def _read_odd_line(line: bytes) -> OutputLine:
    """Read a line whose result may have what only some parsers accept."""
    try:
        known = _decoder.decode(parsable(line))
    except RecursionError:
        return _split_line(line)
    result_size = len(bytes(known.result))
    return OutputLine(known.row, known.custom_id, msgspec.Raw(line[-1 - result_size : -1]))


def _split_line(line: bytes) -> OutputLine:
    """Split a line into its members without parsing them."""
    members = _LINE.fullmatch(line)
    if members is None:
        message = "not a line of results"
        raise msgspec.DecodeError(message)
    row, custom_id, result = members.groups()
    return OutputLine(int(row), msgspec.Raw(custom_id), msgspec.Raw(result))


def line_head(row: int, custom_id: bytes | msgspec.Raw) -> bytes:
    """Return the line up to the result: the row, and the user's custom_id byte for byte."""
    return b'{"row":%d,"custom_id":%b,"result":' % (row, custom_id)


def output_line(row: int, custom_id: bytes | msgspec.Raw, result: bytes) -> bytes:
    """Return a whole line, with the result byte for byte."""
    return b"".join((line_head(row, custom_id), result, LINE_END))
