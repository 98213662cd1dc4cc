"""What the readers of text formats share: is an upload text, and how do sentences quote it?"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from functions.errors import UnreadableUploadError

HEAD_BYTES = 64 * 1024
"""Leading bytes of an upload that are checked."""
_INVALID = re.compile(r"[\x00-\x07\x0b\x0e-\x1a\x1c-\x1f\udc80-\udcff]")
"""Control characters that texts do not have, and bytes that are not UTF-8."""


def checked_text(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Check the first 64 KiB of an upload and return all of its blocks.

    Args:
        blocks: the upload from its first byte on.

    Raises:
        UnreadableUploadError: the upload is not text.
    """
    blocks, head = iter(blocks), b""
    while len(head) < HEAD_BYTES and (block := next(blocks, b"")):
        head += block
    check_text(head[:HEAD_BYTES])
    return chain([head], blocks)


def check_text(head: bytes) -> None:
    """Check the first 64 KiB of an upload.

    A few invalid characters lead to rejected rows. More than one invalid character in ten means another kind of
    file.

    Raises:
        UnreadableUploadError: the upload is not text; the message has the offset of the first invalid byte.
    """
    decoded = head.decode(errors="surrogateescape")
    decoded = decoded.rstrip("\0\x1a") or decoded  # padding at the end of a file
    invalid = [match.start() for match in _INVALID.finditer(decoded)]
    if len(invalid) * 10 > len(decoded):
        offset = len(decoded[: invalid[0]].encode(errors="surrogateescape"))
        message = (
            f"the upload is not UTF-8 text (first invalid byte at offset {offset:,}); save it as "
            "UTF-8, or upload a supported format"
        )
        raise UnreadableUploadError(message)


def printable(text: str) -> str:
    """Return a text of the upload as a sentence may quote it: each line break or control character is a space."""
    return "".join(char if char.isprintable() else " " for char in text)
