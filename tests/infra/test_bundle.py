"""The bundle holds what Lambda needs, for Lambda's processor, and depends on its sources alone."""

import gzip
import json
import platform
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import botocore
import pytest

from infra.bundle import PROCESSORS, SERVICES, bundled, stub, tags
from infra.settings import Architecture

HERE: Architecture = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"

# Room that Lambda gives: 50 MB as a zip, 250 MB unzipped.
ZIPPED_MB, UNZIPPED_MB = 25, 80


@pytest.fixture(scope="session")
def bundle() -> Path:
    return bundled(HERE)


@pytest.fixture(scope="session")
def unpacked(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    return folder


def run_in(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the bundle and its own library, and nothing else installed."""
    alone = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    return subprocess.run(  # noqa: S603  # a list made here
        [sys.executable, "-I", "-S", "-c", alone],
        check=False,
        capture_output=True,
        text=True,
        env={"AWS_DEFAULT_REGION": "us-east-1"},
    )


@pytest.mark.parametrize("stage", ["submit", "poll", "results"])
def test_a_stage_is_imported_from_the_bundle_alone(unpacked: Path, stage: str) -> None:
    done = run_in(unpacked, f"from functions.{stage} import handler; assert callable(handler)")

    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    "package", ["anthropic", "aws_lambda_powertools.utilities.parameters", "boto3", "msgspec"]
)
def test_a_package_is_imported_from_the_bundle_alone(unpacked: Path, package: str) -> None:
    done = run_in(unpacked, f"import {package} as it; print(it.__file__)")

    assert done.stderr == ""
    assert done.stdout.startswith(str(unpacked))


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_client_of_each_service_can_be_made(unpacked: Path, service: str) -> None:
    done = run_in(unpacked, f"import boto3; print(boto3.client({service!r}).meta.endpoint_url)")

    assert done.stderr == ""
    assert done.stdout.startswith("https://")


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_what_is_known_of_a_service_is_whole_but_for_its_documentation(
    unpacked: Path, service: str
) -> None:
    known = Path(botocore.__file__).parent / "data"
    models = [*known.glob(f"{service}/*/service-2.json.gz")]
    assert models
    for packed in models:
        whole = json.loads(gzip.decompress(packed.read_bytes()), object_hook=undocumented)
        left = (unpacked / "botocore/data" / packed.relative_to(known)).with_suffix("")
        assert json.loads(left.read_bytes()) == whole


def undocumented(part: dict[str, Any]) -> dict[str, Any]:
    """Empty a documentation and keep its place: botocore fails where it is missing."""
    return {
        name: "" if name == "documentation" and isinstance(inner, str) else inner
        for name, inner in part.items()
    }


ENDPOINTS = f"""
import boto3, json
session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b")
found = []
for partition in session.get_available_partitions():
    for service in {sorted(SERVICES)}:
        regions = session.get_available_regions(service, partition)
        meta = session.client(service, regions[-1]).meta if regions else None
        found.append([service, regions, meta and meta.endpoint_url])
print(json.dumps(found))
"""


def test_each_service_is_found_in_each_partition_as_without_the_trimming(unpacked: Path) -> None:
    trimmed = run_in(unpacked, ENDPOINTS)
    whole = run_in(Path(botocore.__file__).parents[1], ENDPOINTS)

    assert trimmed.stderr == ""
    assert whole.stdout.count("https://") > 20
    assert json.loads(trimmed.stdout) == json.loads(whole.stdout)


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_every_wheel_is_for_the_processor_that_was_asked_for(architecture: Architecture) -> None:
    built = bundled(architecture)
    fetched = tags(built)
    with zipfile.ZipFile(built) as archive:
        compiled = [name for name in archive.namelist() if ".cpython-" in name and ".so" in name]

    assert {"anthropic", "boto3", "jiter", "msgspec", "pydantic_core"} <= set(fetched)
    for platforms in fetched.values():
        assert all(one == "any" or one.endswith(PROCESSORS[architecture]) for one in platforms)
    assert len(compiled) >= 3
    assert all(PROCESSORS[architecture] in name for name in compiled)


def test_the_same_sources_make_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    again = bundled(HERE, into=tmp_path)

    assert again.name == bundle.name
    assert again.read_bytes() == bundle.read_bytes()


def test_what_is_built_is_not_built_again(bundle: Path) -> None:
    before = bundle.stat().st_mtime_ns

    assert bundled(HERE) == bundle
    assert bundle.stat().st_mtime_ns == before


def test_the_bundle_stays_small(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        unzipped = sum(entry.file_size for entry in archive.infolist())

    assert bundle.stat().st_size < ZIPPED_MB * 1e6
    assert unzipped < UNZIPPED_MB * 1e6


def test_everything_is_compiled_for_where_it_will_lie(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
        settings = archive.read("functions/__pycache__/settings.cpython-313.pyc")

    assert b"/var/task/functions/settings.py" in settings
    assert "anthropic/__pycache__/__init__.cpython-313.pyc" in names
    assert {name for name in names if name.endswith("entry_points.txt")}
    assert not {name for name in names if name.endswith(("/RECORD", "/INSTALLER"))}


def test_the_stub_has_a_handler_for_each_stage_and_refuses_to_run() -> None:
    with zipfile.ZipFile(stub()) as archive:
        assert archive.namelist() == [
            f"functions/{one}.py" for one in ("submit", "poll", "results")
        ]
        assert b"raise RuntimeError" in archive.read("functions/poll.py")
