"""The body of a create: spooled to disk, checked as a whole, and never held in memory."""

import codecs
import mmap
import re
import tempfile
from pathlib import Path

import msgspec

from local.simulator.errors import ApiError, invalid, parser_sentence, too_large
from local.simulator.http import Body, HangUpError

LIMIT_REQUESTS = 100_000
# "256 MB"; whether MB or MiB is nowhere said, so the smaller.
LIMIT_BYTES = 256_000_000
# What is beyond this is not even read to its end.
_PATIENCE_BYTES = 2 * LIMIT_BYTES
_LONGEST_ID = 64
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """One request; ``params`` is a view into the spooled body."""

    custom_id: str
    params: msgspec.Raw


class _Create(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[Request]


class Requests:
    """The requests of one create, valid as a whole.

    Args:
        items: in the order of the body.
    """

    def __init__(self, items: list[Request]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def find(self, text: str) -> str | None:
        """The first request with this text in its custom_id or params, in words; None without."""
        sought = text.encode()
        for index, item in enumerate(self.items):
            if text in item.custom_id or sought in bytes(item.params):
                return f"requests.{index} (custom_id {item.custom_id})"
        return None


def receive(body: Body, folder: Path) -> Requests:
    """Take in the body of a create.

    Args:
        body: read to its end, also where it is refused.
        folder: the body lies there, without a name, as long as its requests are in use.

    Raises:
        ApiError: it breaks a limit, or it is no valid create; nothing of it counts.
        HangUpError: it was cut off.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        size, text = 0, codecs.getincrementaldecoder("utf-8")()
        broken: ApiError | None = None
        for block in body.blocks():
            size += len(block)
            if size <= LIMIT_BYTES and not broken:
                file.write(block)
                broken = _unreadable(text, block)
            if size > _PATIENCE_BYTES:
                raise HangUpError
        if size > LIMIT_BYTES:
            message = "Request exceeds the maximum size"
            raise too_large(message)
        if broken or not size:
            raise broken or invalid("The request body is empty.")
        file.flush()
        return _checked(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _unreadable(text: codecs.IncrementalDecoder, block: bytes) -> ApiError | None:
    try:
        text.decode(block)
    except UnicodeDecodeError as error:
        return invalid(f"The request body is not valid JSON: it is no UTF-8 ({error.reason}).")
    return None


def _checked(content: mmap.mmap) -> Requests:
    try:
        items = msgspec.json.decode(content, type=_Create).requests
    except msgspec.ValidationError as error:
        raise invalid(parser_sentence(str(error))) from None
    except msgspec.DecodeError as error:
        message = f"The request body is not valid JSON: {error}"
        raise invalid(message) from None
    _check_count(len(items))
    known: set[str] = set()
    for index, item in enumerate(items):
        if wrong := _wrong(item):
            message = f"requests.{index}.{wrong}"
            raise invalid(message)
        if item.custom_id in known:
            # As the API says it, without the place.
            message = (
                "requests: custom_id's must be unique within a batch. "
                f"Duplicate custom_id found: {item.custom_id}"
            )
            raise invalid(message)
        known.add(item.custom_id)
    return Requests(items)


def _check_count(count: int) -> None:
    if not count:
        message = "requests: List should have at least 1 item after validation, not 0"
        raise invalid(message)
    if count > LIMIT_REQUESTS:
        message = f"requests: List should have at most {LIMIT_REQUESTS} items, not {count}"
        raise invalid(message)


def _wrong(item: Request) -> str:
    if not item.custom_id:
        return "custom_id: String should have at least 1 character"
    if len(item.custom_id) > _LONGEST_ID:
        return f"custom_id: String should have at most {_LONGEST_ID} characters"
    if not _CUSTOM_ID.fullmatch(item.custom_id):
        return "custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"
    if memoryview(item.params)[0] != ord("{"):
        return "params: Input should be a valid dictionary"
    return ""
