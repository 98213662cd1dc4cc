"""Find where a JSON value ends by counting brackets, in text that arrives in blocks. Nothing is validated."""

import re

_BRACKET = re.compile(
    rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+([{}\[\]])?', re.DOTALL
)
"""Matches up to the next bracket outside of strings. Group 1 is unset if the text ends or a string stays open."""
_STRING_BODY = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_DEPTH = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}


class BracketScanner:
    """Finds the end of one value after another.

    Attributes:
        is_open: whether the value continues in the next block.
    """

    def __init__(self, *, in_string: bool = False) -> None:
        """Build a scanner; ``in_string`` if the text begins after the opening quotation mark of a string."""
        self._depth = 0
        self._in_string = self.is_open = in_string
        self._escaped = False

    def find_end(self, text: bytes, offset: int) -> int:
        """Return the offset after the value's last byte; the length of the text if the value continues."""
        while offset < len(text):
            if self._in_string:
                offset = self._skip_string(text, offset)
            else:
                offset = self._skip_to_bracket(text, offset)
            self.is_open = self._in_string or self._depth > 0
            if not self.is_open:
                break
        return offset

    def _skip_string(self, text: bytes, offset: int) -> int:
        offset = match_end(_STRING_BODY, text, offset + self._escaped)
        self._escaped = text[offset : offset + 1] == b"\\"  # the last byte of this text
        self._in_string = self._escaped or offset >= len(text)
        return min(offset + 1, len(text))

    def _skip_to_bracket(self, text: bytes, offset: int) -> int:
        bracket = _BRACKET.match(text, offset)
        if bracket is None or bracket[1] is None:
            offset = match_end(_BRACKET, text, offset)
            self._in_string = offset < len(text)
            return min(offset + 1, len(text))
        self._depth += _DEPTH[bracket[1]]
        return bracket.end()


def match_end(pattern: re.Pattern[bytes], text: bytes, offset: int) -> int:
    """Return the end of a pattern's match at an offset; the offset itself if it does not match."""
    match = pattern.match(text, offset)
    return offset if match is None else match.end()
