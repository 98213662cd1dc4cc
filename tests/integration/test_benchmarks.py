"""The benchmarks' own parts that a change of the relay can break."""

import json
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from benchmarks import kinds, read
from benchmarks.processes import measure
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


def test_one_kind_replaces_its_row_of_the_table_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f"before\n{kinds.BEGIN}\n| CSV | 1 |\n| Parquet | 2 |\n{kinds.END}\nafter\n", "utf-8"
    )

    kinds.replace_row(page, "| CSV | 3 |")
    kinds.replace_row(page, "| XLSX | 4 |")

    rows = "| CSV | 3 |\n| Parquet | 2 |\n| XLSX | 4 |"
    assert page.read_text("utf-8") == f"before\n{kinds.BEGIN}\n{rows}\n{kinds.END}\nafter\n"


def test_a_measurement_includes_the_children_of_the_process() -> None:
    """Parquet is read by a child, beside the reader."""
    child = "import time; block = bytearray(100_000_000); time.sleep(0.5)"
    program = f"""
import json, subprocess, sys
from benchmarks.cpu import cpu_s
block, started = bytearray(50_000_000), cpu_s()
subprocess.run([sys.executable, "-c", {child!r}])
print(json.dumps({{"work_s": 1, "work_cpu_s": cpu_s() - started}}))
"""
    run = measure(sys.executable, "-c", program)

    assert 150 < run.peak_mb < 220
    assert run.work_cpu_s > 0.02
