"""Recognize the encoding of an upload, and turn it into UTF-8."""

import codecs
import re
from collections.abc import Iterator

from functions.errors import UnreadableUploadError
from functions.model.streams import cut
from functions.readers.contract import Source
from functions.readers.derived import DerivedSource

_ERRORS = {"utf-16-le": "strict", "utf-16-be": "strict", "cp1252": "surrogateescape"}
"""Encodings other than UTF-8, and what happens to bytes that are invalid in them.

The five bytes that cp1252 does not use stay as they are, which is invalid UTF-8. So only their rows are rejected.
"""

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_NUL_SAMPLE = 4096
_RUN, _LONG_RUN = re.compile(rb"[\x80-\xff]+"), re.compile(rb"[\x80-\xff]{3,}")
"""Characters beyond ASCII, one after another."""
_NOT_CP1252 = re.compile(rb"[\x00-\x07\x0e-\x19\x1c-\x1f\x81\x8d\x8f\x90\x9d]")
"""Bytes that do not occur in cp1252 text. DOS ends files with Ctrl-Z."""


def encoding_of(head: bytes) -> str:
    """Return the encoding of a text as Python names it: ``utf-8``, ``utf-16-le``, ``utf-16-be`` or ``cp1252``.

    Args:
        head: the first bytes of the text.

    Raises:
        UnreadableUploadError: the text is UTF-32.
    """
    marks = (name for mark, name in _BYTE_ORDER_MARKS.items() if head.startswith(mark))
    encoding = next(marks, None) or _encoding_by_nuls(head[:_NUL_SAMPLE])
    if encoding == "utf-32":
        message = "the upload is UTF-32 text, which is not supported; save it as UTF-8"
        raise UnreadableUploadError(message)
    return encoding or ("cp1252" if _is_cp1252(head) else "utf-8")


def _encoding_by_nuls(head: bytes) -> str | None:
    """Recognize UTF-16 and UTF-32 by the NULs that ASCII characters have there, always in the same places."""
    characters = len(head) // 4
    nuls = [head[place::4].count(0) for place in range(4)]
    for high, low in (nuls[:2], nuls[2:]), (nuls[2:], nuls[:2]):
        if characters and min(high) * 10 >= 9 * characters and min(low) * 2 < characters:
            return "utf-32"
    even, odd = nuls[0] + nuls[2], nuls[1] + nuls[3]
    if not characters or max(even, odd) * 10 < characters or min(even, odd) * 10 > max(even, odd):
        return None
    if max(even, odd) * 10 < len(head) and _is_utf8(head):
        return None  # NULs of UTF-8 text, so few that it can be read
    return "utf-16-be" if even > odd else "utf-16-le"


def _is_utf8(head: bytes) -> bool:
    """Return whether bytes are UTF-8, but for a character that their end cuts."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _is_cp1252(head: bytes) -> bool:
    """Return whether a text that is not UTF-8 may be cp1252.

    A file in UTF-8 may have a few invalid bytes, and then only those rows are rejected. In cp1252 most
    characters beyond ASCII are letters between letters, so that runs of them are short.
    """
    if _is_utf8(head):
        return False  # counting takes a fifth of a second
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(head)
    invalid = sum("\udc80" <= char <= "\udcff" for char in text)
    valid = sum(char > "\x7f" for char in text) - invalid
    if invalid <= valid or _NOT_CP1252.search(head.rstrip(b"\0\x1a")):
        return False
    return len(_LONG_RUN.findall(head)) * 10 <= len(_RUN.findall(head))


def transcoded(source: Source, encoding: str) -> Source:
    """Return the text of an upload in UTF-8. A byte order mark is kept; readers skip it.

    Args:
        source: the upload, unpacked.
        encoding: ``utf-8``, ``utf-16-le``, ``utf-16-be`` or ``cp1252``.

    Returns:
        The source itself if it is in UTF-8, otherwise one that is not seekable. Its `read` raises
        UnreadableUploadError if the bytes are not UTF-16.
    """
    if encoding == "utf-8":
        return source
    return DerivedSource(source, lambda: _transcode(source, encoding))


def _transcode(source: Source, encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(_ERRORS[encoding])
    offset = 0
    for block in cut(source.read()):
        text = _decode(decoder, block, offset)
        offset += len(block)
        if text:
            yield text.encode(errors=_ERRORS[encoding])
    _decode(decoder, b"", offset)


def _decode(decoder: codecs.IncrementalDecoder, block: bytes, offset: int) -> str:
    """Decode a block that begins at an offset; an empty block ends the text."""
    before = len(decoder.getstate()[0])
    try:
        return decoder.decode(block, final=not block)
    except UnicodeDecodeError as error:
        message = (
            f"the upload is not {error.encoding.upper()} text from offset {offset - before + error.start:,} "
            "on; check whether the file is cut off, or save it as UTF-8"
        )
        raise UnreadableUploadError(message) from error
