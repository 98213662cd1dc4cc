"""`relay get`: download the results of a job, and check them."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TaskID

from cli import invocation
from cli.deployment import Deployment
from cli.errors import CommandError
from cli.invocation import JobName
from cli.jobs import FoundJob, Jobs
from local.started_job import safe_path

BLOCK = 1 << 20
PARTIAL = ".partial"
"""The suffix of a file until it is downloaded and checked."""


@dataclass(frozen=True)
class _File:
    """A file of the results.

    Attributes:
        name: its path below the results of the job.
        crc32: its CRC-32 in hexadecimal, as the manifest says; None if the manifest does not name it.
    """

    key: str
    name: str
    size: int
    crc32: str | None


def get(
    context: typer.Context,
    job: JobName,
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder for results; each job gets its own below it.")] = Path("results"),
) -> None:  # fmt: skip
    """Download the results of a job. Run it again to resume: complete files are not downloaded twice."""
    run = invocation.of(context)
    jobs = Jobs(run.deployment)
    found_job = jobs.find(job)
    manifest = jobs.manifest(found_job)
    folder = safe_path(into.resolve(), found_job.prefix.removeprefix("results/"))
    checksums = _checksums(manifest)
    files = [*_files(run.deployment, found_job, checksums)]
    with run.output.progress() as progress:
        task = progress.add_task(found_job.name, total=sum(file.size for file in files))
        for file in files:
            path = safe_path(folder, file.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not _is_complete(path, file, progress, task):
                _download(run.deployment, file, path, progress, task)
    names = [file.name for file in files]
    run.output.show(
        {"job": found_job.id, "folder": str(folder), "files": names},
        f"{found_job.name}: {manifest['outcome']}, {len(files)} files in {folder}",
        *(f"  {name}" for name in names),
    )
    _check_complete(found_job, files, checksums)


def _checksums(manifest: dict[str, Any]) -> dict[str, str | None]:
    """Return the CRC-32 of each file that the manifest names, by its key."""
    return {
        entry["uri"].partition("//")[2].partition("/")[2]: entry.get("crc32")
        for entry in manifest["files"].values()
    }


def _check_complete(
    found_job: FoundJob, files: Sequence[_File], checksums: Mapping[str, str | None]
) -> None:
    """Check that every file of the manifest was there.

    Raises:
        CommandError: some were deleted.
    """
    missing = sorted(checksums.keys() - {file.key for file in files})
    if missing:
        names = ", ".join(key.removeprefix(f"{found_job.prefix}/") for key in missing)
        message = (
            f"the manifest of {found_job.name} names {names}, missing from S3: "
            f"`relay reassemble {found_job.id[:8]}` writes missing files again, for a week after the job has ended"
        )
        raise CommandError(message)


def _files(
    deployment: Deployment, found_job: FoundJob, checksums: Mapping[str, str | None]
) -> Iterator[_File]:
    """Yield the files beside the manifest, the manifest last."""
    pages = deployment.s3.get_paginator("list_objects_v2").paginate(
        Bucket=deployment.results, Prefix=f"{found_job.prefix}/"
    )
    files = [
        _File(
            entry["Key"],
            entry["Key"].removeprefix(f"{found_job.prefix}/"),
            entry["Size"],
            checksums.get(entry["Key"]),
        )
        for page in pages
        for entry in page.get("Contents", [])
    ]
    yield from sorted(files, key=lambda file: (file.name == "manifest.json", file.name))


def _is_complete(path: Path, file: _File, progress: Progress, task: TaskID) -> bool:
    """Return whether a file was downloaded before. One without a checksum is small, and may have changed."""
    if file.crc32 is None or not path.is_file() or path.stat().st_size != file.size:
        return False
    if _crc32(path) != int(file.crc32, 16):
        return False
    progress.advance(task, file.size)
    return True


def _crc32(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            crc32 = zlib.crc32(block, crc32)
    return crc32


def _download(
    deployment: Deployment, file: _File, path: Path, progress: Progress, task: TaskID
) -> None:
    """Download the missing bytes of a file, check it, and rename it.

    Raises:
        CommandError: its checksum is not that of the manifest.
    """
    partial = path.with_name(path.name + PARTIAL)
    resumable = file.crc32 is not None and partial.is_file() and partial.stat().st_size < file.size
    start = partial.stat().st_size if resumable else 0
    crc32 = _crc32(partial) if start else 0
    progress.advance(task, start)
    if start < file.size:
        extent = {"Range": f"bytes={start}-"} if start else {}
        body = deployment.s3.get_object(Bucket=deployment.results, Key=file.key, **extent)["Body"]  # type: ignore[arg-type]
        with partial.open("ab" if start else "wb") as stream:
            for block in body.iter_chunks(BLOCK):
                stream.write(block)
                crc32 = zlib.crc32(block, crc32)
                progress.advance(task, len(block))
    else:
        partial.write_bytes(b"")
    if file.crc32 is not None and crc32 != int(file.crc32, 16):
        partial.unlink()
        message = f"{file.name} is not what the manifest says (CRC-32): run `relay get` again; if it repeats, the object was changed in S3"
        raise CommandError(message)
    partial.replace(path)
