"""The benchmarks' own parts that a change of the relay can break."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from benchmarks import kinds, read
from benchmarks.s3 import PAGE_KEYS, serving


def test_the_fake_s3_lists_the_stored_keys_of_a_bucket_page_by_page(tmp_path: Path) -> None:
    with serving({}, tmp_path) as endpoint:
        s3: Any = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
        )  # fmt: skip
        keys = [f"work/a/{number:05}" for number in range(PAGE_KEYS + 2)]
        for key in [*keys, "work/b/1"]:
            s3.put_object(Bucket="results", Key=key, Body=b"")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="results", Prefix="work/a/")
        listed = [[listed["Key"] for listed in page["Contents"]] for page in pages]
        after = s3.list_objects_v2(Bucket="results", Prefix="work/a/", StartAfter=keys[-2])

    assert [len(page) for page in listed] == [PAGE_KEYS, 2]
    assert [key for page in listed for key in page] == keys
    assert [entry["Key"] for entry in after["Contents"]] == keys[-1:]


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: str(kind.name))
def test_each_kind_of_upload_is_read_with_all_its_rows(
    kind: kinds.Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = kinds.Upload.write(kind, tmp_path, 250_000)

    read.main(str(upload.file))

    assert json.loads(capsys.readouterr().out)["rows"] == upload.rows == 104
