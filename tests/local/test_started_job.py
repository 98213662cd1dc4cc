import uuid
from pathlib import Path
from typing import Any

import pytest

from local.cloud import Cloud
from local.errors import LocalError
from local.started_job import StartedJob, download, safe_path, upload


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    cloud.s3.create_bucket(Bucket=name)
    cloud.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.mark.parametrize(
    "key",
    ["../evil", "a/../../evil", "/etc/passwd", "a/..", "", "a\0b", "..\\evil", "C:/evil"],
)
def test_a_key_that_leaves_the_results_folder_is_rejected(tmp_path: Path, key: str) -> None:
    with pytest.raises(LocalError, match="aws s3 cp"):
        safe_path(tmp_path, key)


def test_a_symlink_that_leaves_the_results_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "away").symlink_to(tmp_path)

    with pytest.raises(LocalError, match="aws s3 cp"):
        safe_path(tmp_path / "results", "away/file")


@pytest.mark.parametrize(
    "key", ["march/3f9a/results.jsonl", "ü b/#1", "a..b", "...", "~x", "2026-11-27T10:00:00"]
)
def test_safe_names_are_unchanged(tmp_path: Path, key: str) -> None:
    assert safe_path(tmp_path, key) == tmp_path / key


def test_uploading_the_same_file_twice_creates_two_jobs(
    cloud: Cloud, bucket: str, tmp_path: Path
) -> None:
    file = tmp_path / "in" / "march.v2.jsonl.gz"
    file.parent.mkdir()
    file.write_text("{}")

    first, second = upload(cloud, bucket, file), upload(cloud, bucket, file)

    assert first.id != second.id
    assert first.folder == f"results/in/march.v2/{first.id}"


def test_the_options_beside_a_file_are_uploaded_before_it(
    cloud: Cloud, bucket: str, tmp_path: Path
) -> None:
    file = tmp_path / "in" / "march.csv"
    file.parent.mkdir()
    for name in ("march.csv", "_relay.toml", "march.csv.relay.json", "may.csv.relay.toml"):
        (file.parent / name).write_text(name)

    keys: list[str] = []
    events = cloud.s3.meta.events
    events.register(
        "before-parameter-build.s3.PutObject", lambda params, **_: keys.append(params["Key"])
    )

    upload(cloud, bucket, file)

    assert keys == ["in/_relay.toml", "in/march.csv.relay.json", "in/march.csv"]


def test_options_that_are_no_longer_beside_a_file_do_not_govern_it(
    cloud: Cloud, bucket: str, tmp_path: Path
) -> None:
    file = tmp_path / "march.csv"
    options = tmp_path / "march.csv.relay.toml"
    file.write_text("a,b")
    options.write_text("betas = []")
    job = upload(cloud, bucket, file)
    options.unlink()

    upload(cloud, bucket, file)

    objects = cloud.s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [item["Key"] for item in objects] == [job.key]


@pytest.mark.parametrize(
    ("event", "concerned"),
    [
        ({"type": "x.job.waiting", "subject": "3f9a"}, True),
        ({"type": "x.job.waiting", "subject": "other"}, False),
        ({"type": "x.options.rejected", "data": {"options": {"key": "in/_relay.toml"}}}, True),
        ({"type": "x.options.rejected", "data": {"options": {"key": "out/_relay.toml"}}}, False),
    ],
)
def test_a_job_is_concerned_by_its_own_events_and_those_about_its_options(
    event: dict[str, Any], *, concerned: bool
) -> None:
    job = StartedJob(
        file=Path("march.csv"), key="in/march.csv", id="3f9a", folder="results/in/march/3f9a"
    )

    assert job.is_concerned(event) is concerned


@pytest.mark.parametrize(
    ("event", "over"), [("job.planned", False), ("job.waiting", True), ("job.rejected", True)]
)
def test_a_job_that_waits_for_options_is_not_followed(event: str, *, over: bool) -> None:
    job = StartedJob(file=Path("a.csv"), key="in/a.csv", id="3f9a", folder="results/in/a/3f9a")

    job.events["1"] = {"type": f"x.{event}"}

    assert job.is_over is over


@pytest.mark.parametrize(
    ("event", "status", "final"),
    [
        ("job.completed", "RUNNING", False),
        ("job.completed", "DONE", True),
        ("job.waiting", "PLANNING", True),
    ],
)
def test_the_status_of_an_ended_job_is_final_when_it_says_done(
    event: str, status: str, *, final: bool
) -> None:
    job = StartedJob(file=Path("a.csv"), key="in/a.csv", id="3f9a", folder="results/in/a/3f9a")

    job.events["1"] = {"type": event}
    job.status = {"status": status}

    assert job.has_final_status is final


def test_only_the_results_of_the_job_are_downloaded(
    cloud: Cloud, bucket: str, tmp_path: Path
) -> None:
    job = StartedJob(
        file=Path("march.jsonl"), key="march.jsonl", id="3f9a", folder="results/march/3f9a"
    )
    for key in ("march/3f9a/results.jsonl", "march/3f9a/manifest.json", "march/3f9a2/other"):
        cloud.s3.put_object(Bucket=bucket, Key=f"results/{key}", Body=key.encode())

    folder = download(cloud, bucket, job, tmp_path / "here")

    assert folder == tmp_path / "here" / "march" / "3f9a"
    assert {path.name for path in folder.iterdir()} == {"results.jsonl", "manifest.json"}
    assert (folder / "results.jsonl").read_text() == "march/3f9a/results.jsonl"
    assert not (tmp_path / "here" / "march" / "3f9a2").exists()
