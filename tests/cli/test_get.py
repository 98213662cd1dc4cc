"""`relay get` downloads results, checks them against the manifest, and resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functions.model.items.batch import batch_key
from tests.cli.conftest import KEY, CommandLine, finished, running
from tests.harness import RESULTS, Harness

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_get_downloads_every_file_and_resumes(
    stack: Harness, relay: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished(stack)
    folder = tmp_path / "team" / "march" / job
    expected = stack.read(KEY, "results.jsonl")
    folder.mkdir(parents=True)
    (folder / "results.jsonl.partial").write_bytes(expected[:10])
    ranges = record_ranges(stack, monkeypatch)

    relay("get", job, "--into", str(tmp_path))

    assert (folder / "results.jsonl").read_bytes() == expected
    assert ranges["results.jsonl"] == ["bytes=10-"]
    assert {path.name for path in folder.iterdir()} >= {"errors.jsonl", "manifest.json", "status.json"}  # fmt: skip
    relay("get", job, "--into", str(tmp_path))
    assert ranges["results.jsonl"] == ["bytes=10-"]


def record_ranges(stack: Harness, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Record the range of each download, by the name of the file."""
    ranges: dict[str, list[str]] = {}
    get_object = stack.s3.get_object

    def recording(**arguments: str) -> object:
        name = arguments["Key"].rpartition("/")[2]
        ranges.setdefault(name, []).append(arguments.get("Range", ""))
        return get_object(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stack.s3, "get_object", recording)
    return ranges


def test_get_refuses_bytes_that_differ_from_the_manifest(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    job = finished(stack)
    key = f"results/team/march/{job}/results.jsonl"
    stack.s3.put_object(Bucket=RESULTS, Key=key, Body=b"x" * len(stack.read(KEY, "results.jsonl")))

    result = relay("get", job, "--into", str(tmp_path), code=1)

    assert "results.jsonl is not what the manifest says" in result.stderr
    assert not [*tmp_path.rglob("results.jsonl*")]


def test_get_fails_if_a_file_of_the_manifest_is_gone(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    job = finished(stack)
    stack.s3.delete_object(Bucket=RESULTS, Key=f"results/team/march/{job}/results.jsonl")

    result = relay("get", job, "--into", str(tmp_path), code=1)

    assert f"march-{job[:8]} names results.jsonl, missing from S3" in result.stderr
    assert [*tmp_path.rglob("errors.jsonl")]  # all others are downloaded


def test_a_job_whose_duplicate_came_late_is_found(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    job = finished(stack)
    stack.pass_time(60)
    [batch] = stack.items.batches(job)
    duplicate = stack.ownership.build("msgbatch_twin", batch_key(batch), duplicate=True)
    assert stack.items.record_duplicate(batch, duplicate)  # a line in the ledger

    relay("get", f"march-{job[:8]}", "--into", str(tmp_path))

    assert [*tmp_path.rglob("results.jsonl")]


def test_get_of_a_running_job_names_the_next_command(stack: Harness, relay: CommandLine) -> None:
    job = running(stack)

    assert f"relay why {job[:8]}" in relay("get", job, code=3).stderr
