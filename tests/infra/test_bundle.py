"""The bundle has what Lambda needs for its processor, and depends only on its sources."""

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

from infra.bundle import PROCESSORS, SERVICES, bundled, duckdb_layer, stub, tags
from infra.settings import Architecture

HOST_ARCHITECTURE: Architecture = (
    "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
)

# Well below Lambda's limits: 50 MB zipped, 250 MB unzipped.
MAX_ZIPPED_MB, MAX_UNZIPPED_MB = 25, 80
MAX_LAYER_ZIPPED_MB, MAX_LAYER_UNZIPPED_MB = 30, 80


@pytest.fixture(scope="session")
def bundle() -> Path:
    return bundled(HOST_ARCHITECTURE)


@pytest.fixture(scope="session")
def unpacked(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def unpacked_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("opt")
    with zipfile.ZipFile(duckdb_layer(HOST_ARCHITECTURE)) as archive:
        archive.extractall(folder)
    return folder / "python"


def run_in(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python with only the bundle and the standard library."""
    isolated_code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    return subprocess.run(  # noqa: S603  # a list made here
        [sys.executable, "-I", "-S", "-c", isolated_code],
        check=False,
        capture_output=True,
        text=True,
        env={"AWS_DEFAULT_REGION": "us-east-1"},
    )


@pytest.mark.parametrize("stage", ["submit", "poll", "results"])
def test_a_stage_can_be_imported_with_only_the_bundle(unpacked: Path, stage: str) -> None:
    process = run_in(unpacked, f"from functions.{stage} import handler; assert callable(handler)")

    assert process.stderr == ""
    assert process.returncode == 0


def test_only_the_layer_has_duckdb_and_it_reads_parquet_alone(
    unpacked: Path, unpacked_layer: Path
) -> None:
    query = "SELECT count(*) FROM duckdb_extensions() WHERE loaded AND extension_name IN ('parquet', 'json', 'icu')"
    code = f"import duckdb; print(duckdb.sql({query!r}).fetchall())"

    assert "No module named 'duckdb'" in run_in(unpacked, code).stderr
    assert run_in(unpacked_layer, code).stdout == "[(3,)]\n"


def test_no_stage_loads_duckdb_at_its_cold_start(unpacked: Path, unpacked_layer: Path) -> None:
    stages = "functions.submit, functions.poll, functions.results"
    code = f"sys.path.append({str(unpacked_layer)!r}); import {stages}; print('duckdb' in sys.modules)"

    assert run_in(unpacked, code).stdout == "False\n"


@pytest.mark.parametrize(
    "package", ["anthropic", "aws_lambda_powertools.utilities.parameters", "boto3", "msgspec"]
)
def test_a_package_can_be_imported_with_only_the_bundle(unpacked: Path, package: str) -> None:
    process = run_in(unpacked, f"import {package} as it; print(it.__file__)")

    assert process.stderr == ""
    assert process.stdout.startswith(str(unpacked))


def test_a_client_of_each_service_can_be_created(unpacked: Path) -> None:
    code = f"import boto3; print(*(boto3.client(name).meta.endpoint_url for name in {sorted(SERVICES)}))"
    process = run_in(unpacked, code)

    assert process.stderr == ""
    assert process.stdout.count("https://") == len(SERVICES)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_service_model_lacks_nothing_but_its_documentation(unpacked: Path, service: str) -> None:
    installed = Path(botocore.__file__).parent / "data"
    models = [*installed.glob(f"{service}/*/service-2.json.gz")]
    assert models
    for packed_model in models:
        expected = json.loads(
            gzip.decompress(packed_model.read_bytes()), object_hook=without_documentation
        )
        bundled_model = (
            unpacked / "botocore/data" / packed_model.relative_to(installed)
        ).with_suffix("")
        assert json.loads(bundled_model.read_bytes()) == expected


def without_documentation(member: dict[str, Any]) -> dict[str, Any]:
    """Empty each documentation, but keep its place: botocore fails if it is missing."""
    return {
        name: "" if name == "documentation" and isinstance(value, str) else value
        for name, value in member.items()
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


def test_trimming_changes_no_region_or_endpoint(unpacked: Path) -> None:
    trimmed = run_in(unpacked, ENDPOINTS)
    untrimmed = run_in(Path(botocore.__file__).parents[1], ENDPOINTS)

    assert trimmed.stderr == ""
    assert untrimmed.stdout.count("https://") > 20
    assert json.loads(trimmed.stdout) == json.loads(untrimmed.stdout)


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_every_wheel_is_for_the_requested_processor(architecture: Architecture) -> None:
    bundle_path = bundled(architecture)
    platforms_by_package = tags(bundle_path)
    with zipfile.ZipFile(bundle_path) as archive:
        compiled = [name for name in archive.namelist() if ".cpython-" in name and ".so" in name]

    assert {"anthropic", "boto3", "jiter", "msgspec", "pydantic_core"} <= set(platforms_by_package)
    for platforms in platforms_by_package.values():
        assert all(
            platform_tag == "any" or platform_tag.endswith(PROCESSORS[architecture])
            for platform_tag in platforms
        )
    assert len(compiled) >= 3
    assert all(PROCESSORS[architecture] in name for name in compiled)


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_the_layer_is_for_the_requested_processor(architecture: Architecture) -> None:
    ((package, platforms),) = tags(duckdb_layer(architecture)).items()

    assert package == "duckdb"
    assert all(tag.endswith(PROCESSORS[architecture]) for tag in platforms)


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_the_layer_stays_small(architecture: Architecture) -> None:
    path = duckdb_layer(architecture)
    with zipfile.ZipFile(path) as archive:
        unzipped = sum(entry.file_size for entry in archive.infolist())

    assert path.stat().st_size < MAX_LAYER_ZIPPED_MB * 1e6
    assert unzipped < MAX_LAYER_UNZIPPED_MB * 1e6


def test_the_same_sources_give_the_same_layer(tmp_path: Path) -> None:
    built, rebuilt = (
        duckdb_layer(HOST_ARCHITECTURE),
        duckdb_layer(HOST_ARCHITECTURE, into=tmp_path),
    )

    assert built.name == rebuilt.name
    assert built.read_bytes() == rebuilt.read_bytes()


def test_the_same_sources_give_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    rebuilt = bundled(HOST_ARCHITECTURE, into=tmp_path)

    assert rebuilt.name == bundle.name
    assert rebuilt.read_bytes() == bundle.read_bytes()


def test_an_existing_bundle_is_not_rebuilt(bundle: Path) -> None:
    built_at = bundle.stat().st_mtime_ns

    assert bundled(HOST_ARCHITECTURE) == bundle
    assert bundle.stat().st_mtime_ns == built_at


def test_the_bundle_stays_small(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        unzipped = sum(entry.file_size for entry in archive.infolist())

    assert bundle.stat().st_size < MAX_ZIPPED_MB * 1e6
    assert unzipped < MAX_UNZIPPED_MB * 1e6


def test_bytecode_is_compiled_for_its_path_in_lambda(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
        settings = archive.read("functions/__pycache__/settings.cpython-313.pyc")

    assert b"/var/task/functions/settings.py" in settings
    assert "anthropic/__pycache__/__init__.cpython-313.pyc" in names
    assert {name for name in names if name.endswith("entry_points.txt")}
    assert not {name for name in names if name.endswith(("/RECORD", "/INSTALLER"))}


def test_the_stub_has_a_handler_for_each_stage_that_raises() -> None:
    with zipfile.ZipFile(stub()) as archive:
        assert archive.namelist() == [
            f"functions/{stage}.py" for stage in ("submit", "poll", "results")
        ]
        assert b"raise RuntimeError" in archive.read("functions/poll.py")
