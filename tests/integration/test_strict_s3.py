"""Our strict S3 rejects what S3 rejects: each entry of the tables in tests/fakes/strict_s3.py."""

import base64
import zlib
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.fakes.strict_s3 import (
    INVALID_WRITES,
    PERMANENT_READ_ERRORS,
    TRANSIENT_READ_ERRORS,
    S3ErrorResponse,
    make_strict,
    reject_requests,
    without_list_bucket,
)
from tests.harness import REGION, RESULTS, UPLOADS, Harness

pytestmark = pytest.mark.usefixtures("no_retry_delays")
MIB = 1 << 20
BODY = b"x" * 5 * MIB


@pytest.fixture
def relay(moto_relay: Harness) -> Harness:
    """Use moto: these tests are about what it accepts."""
    return moto_relay


def encode_crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()


def start_upload(s3: Any, **options: str) -> dict[str, str]:
    target = {"Bucket": RESULTS, "Key": "joined"}
    return {**target, "UploadId": s3.create_multipart_upload(**target, **options)["UploadId"]}


def client_without_checksums() -> Any:
    """Return a client that sends checksums only if told to."""
    config = Config(request_checksum_calculation="when_required")
    return make_strict(boto3.client("s3", region_name=REGION, config=config))


def part_with_unexpected_checksum(s3: Any) -> None:
    s3.upload_part(**start_upload(s3), PartNumber=1, Body=BODY, ChecksumCRC32=encode_crc32(BODY))


def part_with_default_checksum(s3: Any) -> None:
    s3.upload_part(**start_upload(s3), PartNumber=1, Body=BODY)  # the SDK adds one by default


def part_without_checksum(_s3: Any) -> None:
    s3 = client_without_checksums()
    s3.upload_part(**start_upload(s3, ChecksumAlgorithm="CRC32"), PartNumber=1, Body=BODY)


def object_with_wrong_checksum(s3: Any) -> None:
    s3.put_object(Bucket=RESULTS, Key="k", Body=b"this", ChecksumCRC32=encode_crc32(b"that"))


def upload_with_wrong_checksum(s3: Any) -> None:
    upload = start_upload(s3, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    etag = s3.upload_part(**upload, PartNumber=1, Body=BODY, ChecksumCRC32=encode_crc32(BODY))[
        "ETag"
    ]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag, "ChecksumCRC32": encode_crc32(BODY)}]}
    s3.complete_multipart_upload(
        **upload, MultipartUpload=parts, ChecksumCRC32=encode_crc32(b"another")
    )


def completion_without_checksums(s3: Any) -> None:
    upload = start_upload(s3, ChecksumAlgorithm="CRC32")
    etag = s3.upload_part(**upload, PartNumber=1, Body=BODY, ChecksumCRC32=encode_crc32(BODY))[
        "ETag"
    ]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)


def copy_over_5_gib(s3: Any) -> None:
    s3.put_object(Bucket=RESULTS, Key="source", Body=BODY)
    source = {"Bucket": RESULTS, "Key": "source"}
    s3.upload_part_copy(**start_upload(s3), PartNumber=1, CopySource=source, CopySourceRange=f"bytes=0-{5 << 30}")  # fmt: skip


INVALID_REQUESTS = [
    ("a checksum for an upload without checksums", part_with_unexpected_checksum),
    ("a checksum for an upload without checksums", part_with_default_checksum),
    ("no checksum for an upload with checksums", part_without_checksum),
    ("a part with a wrong checksum", object_with_wrong_checksum),
    ("an object with a wrong checksum", upload_with_wrong_checksum),
    ("a completion without part checksums", completion_without_checksums),
    ("a copied part over 5 GiB", copy_over_5_gib),
]


def test_every_rule_has_a_test() -> None:
    assert {rule for rule, _ in INVALID_REQUESTS} == {*INVALID_WRITES}


@pytest.mark.parametrize(("rule", "send_request"), INVALID_REQUESTS)
def test_invalid_writes_are_rejected_as_by_s3(
    relay: Harness, rule: str, send_request: Callable[[Any], None]
) -> None:
    with pytest.raises(ClientError) as raised:
        send_request(relay.s3)

    assert raised.value.response["Error"]["Code"] == INVALID_WRITES[rule].code


@pytest.mark.parametrize(
    "error", [*PERMANENT_READ_ERRORS.values(), *TRANSIENT_READ_ERRORS.values()]
)
def test_injected_errors_reach_the_client(relay: Harness, error: S3ErrorResponse) -> None:
    relay.s3.put_object(Bucket=UPLOADS, Key="a", Body=b"0")

    with reject_requests(relay.s3, "GetObject", error), pytest.raises(ClientError) as raised:
        relay.s3.get_object(Bucket=UPLOADS, Key="a")

    assert raised.value.response["Error"]["Code"] == error.code
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == error.status
    assert relay.s3.get_object(Bucket=UPLOADS, Key="a")["Body"].read() == b"0"


def test_a_role_without_list_bucket_gets_403_for_a_missing_object(relay: Harness) -> None:
    with without_list_bucket(relay.s3), pytest.raises(ClientError) as raised:
        relay.s3.get_object(Bucket=UPLOADS, Key="none")

    assert raised.value.response["Error"]["Code"] == "AccessDenied"
