"""Files on this machine, as planning reads objects of the uploads bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.local_files import LocalFile
from functions.errors import ObjectNotFoundError, ObjectUnreadableError
from functions.model.items.stored_objects import ObjectVersion
from functions.model.options import options_file_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FOLDER_OPTIONS = ("_relay.toml", "_relay.json")


@dataclass(frozen=True)
class LocalBucket:
    """The folder of a file as the uploads bucket: paths below it are keys.

    Attributes:
        root: the folder.
        options: key of an options file → the path to read instead; None for a file that must not be read.
        on_read: called with the number of bytes of each block of an upload.
    """

    root: Path
    options: dict[str, Path | None]
    on_read: Callable[[int], None]

    def read(
        self, source: ObjectVersion, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """Stream a file, or its bytes ``start`` to ``stop``.

        Raises:
            ObjectUnreadableError: the file cannot be read.
        """
        try:
            for block in LocalFile(self.path_of(source.key)).read(start, stop):
                self.on_read(len(block))
                yield block
        except OSError as error:
            raise ObjectUnreadableError(source.uri, _why(error)) from error

    def read_small(self, bucket: str, key: str, limit: int) -> tuple[ObjectVersion, bytes] | None:
        """Read the first `limit` bytes of an options file. Return None if there is none.

        Raises:
            ObjectUnreadableError: the file cannot be read.
        """
        path = self.options.get(key, self.root / key)
        if path is None or not path.is_file():
            return None
        source = ObjectVersion(bucket, key)
        try:
            with path.open("rb") as file:
                return source, file.read(limit)
        except FileNotFoundError as error:
            raise ObjectNotFoundError(source.uri, _why(error)) from error
        except OSError as error:
            raise ObjectUnreadableError(source.uri, _why(error)) from error

    def path_of(self, key: str) -> Path:
        """Return the path of an upload or of an options file."""
        return self.options.get(key) or self.root / key


def local_bucket_of(
    file: Path, options: Path | None, on_read: Callable[[int], None]
) -> tuple[LocalBucket, str]:
    """Return the folder that stands for a file's bucket, and the file's key.

    The outermost folder above the file that has an options file is taken for the bucket's root.

    Args:
        file: the file.
        options: the options file of this file alone; None for the one beside it.
        on_read: called with the number of bytes of each block of an upload.
    """
    folder = file.parent.resolve()
    with_options = [place for place in (folder, *folder.parents) if _has_options(place)]
    root = with_options[-1] if with_options else folder
    key = (folder / file.name).relative_to(root).as_posix()
    return LocalBucket(root, _own_options(key, options), on_read), key


def _own_options(key: str, options: Path | None) -> dict[str, Path | None]:
    """Return where the options file of one upload is read, if it is not beside it."""
    if options is None:
        return {}
    *_, (toml, json) = options_file_keys(key)
    is_json = options.suffix.lower() == ".json"
    return {toml: None if is_json else options, json: options if is_json else None}


def _has_options(folder: Path) -> bool:
    try:
        return any((folder / name).is_file() for name in _FOLDER_OPTIONS)
    except PermissionError:
        return False


def _why(error: OSError) -> str:
    return f"cannot be read ({error.strerror}); check its permissions"
