"""Build the Lambda bundle: one zip whose bytes depend only on its sources.

``python -m infra.bundle`` builds it for Lambda's processor on any machine, from prebuilt wheels
that are trimmed and compiled. The file name is a hash of the sources, so nothing is built twice.
The packages have a zip of their own: after a change of functions/, a build takes a second. DuckDB
is a Lambda layer, because it is as large as all of them and only reading Parquet loads it.
"""

import argparse
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import uv

from infra.errors import BundleError
from infra.settings import Architecture

ROOT = Path(__file__).parent.parent
FUNCTIONS = ROOT / "functions"
REQUIREMENTS = FUNCTIONS / "requirements.txt"
LAYER_REQUIREMENTS = FUNCTIONS / "requirements-duckdb.txt"
BUILT = ROOT / ".local" / "bundle"

# Lambda's Python 3.13 runs on Amazon Linux 2023, which has glibc 2.34.
PROCESSORS = {"arm64": "aarch64", "x86_64": "x86_64"}

# The AWS services in use. botocore and boto3 describe about twenty times as many.
SERVICES = {"dynamodb", "lambda", "s3", "secretsmanager", "sns", "sqs", "sts"}

# Files that installers write for themselves; they differ from run to run.
_INSTALLER_FILES = {
    "RECORD",
    "INSTALLER",
    "REQUESTED",
    "direct_url.json",
    "uv_cache.json",
    ".lock",
}

KEPT = 8
"""Zips kept per processor, so that returning to an earlier commit is quick."""

_LAMBDA_TASK_ROOT = "/var/task"
_LAMBDA_LAYER_ROOT = "/opt"
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_STUB = """\
def handler(_event, _context):
    raise RuntimeError("this is a stub for tests: deploy without '-c bundle=stub'")
"""


def bundled(architecture: Architecture, *, into: Path = BUILT) -> Path:
    """Return the bundle of the current sources; build it if it does not exist.

    Raises:
        BundleError: uv could not fetch the packages, or a package has no wheel for Lambda.
    """
    packages, sources = _packages(architecture, into), _sources()
    contents = (part for path, content in sources.items() for part in (path.encode(), content))
    name = f"{architecture}-{_hash(packages.stem.encode(), *contents)}.zip"
    return _build_once(into / name, lambda path: _add_functions(packages, sources, path))


def duckdb_layer(architecture: Architecture, *, into: Path = BUILT) -> Path:
    """Return the Lambda layer with DuckDB; build it if it does not exist.

    Raises:
        BundleError: uv could not fetch the package, or it has no wheel for Lambda.
    """
    sources = _hash(LAYER_REQUIREMENTS.read_bytes(), Path(__file__).read_bytes())

    def build(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            packages = Path(folder, "python")
            _install(packages, LAYER_REQUIREMENTS, architecture)
            _delete_installer_files(packages)
            _zip(Path(folder), path, _LAMBDA_LAYER_ROOT)
        _check(path, architecture)

    return _build_once(into / f"duckdb-{architecture}-{sources}.zip", build)


def stub() -> Path:
    """Return a bundle and a layer without code, for tests that only read the template."""

    def build(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for stage in ("submit", "poll", "results"):
                _add(archive, f"functions/{stage}.py", _STUB.encode())

    return _build_once(BUILT / f"stub-{_hash(_STUB.encode())}.zip", build)


def tags(bundle: Path) -> dict[str, set[str]]:
    """Return the platform tags of each package in the bundle: ``{"jiter": {"manylinux…_aarch64"}}``."""
    with zipfile.ZipFile(bundle) as archive:
        return {
            name.removeprefix("python/").split("-")[0]: {
                line.rsplit("-", 1)[1]
                for line in archive.read(name).decode().splitlines()
                if line.startswith("Tag: ")
            }
            for name in archive.namelist()
            if name.endswith(".dist-info/WHEEL")
        }


def _packages(architecture: Architecture, into: Path) -> Path:
    """Return the zip of the pinned packages, installed for Lambda, trimmed and compiled."""
    sources = _hash(REQUIREMENTS.read_bytes(), Path(__file__).read_bytes())

    def build(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            _install(Path(folder), REQUIREMENTS, architecture)
            _trim(Path(folder))
            _zip(Path(folder), path)
        _check(path, architecture)

    return _build_once(into / f"packages-{architecture}-{sources}.zip", build)


def _add_functions(packages: Path, sources: Mapping[str, bytes], path: Path) -> None:
    shutil.copyfile(packages, path)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in sources.items():
            file = Path(folder, "functions", name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        _zip(Path(folder), path)


def _install(folder: Path, requirements: Path, architecture: Architecture) -> None:
    arguments = (
        *("pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"),
        *("--python-version", "3.13", "--link-mode", "copy"),
        *("--python-platform", f"{PROCESSORS[architecture]}-manylinux_2_34"),
        *("--target", str(folder), "--requirements", str(requirements)),
    )
    process = subprocess.run(  # noqa: S603  # fixed arguments
        [uv.find_uv_bin(), *arguments],
        check=False,
        capture_output=True,
        text=True,
        process_group=0,  # so that Ctrl-C ends the command, not only uv
    )
    if process.returncode:
        output = " ".join(process.stderr.split())[:400]
        message = (
            f"the bundle is not built yet, and its packages could not be fetched: run "
            f"'python -m infra.bundle --architecture {architecture}' once with access to the "
            f"network (uv: {output})"
        )
        raise BundleError(message)


def _trim(folder: Path) -> None:
    """Remove files that Lambda never reads. OpenTelemetry reads ``entry_points.txt``, so it stays."""
    for data in (folder / "botocore" / "data", folder / "boto3" / "data"):
        for service in data.iterdir():
            if service.is_dir() and service.name not in SERVICES:
                shutil.rmtree(service)
    _trim_models(folder / "botocore" / "data")
    _trim_zstandard(folder / "zstandard")
    _delete_installer_files(folder)


def _delete_installer_files(folder: Path) -> None:
    for file in folder.glob("*.dist-info/*"):
        if file.name in _INSTALLER_FILES:
            file.unlink()
    shutil.rmtree(folder / "bin", ignore_errors=True)
    (folder / ".lock").unlink(missing_ok=True)


def _trim_zstandard(package: Path) -> None:
    """Remove the backend that CPython does not use, half of the package."""
    for unused in package.glob("*cffi*"):
        unused.unlink()


def _trim_models(data: Path) -> None:
    """Remove other services' endpoints and all documentation from botocore's data.

    botocore reads this data at each cold start and keeps it in memory; trimming it halves the time
    to create the clients.
    """
    endpoints = data / "endpoints.json"
    content = json.loads(endpoints.read_bytes())
    for partition in content["partitions"]:
        services = partition["services"].items()
        partition["services"] = {name: value for name, value in services if name in SERVICES}
    endpoints.write_text(_json(content), encoding="utf-8")
    for packed in data.glob("*/*/service-2.json.gz"):
        model = json.loads(gzip.decompress(packed.read_bytes()), object_hook=_undocumented)
        packed.with_suffix("").write_text(_json(model), encoding="utf-8")
        packed.unlink()


def _undocumented(part: dict[str, Any]) -> dict[str, Any]:
    """Empty the documentation of a part, but keep the key, which botocore reads.

    A shape may have a member of that name; its value is an object, not text.
    """
    has_text = isinstance(part.get("documentation"), str)
    return part | {"documentation": ""} if has_text else part


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _zip(folder: Path, path: Path, root: str = _LAMBDA_TASK_ROOT) -> None:
    """Compile the folder and add its files to the zip, sorted, with a fixed date."""
    compiler = ("-m", "compileall", "-q", "-s", str(folder), "-p", root)
    process = subprocess.run(  # noqa: S603  # fixed arguments; a fresh process, so that the bytes are reproducible
        [sys.executable, *compiler, "--invalidation-mode", "unchecked-hash", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if process.returncode:
        message = f"the functions do not compile: {' '.join(process.stdout.split())}"
        raise BundleError(message)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                _add(archive, file.relative_to(folder).as_posix(), file.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _FIXED_DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _check(bundle: Path, architecture: Architecture) -> None:
    for package, platforms in tags(bundle).items():
        suffix = PROCESSORS[architecture]
        if not any(platform == "any" or platform.endswith(suffix) for platform in platforms):
            message = (
                f"{package} was fetched for {', '.join(sorted(platforms))}, which Lambda cannot "
                f"run on {architecture}: pin a version that has a wheel for it"
            )
            raise BundleError(message)


def _build_once(path: Path, build: Callable[[Path], None]) -> Path:
    """Return ``path``; build it if it does not exist. Other processes never see a partial file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            partial = Path(folder, path.name)
            build(partial)
            partial.replace(path)
        _delete_old(path.parent, path.name.rpartition("-")[0])
    return path


def _delete_old(folder: Path, kind: str) -> None:
    """Delete all but the newest `KEPT` zips; each change adds another 17 MB."""
    built = sorted(folder.glob(f"{kind}-*.zip"), key=lambda path: path.stat().st_mtime)
    for path in built[:-KEPT]:
        path.unlink(missing_ok=True)


def _sources() -> dict[str, bytes]:
    """Return the files of functions/ by path, read once: the bytes hashed are the bytes packed."""
    return {
        file.relative_to(FUNCTIONS).as_posix(): file.read_bytes()
        for file in sorted(FUNCTIONS.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()[:16]


def main() -> None:
    """Build the bundle and the layer, and print their paths and sizes."""
    parser = argparse.ArgumentParser(prog="python -m infra.bundle", description=main.__doc__)
    parser.add_argument(
        "--architecture", choices=get_args(Architecture.__value__), default="arm64"
    )
    architecture = parser.parse_args().architecture
    try:
        paths = [bundled(architecture), duckdb_layer(architecture)]
    except BundleError as error:
        sys.exit(f"claude-batch-relay: {error}")
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            unzipped = sum(entry.file_size for entry in archive.infolist())
        sizes = f"{path.stat().st_size / 1e6:.1f} MB, {unzipped / 1e6:.1f} MB unzipped"
        sys.stdout.write(f"{path.relative_to(ROOT)}: {sizes}\n")


if __name__ == "__main__":
    main()
