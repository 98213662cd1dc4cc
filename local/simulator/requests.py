"""Validate the body of a create; it is spooled to disk, never held in memory."""

import codecs
import mmap
import re
import tempfile
from pathlib import Path

import msgspec

from local.simulator.errors import ApiError, api_message, invalid, too_large
from local.simulator.http import Body, HangUpError

LIMIT_REQUESTS = 100_000
# "256 MB"; the documentation does not distinguish MB and MiB, so the smaller.
LIMIT_BYTES = 256_000_000
# A larger body is not read to its end.
_MAX_READ_BYTES = 2 * LIMIT_BYTES
_MAX_ID_LENGTH = 64
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """One request; ``params`` is a view into the spooled body."""

    custom_id: str
    params: msgspec.Raw


class _Create(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[Request]


class Requests:
    """The valid requests of one create.

    Args:
        items: in the order of the body.
    """

    def __init__(self, items: list[Request]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def find(self, text: str) -> str | None:
        """Describe the first request with this text in its custom_id or params, or return None."""
        needle = text.encode()
        for index, item in enumerate(self.items):
            if text in item.custom_id or needle in bytes(item.params):
                return f"requests.{index} (custom_id {item.custom_id})"
        return None


def receive(body: Body, folder: Path) -> Requests:
    """Read and validate the body of a create.

    Args:
        body: read to its end, even if it is rejected.
        folder: holds the body in an unnamed file while its requests are in use.

    Raises:
        ApiError: it exceeds a limit or is invalid; nothing is accepted.
        HangUpError: it was cut off.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        size, decoder = 0, codecs.getincrementaldecoder("utf-8")()
        error: ApiError | None = None
        for block in body.blocks():
            size += len(block)
            if size <= LIMIT_BYTES and not error:
                file.write(block)
                error = _encoding_error(decoder, block)
            if size > _MAX_READ_BYTES:
                raise HangUpError
        if size > LIMIT_BYTES:
            message = "Request exceeds the maximum size"
            raise too_large(message)
        if error or not size:
            raise error or invalid("The request body is empty.")
        file.flush()
        return _parse(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _encoding_error(decoder: codecs.IncrementalDecoder, block: bytes) -> ApiError | None:
    try:
        decoder.decode(block)
    except UnicodeDecodeError as error:
        return invalid(f"The request body is not valid JSON: it is not UTF-8 ({error.reason}).")
    return None


def _parse(content: mmap.mmap) -> Requests:
    try:
        items = msgspec.json.decode(content, type=_Create).requests
    except msgspec.ValidationError as error:
        raise invalid(api_message(str(error))) from None
    except msgspec.DecodeError as error:
        message = f"The request body is not valid JSON: {error}"
        raise invalid(message) from None
    _check_count(len(items))
    seen: set[str] = set()
    for index, item in enumerate(items):
        if problem := _problem(item):
            message = f"requests.{index}.{problem}"
            raise invalid(message)
        if item.custom_id in seen:
            # The API's message, which has no index.
            message = (
                "requests: custom_id's must be unique within a batch. "
                f"Duplicate custom_id found: {item.custom_id}"
            )
            raise invalid(message)
        seen.add(item.custom_id)
    return Requests(items)


def _check_count(count: int) -> None:
    if not count:
        message = "requests: List should have at least 1 item after validation, not 0"
        raise invalid(message)
    if count > LIMIT_REQUESTS:
        message = f"requests: List should have at most {LIMIT_REQUESTS} items, not {count}"
        raise invalid(message)


def _problem(item: Request) -> str:
    if not item.custom_id:
        return "custom_id: String should have at least 1 character"
    if len(item.custom_id) > _MAX_ID_LENGTH:
        return f"custom_id: String should have at most {_MAX_ID_LENGTH} characters"
    if not _CUSTOM_ID.fullmatch(item.custom_id):
        return "custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"
    if memoryview(item.params)[0] != ord("{"):
        return "params: Input should be a valid dictionary"
    return ""
