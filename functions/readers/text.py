"""Whether an upload is text at all, for readers of text formats."""

from collections.abc import Iterable, Iterator
from itertools import chain

from functions.errors import UnreadableUploadError

HEAD_BYTES = 64 * 1024


def checked_text(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Check the first 64 KiB of a whole upload, and return all of its blocks.

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

    A few bad bytes are rows to be rejected; more than one in ten is another kind of file.

    Raises:
        UnreadableUploadError: the upload is not text; the message names the offset of the first bad byte.
    """
    decoded = head.decode(errors="surrogateescape")
    decoded = decoded.rstrip("\0\x1a") or decoded  # what fills up the end of a file is no row
    bad = [spot for spot, char in enumerate(decoded) if _is_bad(char)]
    if len(bad) * 10 > len(decoded):
        offset = len(decoded[: bad[0]].encode(errors="surrogateescape"))
        raise UnreadableUploadError(offset)


def _is_bad(char: str) -> bool:
    return (char < " " and char not in "\t\n\r\f\b\x1b") or "\udc80" <= char <= "\udcff"
