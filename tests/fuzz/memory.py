"""The wires' far ends in memory, quick enough for tens of thousands of jobs: S3, SQS, SNS, and Claude's HTTP.

Everything of ours is the real one. `test_memory.py` shows that a job ends the same here as over moto.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import anthropic
import httpx2
import urllib3
from botocore.exceptions import ClientError

from functions.adapters.anthropic_api import Claude

type Answer = Callable[[httpx2.Request], httpx2.Response]


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "any")


NO_SUCH_KEY, NOT_FOUND, INVALID_RANGE = map(_error, ("NoSuchKey", "404", "InvalidRange"))


class _Body(io.BytesIO):
    """What `get_object` streams."""

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        return iter(lambda: self.read(size), b"")


@dataclass
class MemoryS3:
    """Buckets, of which the one for uploads keeps versions."""

    objects: dict[tuple[str, str, str | None], bytes] = field(default_factory=dict)
    tagged: set[str] = field(default_factory=set)
    _open: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)

    def get_object(
        self, *, Bucket: str, Key: str, Range: str = "", VersionId: str | None = None  # noqa: N803 - boto3's names
    ) -> dict[str, Any]:  # fmt: skip
        found = self.objects.get((Bucket, Key, VersionId))
        if found is None:
            raise NO_SUCH_KEY
        start, _, last = Range.removeprefix("bytes=").partition("-")
        if start and int(start) >= len(found):
            raise INVALID_RANGE
        stop = int(last) + 1 if last else None
        return {"Body": _Body(found[int(start or 0) : stop])}

    def head_object(self, *, Bucket: str, Key: str, **_: object) -> None:  # noqa: N803
        if (Bucket, Key, None) not in self.objects:
            raise NOT_FOUND

    def get_paginator(self, _listing: str) -> "MemoryS3":
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803
        keys = sorted(key for bucket, key, _ in self.objects if bucket == Bucket)
        return [{"Contents": [{"Key": key} for key in keys if key.startswith(Prefix)]}]

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: object) -> None:  # noqa: N803
        self.objects[Bucket, Key, None] = Body

    def put_object_tagging(self, *, Key: str, **_: object) -> None:  # noqa: N803
        self.tagged.add(Key)

    def create_multipart_upload(self, *, Key: str, **_: object) -> dict[str, str]:  # noqa: N803
        name = str(len(self._open))
        self._open[name] = (Key, {})
        return {"UploadId": name}

    def upload_part(
        self, *, UploadId: str, PartNumber: int, Body: bytes | IO[bytes], **_: object  # noqa: N803
    ) -> dict[str, str]:  # fmt: skip
        self._open[UploadId][1][PartNumber] = Body if isinstance(Body, bytes) else Body.read()
        return {"ETag": str(PartNumber)}

    def complete_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str, **_: object) -> None:  # noqa: N803  # fmt: skip
        parts = self._open.pop(UploadId)[1]
        self.objects[Bucket, Key, None] = b"".join(parts[number] for number in sorted(parts))


@dataclass
class MemorySqs:
    """Queues by URL."""

    queues: dict[str, list[str]] = field(default_factory=dict)

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> None:  # noqa: N803
        self.queues.setdefault(QueueUrl, []).extend(one["MessageBody"] for one in Entries)

    def drain(self, url: str) -> list[str]:
        return self.queues.pop(url, [])


@dataclass
class MemorySns:
    """A topic."""

    published: list[Mapping[str, Any]] = field(default_factory=list)

    def publish(self, **message: Any) -> None:
        self.published.append(message)


_held: dict[str, Answer] = {}


def _answered(asked: httpx2.Request) -> httpx2.Response:
    return _held["answer"](asked)


class _Wire:
    """urllib3's pools."""

    def request(self, method: str, url: str, **_: object) -> urllib3.BaseHTTPResponse:
        answer = _answered(httpx2.Request(method, url))
        body = io.BytesIO(answer.read())
        return urllib3.HTTPResponse(
            body, answer.headers, answer.status_code, preload_content=False
        )

    def clear(self) -> None:
        pass


_client = anthropic.Anthropic(
    api_key="sk-local", base_url="http://127.0.0.1", max_retries=0,
    http_client=httpx2.Client(transport=httpx2.MockTransport(_answered)),
)  # fmt: skip


def claude(answer: Answer) -> Claude:
    """Open the real door, and answer its requests; one at a time, since a client costs to make."""
    _held["answer"] = answer
    door = Claude(
        base_url="http://127.0.0.1", api_version="2026-10-21", read_key=lambda _fresh: "sk-local"
    )
    door.__dict__.update(_client=_client, _wire=_Wire())
    return door
