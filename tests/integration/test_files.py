"""Server-side joins, and interrupted downloads."""

import io
import random
import time
import zlib
from base64 import b64encode
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError, IncompleteReadError
from urllib3 import HTTPResponse

from functions.adapters.s3 import ObjectStore
from functions.errors import DownloadError, ObjectNotFoundError
from functions.model import multipart_plan
from functions.model.items.stored_objects import ObjectVersion, StoredObject
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import RESULTS, UPLOADS, Harness

MIB = 1 << 20


@pytest.fixture
def relay(moto_relay: Harness) -> Harness:
    """Use moto: parts, ranges and retries are real requests there."""
    return moto_relay


def write_pieces(relay: Harness, *sizes: int) -> tuple[list[StoredObject], bytes]:
    bodies = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    files = relay.results.files
    stored_pieces = [files.write(f"work/{n}", iter([body])) for n, body in enumerate(bodies)]
    return stored_pieces, b"".join(bodies)


@pytest.mark.parametrize(
    "sizes",
    [
        (), (0, 0), (3, 0, 5), (6 * MIB,), (6 * MIB, 7 * MIB), (MIB, 6 * MIB, 3),
        (MIB, 20 * MIB, MIB, MIB, 9 * MIB), (4 * MIB, 4 * MIB, 4 * MIB),
    ],
)  # fmt: skip
def test_join_handles_pieces_of_any_size(relay: Harness, sizes: tuple[int, ...]) -> None:
    stored_pieces, expected = write_pieces(relay, *sizes)

    joined = relay.results.files.join("results/all", stored_pieces, "work/joined")

    stored = relay.s3.get_object(Bucket=RESULTS, Key="results/all", ChecksumMode="ENABLED")
    assert stored["Body"].read() == expected
    if "-" in stored["ETag"]:  # moto stores no checksum for objects that were put in one request
        assert stored["ChecksumType"] == "FULL_OBJECT"
        assert stored["ChecksumCRC32"] == _encode_crc32(zlib.crc32(expected))
    assert (joined.size, joined.crc32) == (len(expected), zlib.crc32(expected))


@pytest.mark.parametrize("size", [0, 3, 5 * MIB, 12 * MIB])
def test_every_write_carries_its_checksum(relay: Harness, size: int) -> None:
    sent: list[tuple[bytes, str]] = []

    def record_part(params: dict[str, Any], **_: object) -> None:
        sent.append((params["body"].read(), params["headers"]["x-amz-checksum-crc32"]))
        params["body"].seek(0)

    for operation in ("PutObject", "UploadPart"):
        relay.s3.meta.events.register(f"before-call.s3.{operation}", record_part)
    body = random.Random(size).randbytes(size)  # noqa: S311 - any bytes will do

    piece = relay.results.files.write(
        "work/1", (body[offset : offset + MIB] for offset in range(0, size, MIB))
    )

    assert len(sent) == max(1, -(-size // (5 * MIB)))
    assert all(checksum == _encode_crc32(zlib.crc32(part)) for part, checksum in sent)
    assert (piece.size, piece.crc32) == (size, zlib.crc32(body))
    stored = relay.s3.get_object(Bucket=RESULTS, Key="work/1", ChecksumMode="ENABLED")
    assert stored["Body"].read() == body
    if len(sent) > 1:
        expected = (stored["ChecksumType"], stored["ChecksumCRC32"])
        assert expected == ("FULL_OBJECT", _encode_crc32(zlib.crc32(body)))


@pytest.mark.usefixtures("no_retry_delays")
def test_a_part_is_resent_completely_after_a_5xx(relay: Harness) -> None:
    answers = [500, 200, 200, 503, 200]

    def respond_busy(request: Any, **_: object) -> Any:
        status = answers.pop(0)
        if status == 200:
            return None
        request.body.read(1)
        answer = HTTPResponse(io.BytesIO(), status=status, preload_content=False)
        return AWSResponse("", status, HTTPHeaders(), answer)

    relay.s3.meta.events.register_first("before-send.s3.UploadPart", respond_busy)
    body = random.Random(1).randbytes(11 * MIB)  # noqa: S311 - any bytes will do
    files = ObjectStore(RESULTS, client=relay.s3, threads=1)

    files.write("work/1", [body])

    assert not answers
    assert relay.s3.get_object(Bucket=RESULTS, Key="work/1")["Body"].read() == body


def _encode_crc32(crc32: int) -> str:
    return b64encode(crc32.to_bytes(4)).decode()


def test_join_handles_more_pieces_than_parts_allowed(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart_plan, "MAX_PARTS", 3)
    stored_pieces, expected = write_pieces(relay, *[6 * MIB] * 7)

    with reject_requests(relay.s3, "PutObjectTagging", S3ErrorResponse(403, "AccessDenied")):
        relay.results.files.join("results/all", stored_pieces, "work/joined")

    assert relay.s3.get_object(Bucket=RESULTS, Key="results/all")["Body"].read() == expected
    keys = [entry["Key"] for entry in relay.s3.list_objects_v2(Bucket=RESULTS)["Contents"]]
    assert [key for key in keys if key.startswith("results/")] == ["results/all"]


@pytest.mark.parametrize("operation", ["UploadPart", "UploadPartCopy", "CompleteMultipartUpload"])
def test_a_failed_join_leaves_no_multipart_upload(relay: Harness, operation: str) -> None:
    stored_pieces, _ = write_pieces(relay, MIB, 9 * MIB, 6 * MIB)
    denied = S3ErrorResponse(403, "AccessDenied")

    with reject_requests(relay.s3, operation, denied, "results/all"), pytest.raises(ClientError):
        relay.results.files.join("results/all", stored_pieces, "work/joined")

    assert "Uploads" not in relay.s3.list_multipart_uploads(Bucket=RESULTS)


def test_a_failed_abort_does_not_hide_the_original_error(relay: Harness) -> None:
    stored_pieces, _ = write_pieces(relay, 6 * MIB, 6 * MIB)
    not_found, denied = S3ErrorResponse(404, "NoSuchKey"), S3ErrorResponse(403, "AccessDenied")

    with (
        reject_requests(relay.s3, "UploadPartCopy", not_found),
        reject_requests(relay.s3, "AbortMultipartUpload", denied),
        pytest.raises(ObjectNotFoundError, match="no longer exists"),
    ):
        relay.results.files.join("results/all", stored_pieces, "work/joined")


def test_a_failed_part_cancels_the_parts_not_yet_started(relay: Harness) -> None:
    stored_pieces, _ = write_pieces(relay, *[5 * MIB] * 6)
    files = ObjectStore(RESULTS, client=relay.s3, threads=1)
    # On a busy machine, all six could otherwise be rejected before the first failure is noticed.
    relay.s3.meta.events.register("before-call.s3.UploadPartCopy", lambda **_: time.sleep(0.2))

    with (
        reject_requests(
            relay.s3, "UploadPartCopy", S3ErrorResponse(403, "AccessDenied")
        ) as rejected_urls,
        pytest.raises(ClientError),
    ):
        files.join("results/all", stored_pieces, "work/joined")

    assert len(rejected_urls) < 6


@pytest.mark.usefixtures("no_retry_delays")
@pytest.mark.parametrize("sizes", [(MIB, 2), (6 * MIB, 7 * MIB)])
def test_a_piece_changed_after_its_write_is_not_joined(
    relay: Harness, sizes: tuple[int, ...]
) -> None:
    stored_pieces, _ = write_pieces(relay, *sizes)
    relay.s3.put_object(Bucket=RESULTS, Key="work/1", Body=b"?" * sizes[1])

    with pytest.raises(ClientError, match="BadDigest"):
        relay.results.files.join("results/all", stored_pieces, "work/joined")


class BreakingStream:
    """A response of S3 that breaks after half of its body, this many times."""

    def __init__(self, client: Any, times: int) -> None:
        self._client, self._left, self.get = client, times, client.get_object

    def get_object(self, **arguments: Any) -> Any:
        answer = self.get(**arguments)
        if self._left:
            self._left -= 1
            body = answer["Body"].read()
            answer["Body"] = self
            self._rest_of_body = body[: len(body) // 2]
        return answer

    def iter_chunks(self, size: int) -> Any:
        yield from [self._rest_of_body[:size]] if self._rest_of_body else []
        raise IncompleteReadError(actual_bytes=1, expected_bytes=2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_an_interrupted_download_resumes_where_it_stopped(relay: Harness) -> None:
    version = relay.s3.put_object(Bucket=UPLOADS, Key="a", Body=b"0123456789")["VersionId"]
    files = relay.submit.files
    files._s3 = BreakingStream(relay.s3, 2)  # type: ignore[assignment]  # noqa: SLF001 - below the adapter

    stored = b"".join(files.read(ObjectVersion(UPLOADS, "a", version)))

    assert stored == b"0123456789"


def test_a_missing_object_raises_an_error_that_names_it(relay: Harness) -> None:
    with pytest.raises(ObjectNotFoundError, match="s3://uploads/none no longer exists"):
        list(relay.submit.files.read(ObjectVersion(UPLOADS, "none")))


def test_a_download_that_always_fails_immediately_is_an_error(relay: Harness) -> None:
    relay.s3.put_object(Bucket=UPLOADS, Key="a", Body=b"0")
    files = relay.submit.files
    files._s3 = BreakingStream(relay.s3, 99)  # type: ignore[assignment]  # noqa: SLF001 - below the adapter

    with pytest.raises(DownloadError, match="5 downloads failed at byte 0"):
        list(files.read(ObjectVersion(UPLOADS, "a")))
