"""Detect the format of an upload from its content.

The first bytes decide. The suffix of the key is used only where they are ambiguous, because people rename files.
"""

import re
from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import NoReturn

from functions.errors import UnreadableUploadError
from functions.model.upload_format import UploadFormat
from functions.readers.brackets import BracketScanner
from functions.readers.containers import container_of, unpacked
from functions.readers.contract import Source
from functions.readers.encodings import encoding_of, transcoded
from functions.readers.json_values import wraps_requests
from functions.readers.text import HEAD_BYTES as CHECKED_BYTES
from functions.readers.text import check_text

HEAD_BYTES = 1 << 20
"""Leading bytes of an upload that show its format."""
_TAIL_BYTES = 1 << 16
"""Bytes at the end of a zip archive that are searched for its list of files."""
_CONTAINER_SUFFIXES = (".gz", ".zst", ".bz2")
_TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_SPACE = b" \t\r\n\x00\x1a"
_FRONT = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n\x00\x1a])*+")
"""Byte order marks and white space before the text. Files that were put together may have several marks."""
_CP1252 = (
    "read as Windows-1252 (cp1252), because the text is not UTF-8; save it as UTF-8 if characters "
    "are wrong"
)
_ZIP = b"PK\x03\x04"
_PARQUET = b"PAR1"
_ARCHIVE = "upload the files inside it one by one; gzip, zstd and bzip2 are unpacked"
_EXPORT = "export it as CSV or JSON Lines"
_BINARY = [
    (rb"%PDF-", "a PDF", "upload rows, such as JSON Lines; put a PDF into a row, as a document block"),
    (rb".{257}ustar", "a tar archive", _ARCHIVE),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _ARCHIVE),
    (rb"Rar!\x1a\x07", "a RAR archive", _ARCHIVE),
    (rb"PK(?:\x05\x06|\x07\x08)", "an empty or split zip archive", _ARCHIVE),
    (rb"\xfd7zXZ\0", "compressed with xz", "compress it with gzip, zstd or bzip2 instead"),
    (rb"\x04\x22\x4d\x18", "compressed with LZ4", "compress it with gzip, zstd or bzip2 instead"),
    (rb"\x1f[\x9d\xa0]", "compressed with compress", "compress it with gzip, zstd or bzip2 instead"),
    (rb"\xff\x06\0\0sNaPpY", "compressed with Snappy", "compress it with gzip, zstd or bzip2 instead"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook from before 2007 (.xls) or with a password", "save it as .xlsx without a password, or as CSV"),
    (rb"PARE", "an encrypted Parquet file", "write it without encryption"),
    (rb"Obj\x01", "an Avro file", _EXPORT),
    (rb"ORC", "an ORC file", _EXPORT),
    (rb"ARROW1|FEA1", "an Arrow or Feather file", _EXPORT),
    (rb"SQLite format 3\0", "an SQLite database", _EXPORT),
]  # fmt: skip
_ZIPPED = [
    (b"xl/workbook.bin", "a binary Excel workbook (.xlsb)", "save it as .xlsx or as CSV"),
    (b"application/vnd.oasis.opendocument", "an OpenDocument file", "save it as .xlsx or as CSV"),
    (b"word/document.xml", "a Word document", "upload a table, such as CSV, or JSON Lines"),
]
_TEXT = [
    (rb"version https://git-lfs\.github\.com/", "a Git LFS pointer instead of the file", "run 'git lfs pull' and upload the file"),
    (rb"(?i:<!doctype html|<html\b)", "an HTML page", "check where it was downloaded from, and upload rows, such as JSON Lines"),
    (rb"<\?xml\b|<[A-Za-z!]", "XML", _EXPORT),
    (rb"\{\\rtf", "a rich text document", "save it as plain text, as JSON Lines or CSV"),
]  # fmt: skip
"""Unsupported kinds of file: a pattern of the content, what the file is, and what to do."""
_YAML = re.compile(
    rb"%YAML\b|---[ \t]*\r?\n|"
    rb"(?:- )?[\w-]+:(?:[ \t][^\n]*)?\r?\n[ \t]*(?:- )?[\w-]+:(?:[ \t]|\r?\n|\Z)"
)
"""The first lines of YAML. A column of text may contain such lines, too."""
_ARRAY = re.compile(rb'\[[ \t\r\n]*(?:[\[\]{"\d-]|null\b|true\b|false\b|\Z)')
_SEPARATOR_LINE = re.compile(rb'"?sep=', re.IGNORECASE)
_ARRAY_OF_ROWS = re.compile(rb"\[[ \t\r\n]*(?:[{\]]|\Z)")
"""How an array begins whose elements may be rows. The header of a table may begin like any other array."""
_QUOTED = re.compile(rb'"(?:[^"]|"")*+"')
_DELIMITERS = b",;\t|"


def detect(source: Source, key: str) -> UploadFormat:
    """Return the format of an upload. An upload without content is JSON Lines.

    Args:
        source: the object as it is stored.
        key: its key.

    Raises:
        UnreadableUploadError: the upload is of a kind that is not read; the message names it.
        ObjectUnreadableError: S3 refuses the upload.
    """
    if not source.size_bytes:
        return UploadFormat()  # S3 refuses a range of an empty object
    head = _head_of(source)
    container = container_of(head)
    if container is not None:
        source = unpacked(source, container)
        head = _head_of(source)
        _refuse_nested(container, head)
    reader = _binary_reader(source, head)
    if reader is not None:
        return UploadFormat(reader=reader, container=container)
    encoding = encoding_of(head)
    text = transcoded(source, encoding)
    head = head if text is source else _head_of(text)
    check_text(head[:CHECKED_BYTES])
    return UploadFormat(
        reader=_text_reader(text, head, key),
        container=container,
        encoding=encoding,
        notices=[_CP1252] if encoding == "cp1252" else [],
    )


def _head_of(source: Source) -> bytes:
    return b"".join(source.read(0, HEAD_BYTES))


def _refuse(what: str, remedy: str) -> NoReturn:
    message = f"the upload is {what}; {remedy}"
    raise UnreadableUploadError(message)


def _refuse_kinds(kinds: list[tuple[bytes, str, str]], head: bytes) -> None:
    for start, what, remedy in kinds:
        if re.match(start, head, re.DOTALL):
            _refuse(what, remedy)


def _refuse_nested(container: str, head: bytes) -> None:
    inner = container_of(head)
    if inner is not None:
        _refuse(f"{inner} data inside {container} data", "compress it once")


def _binary_reader(source: Source, head: bytes) -> str | None:
    """Return the reader of a binary format; None for text.

    Raises:
        UnreadableUploadError: the upload is of a binary kind that is not read.
    """
    _refuse_kinds(_BINARY, head)
    if head.startswith(_PARQUET):
        if not source.seekable:
            _refuse(
                "a compressed Parquet file", "upload it as it is; its data is compressed within"
            )
        return "parquet"
    return _zip_reader(source, head) if head.startswith(_ZIP) else None


def _zip_reader(source: Source, head: bytes) -> str:
    """Return the reader of a workbook. Other zip archives are refused."""
    names = head
    if source.seekable:  # the list of all files is at the end
        names += b"".join(source.read(max(0, source.size_bytes - _TAIL_BYTES)))
    for name, what, remedy in _ZIPPED:
        if name in names:
            _refuse(what, remedy)
    if b"[Content_Types].xml" not in names or b"xl/" not in names:
        _refuse("a zip archive", _ARCHIVE)
    return "xlsx"


def _text_reader(text: Source, head: bytes, key: str) -> str:
    """Return the reader of a text in UTF-8.

    Raises:
        UnreadableUploadError: the upload is of a kind of text that is not read.
    """
    start = _FRONT.sub(b"", head, count=1)
    _refuse_kinds(_TEXT, start)
    if start.startswith(b"{"):
        rest = _rest_of(text, len(head))
        return "json" if _is_over_lines(start, rest) else "jsonl"
    is_table_by_name = _suffix_of(key) in _TABLE_SUFFIXES
    if (_ARRAY_OF_ROWS if is_table_by_name else _ARRAY).match(start):
        return "json"
    if start and is_table_by_name:
        return "csv"
    if _YAML.match(start):
        _refuse("YAML", "convert it to JSON, for example with 'yq -o json'")
    return "csv" if _is_table(start) else "jsonl"


def _suffix_of(key: str) -> str:
    """Return the suffix of a key without that of a container: ``.csv`` of ``rows.CSV.gz``."""
    name = key.lower()
    for suffix in _CONTAINER_SUFFIXES:
        name = name.removesuffix(suffix)
    return "." + name.rpartition(".")[2]


def _is_over_lines(start: bytes, rest: Iterator[bytes]) -> bool:
    """Return whether an upload that begins with an object is JSON other than JSON Lines.

    Args:
        start: its first bytes.
        rest: the others.
    """
    line, feed, following = start.partition(b"\n")
    brackets = BracketScanner()
    end = brackets.find_end(line, 0)
    if brackets.is_open and feed:
        # A line feed within valid JSON is next to punctuation. In a row that was cut off it may be.
        is_beside_punctuation = line.rstrip().endswith((b"{", b"[", b",", b":")) or (
            following.lstrip().startswith((b"}", b"]", b",", b":"))
        )
        return is_beside_punctuation and not _whole_rows_follow(following)
    if wraps_requests(chain([start], rest)):
        return True
    after = b"" if brackets.is_open else start[end:].lstrip(_SPACE)
    return after.startswith(b",")  # an array without its brackets


def _whole_rows_follow(text: bytes) -> bool:
    """Return whether an object that is open before these lines was cut off, because they are rows by themselves.

    Inside an object, a line that is a whole object is never followed by another one without a comma. Lines that
    are cut off, too, are passed over.
    """
    lines = [line for line in (line.strip(_SPACE) for line in text.split(b"\n")) if line]
    for line, after in zip_longest(lines, lines[1:], fillvalue=b"{"):
        if not line.startswith(b"{"):
            return False
        brackets = BracketScanner()
        end = brackets.find_end(line, 0)
        if not brackets.is_open:
            return end == len(line) and after.startswith(b"{")
    return False


def _rest_of(text: Source, offset: int) -> Iterator[bytes]:
    """Read the rest of the upload, lazily."""
    yield from text.read(offset)


def _is_table(start: bytes) -> bool:
    """Return whether a text looks like CSV: a delimiter occurs equally often in its first two lines."""
    if _SEPARATOR_LINE.match(start):
        return True
    header, _, rest = start.partition(b"\n")
    row = rest.partition(b"\n")[0]
    if row.startswith((b"{", b"[")):
        return False
    header, row = _QUOTED.sub(b"", header), _QUOTED.sub(b"", row)
    counts = [(header.count(delimiter), row.count(delimiter)) for delimiter in _DELIMITERS]
    return any(count and count == below for count, below in counts)
