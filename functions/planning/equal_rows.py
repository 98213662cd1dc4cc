"""Find rows of a chunk whose params are equal, byte for byte as they are sent: they share one request.

Only rows of one chunk are compared. So memory does not grow with the upload, and each chunk is complete: it is sent,
split, sent again and collected without reading another chunk.
"""

from hashlib import blake2b

_DIGEST_BYTES = 16
"""Among 100,000 rows, two different ones have the same digest with a probability of 10^-29."""


class EqualRows:
    """The first row with each params.

    Args:
        once: whether equal rows share a request; otherwise none is ever found.
    """

    def __init__(self, *, once: bool) -> None:
        self._once = once
        self._first_rows: dict[bytes, int] = {}

    def first(self, params: bytes | None) -> int:
        """Return the first row with these params; 0 if there is none."""
        if not self._first_rows or params is None:
            return 0
        return self._first_rows.get(_digest(params), 0)

    def add(self, params: bytes, row: int) -> None:
        """Remember the params of a row that is sent."""
        if self._once:
            self._first_rows[_digest(params)] = row


def _digest(params: bytes) -> bytes:
    return blake2b(params, digest_size=_DIGEST_BYTES).digest()
