"""Local files: their bytes as readers read them, and checks before they are uploaded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.errors import NotFoundError, UsageError
from functions.errors import UnreadableUploadError
from functions.model.options import InvalidOptionsError, is_options_file, parse
from functions.readers import SUFFIXES, suffix_of
from functions.readers.detect import detect

_BLOCK = 1 << 20
_PLAIN = [suffix for suffix in SUFFIXES if suffix.count(".") == 1]
_READ = f"{', '.join(_PLAIN[:-1])} or {_PLAIN[-1]}"


@dataclass(frozen=True)
class LocalFile:
    """The bytes of a file, as readers read an upload."""

    path: Path

    @property
    def uri(self) -> str:
        """Its path, for error messages."""
        return str(self.path)

    @property
    def size_bytes(self) -> int:
        """Its length in bytes."""
        return self.path.stat().st_size

    @property
    def seekable(self) -> bool:
        """Whether reading from the middle is cheap."""
        return True

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Stream the bytes from ``start`` up to ``stop``."""
        left = (self.size_bytes if stop is None else stop) - start
        with self.path.open("rb") as file:
            file.seek(start)
            while left > 0 and (block := file.read(min(_BLOCK, left))):
                left -= len(block)
                yield block


def check_upload(file: Path) -> None:
    """Check what can be known about an upload from its name and its first bytes.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is a folder, it is empty, or no reader reads it.
    """
    check_name(file)
    check_not_empty(file)
    try:
        detect(LocalFile(file), file.name)
    except UnreadableUploadError as error:
        raise UsageError(str(error).replace("the upload", str(file), 1)) from error


def check_file_names(files: Iterable[Path]) -> None:
    """Check that the names of files are UTF-8, because keys, JSON and terminals take nothing else.

    Raises:
        UsageError: a name is not UTF-8.
    """
    for file in files:
        if any("\ud800" <= sign <= "\udfff" for sign in str(file)):
            message = f"the file name {str(file)!a} is not UTF-8: rename the file"
            raise UsageError(message)


def check_exists(file: Path) -> None:
    """Check that a path exists.

    Raises:
        NotFoundError: it does not.
    """
    if not file.exists():
        message = f"there is no file {file}"
        raise NotFoundError(message)


def check_name(file: Path) -> None:
    """Check what can be known about an upload from its name.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is a folder or an options file, or no reader reads it.
    """
    check_exists(file)
    for is_wrong, problem in (
        (not file.is_file(), f"is not a file: name files, such as {file}/*.jsonl"),
        (is_options_file(file.name), "is an options file: pass it with --options, after the file that it governs"),
        (suffix_of(file.name) is None, f"would be ignored: what ends in {_READ} is read; docs/formats.md names the compressed kinds"),
    ):  # fmt: skip
        if is_wrong:
            message = f"{file} {problem}"
            raise UsageError(message)


def check_not_empty(file: Path) -> None:
    """Check that a file has bytes: the relay waits a minute for a later version of an empty upload.

    Raises:
        UsageError: it has none.
    """
    if not file.stat().st_size:
        message = f"{file} is empty: there is nothing to send"
        raise UsageError(message)


def check_options(file: Path) -> bytes:
    """Return the content of an options file.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it is not TOML or JSON by its name, or it cannot be used.
    """
    if not file.is_file():
        message = f"there is no file {file}"
        raise NotFoundError(message)
    if file.suffix.lower() not in {".toml", ".json"}:
        message = f"{file} is not an options file: its name ends in .toml or .json"
        raise UsageError(message)
    content = file.read_bytes()
    try:
        parse(f"upload{file.suffix.lower()}", content)
    except InvalidOptionsError as error:
        message = f"{file}: {error}"
        raise UsageError(message) from error
    return content
