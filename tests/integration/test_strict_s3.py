"""Our fake of S3 refuses what S3 refuses: each line of the tables in tests/fakes/s3_walls.py."""

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

pytestmark = pytest.mark.usefixtures("at_once")
MIB = 1 << 20
BODY = b"x" * 5 * MIB


@pytest.fixture
def relay(moto_relay: Harness) -> Harness:
    """What moto lets pass is what this is about."""
    return moto_relay


def crc(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()


def begin(s3: Any, **how: str) -> dict[str, str]:
    where = {"Bucket": RESULTS, "Key": "joined"}
    return {**where, "UploadId": s3.create_multipart_upload(**where, **how)["UploadId"]}


def quiet() -> Any:
    """A client that sends no checksum unless it is asked to."""
    config = Config(request_checksum_calculation="when_required")
    return make_strict(boto3.client("s3", region_name=REGION, config=config))


def checksum_without(s3: Any) -> None:
    s3.upload_part(**begin(s3), PartNumber=1, Body=BODY, ChecksumCRC32=crc(BODY))


def default_checksum_without(s3: Any) -> None:
    s3.upload_part(**begin(s3), PartNumber=1, Body=BODY)  # the SDK adds one by itself


def none_where_there_is_one(_s3: Any) -> None:
    s3 = quiet()
    s3.upload_part(**begin(s3, ChecksumAlgorithm="CRC32"), PartNumber=1, Body=BODY)


def another_body(s3: Any) -> None:
    s3.put_object(Bucket=RESULTS, Key="k", Body=b"this", ChecksumCRC32=crc(b"that"))


def another_object(s3: Any) -> None:
    upload = begin(s3, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    etag = s3.upload_part(**upload, PartNumber=1, Body=BODY, ChecksumCRC32=crc(BODY))["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag, "ChecksumCRC32": crc(BODY)}]}
    s3.complete_multipart_upload(**upload, MultipartUpload=parts, ChecksumCRC32=crc(b"another"))


def bare_end(s3: Any) -> None:
    upload = begin(s3, ChecksumAlgorithm="CRC32")
    etag = s3.upload_part(**upload, PartNumber=1, Body=BODY, ChecksumCRC32=crc(BODY))["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)


def long_copy(s3: Any) -> None:
    s3.put_object(Bucket=RESULTS, Key="source", Body=BODY)
    source = {"Bucket": RESULTS, "Key": "source"}
    s3.upload_part_copy(**begin(s3), PartNumber=1, CopySource=source, CopySourceRange=f"bytes=0-{5 << 30}")  # fmt: skip


MAKES = [
    ("a checksum for an upload without checksums", checksum_without),
    ("a checksum for an upload without checksums", default_checksum_without),
    ("no checksum for an upload with checksums", none_where_there_is_one),
    ("a part with a wrong checksum", another_body),
    ("an object with a wrong checksum", another_object),
    ("a completion without part checksums", bare_end),
    ("a copied part over 5 GiB", long_copy),
]


def test_each_wall_has_a_test() -> None:
    assert {wall for wall, _ in MAKES} == {*INVALID_WRITES}


@pytest.mark.parametrize(("wall", "make"), MAKES)
def test_what_moto_takes_is_refused_as_s3_does(
    relay: Harness, wall: str, make: Callable[[Any], None]
) -> None:
    with pytest.raises(ClientError) as refused:
        make(relay.s3)

    assert refused.value.response["Error"]["Code"] == INVALID_WRITES[wall].code


@pytest.mark.parametrize(
    "refusal", [*PERMANENT_READ_ERRORS.values(), *TRANSIENT_READ_ERRORS.values()]
)
def test_what_s3_answers_reaches_the_client(relay: Harness, refusal: S3ErrorResponse) -> None:
    relay.s3.put_object(Bucket=UPLOADS, Key="a", Body=b"0")

    with reject_requests(relay.s3, "GetObject", refusal), pytest.raises(ClientError) as refused:
        relay.s3.get_object(Bucket=UPLOADS, Key="a")

    assert refused.value.response["Error"]["Code"] == refusal.code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == refusal.status
    assert relay.s3.get_object(Bucket=UPLOADS, Key="a")["Body"].read() == b"0"


def test_who_may_not_list_a_bucket_is_not_told_that_nothing_is_there(relay: Harness) -> None:
    with without_list_bucket(relay.s3), pytest.raises(ClientError) as refused:
        relay.s3.get_object(Bucket=UPLOADS, Key="none")

    assert refused.value.response["Error"]["Code"] == "AccessDenied"
