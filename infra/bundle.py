"""The bundle: what Lambda runs, as one zip whose bytes depend on nothing but its sources.

``python -m infra.bundle`` builds it for Lambda's processor, whatever this machine's is: ready-made
wheels for Lambda's platform, trimmed and compiled. The same sources have the same name, so nothing
is built twice; the packages lie in a zip of their own, so that a change of ours costs a second.
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
BUILT = ROOT / ".local" / "bundle"

# Amazon Linux 2023, under Lambda's Python 3.13, has glibc 2.34.
PROCESSORS = {"arm64": "aarch64", "x86_64": "x86_64"}

# botocore and boto3 describe every service there is; what we speak to is a twentieth of it.
SERVICES = {"dynamodb", "lambda", "s3", "secretsmanager", "sns", "sqs", "sts"}

# What installers note down for themselves; it differs from one run to the next.
_NOTES = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", ".lock"}

KEPT = 8
"""How many bundles for a processor are kept, so that going back to a former state is quick."""

_LAMBDAS_HOME = "/var/task"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_STUB = """\
def handler(_event, _context):
    raise RuntimeError("a stub, for tests: deploy without '-c bundle=stub'")
"""


def bundled(architecture: Architecture, *, into: Path = BUILT) -> Path:
    """Give the bundle of the sources as they are, built unless it was built before.

    Raises:
        BundleError: uv could not fetch the packages, or fetched some for another processor.
    """
    packages, sources = _packages(architecture, into), _sources()
    contents = (part for name, content in sources.items() for part in (name.encode(), content))
    named = f"{architecture}-{_hash(packages.stem.encode(), *contents)}.zip"
    return _made_once(into / named, lambda path: _with_functions(packages, sources, path))


def stub() -> Path:
    """Give a bundle of nothing, for tests that look at the template alone."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for stage in ("submit", "poll", "results"):
                _add(archive, f"functions/{stage}.py", _STUB.encode())

    return _made_once(BUILT / f"stub-{_hash(_STUB.encode())}.zip", make)


def tags(bundle: Path) -> dict[str, set[str]]:
    """Read which platforms each package in the bundle is for: ``{"jiter": {"manylinux…_aarch64"}}``."""
    with zipfile.ZipFile(bundle) as archive:
        return {
            name.split("-")[0]: {
                line.rsplit("-", 1)[1]
                for line in archive.read(name).decode().splitlines()
                if line.startswith("Tag: ")
            }
            for name in archive.namelist()
            if name.endswith(".dist-info/WHEEL")
        }


def _packages(architecture: Architecture, into: Path) -> Path:
    """Give the zip of the pinned packages, installed for Lambda, trimmed and compiled."""
    made_of = _hash(REQUIREMENTS.read_bytes(), Path(__file__).read_bytes())

    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            _install(Path(folder), architecture)
            _trim(Path(folder))
            _zip(Path(folder), path)
        _check(path, architecture)

    return _made_once(into / f"packages-{architecture}-{made_of}.zip", make)


def _with_functions(packages: Path, sources: Mapping[str, bytes], path: Path) -> None:
    shutil.copyfile(packages, path)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in sources.items():
            file = Path(folder, "functions", name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        _zip(Path(folder), path)


def _install(folder: Path, architecture: Architecture) -> None:
    arguments = (
        *("pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"),
        *("--python-version", "3.13", "--link-mode", "copy"),
        *("--python-platform", f"{PROCESSORS[architecture]}-manylinux_2_34"),
        *("--target", str(folder), "--requirements", str(REQUIREMENTS)),
    )
    done = subprocess.run(  # noqa: S603  # a list made here
        [uv.find_uv_bin(), *arguments], check=False, capture_output=True, text=True
    )
    if done.returncode:
        said = " ".join(done.stderr.split())[:400]
        message = (
            f"the bundle is not built yet, and its packages could not be fetched: run "
            f"'python -m infra.bundle --architecture {architecture}' once where there is a "
            f"network (uv says: {said})"
        )
        raise BundleError(message)


def _trim(folder: Path) -> None:
    """Leave out what is never read in Lambda; ``entry_points.txt`` stays, OpenTelemetry reads it."""
    for described in (folder / "botocore" / "data", folder / "boto3" / "data"):
        for service in described.iterdir():
            if service.is_dir() and service.name not in SERVICES:
                shutil.rmtree(service)
    _trim_models(folder / "botocore" / "data")
    for note in folder.glob("*.dist-info/*"):
        if note.name in _NOTES:
            note.unlink()
    shutil.rmtree(folder / "bin", ignore_errors=True)
    (folder / ".lock").unlink(missing_ok=True)


def _trim_models(data: Path) -> None:
    """Leave out what botocore would read at each cold start, and hold in memory ever after, for nothing.

    That is where all the other services lie, and documentation: half of what it takes to make the clients.
    """
    endpoints = data / "endpoints.json"
    found = json.loads(endpoints.read_bytes())
    for partition in found["partitions"]:
        services = partition["services"].items()
        partition["services"] = {name: one for name, one in services if name in SERVICES}
    endpoints.write_text(_json(found), encoding="utf-8")
    for packed in data.glob("*/*/service-2.json.gz"):
        model = json.loads(gzip.decompress(packed.read_bytes()), object_hook=_undocumented)
        packed.with_suffix("").write_text(_json(model), encoding="utf-8")
        packed.unlink()


def _undocumented(part: dict[str, Any]) -> dict[str, Any]:
    """Empty a documentation, which botocore reads here and there; a shape's member of that name is an object."""
    written = isinstance(part.get("documentation"), str)
    return part | {"documentation": ""} if written else part


def _json(found: object) -> str:
    return json.dumps(found, separators=(",", ":"))


def _zip(folder: Path, path: Path) -> None:
    """Compile what lies in the folder, and add it to the zip in order, with no date of its own."""
    compiler = ("-m", "compileall", "-q", "-s", str(folder), "-p", _LAMBDAS_HOME)
    done = subprocess.run(  # noqa: S603  # a list made here; a process of its own, for the same bytes
        [sys.executable, *compiler, "--invalidation-mode", "unchecked-hash", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        message = f"the functions do not compile: {' '.join(done.stdout.split())}"
        raise BundleError(message)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                _add(archive, file.relative_to(folder).as_posix(), file.read_bytes())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _LONG_AGO)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _check(bundle: Path, architecture: Architecture) -> None:
    for package, platforms in tags(bundle).items():
        fits = {one for one in platforms if one == "any" or one.endswith(PROCESSORS[architecture])}
        if not fits:
            message = (
                f"{package} was fetched for {', '.join(sorted(platforms))}, which Lambda cannot "
                f"run on {architecture}: pin a version that has a wheel for it"
            )
            raise BundleError(message)


def _made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """Give ``path``, made unless it is there; another process never sees half of it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            half = Path(folder, path.name)
            make(half)
            half.replace(path)
        _forget(path.parent, path.name.rpartition("-")[0])
    return path


def _forget(folder: Path, kind: str) -> None:
    """Leave the last few of what was built; each change of ours makes another 17 MB."""
    built = sorted(folder.glob(f"{kind}-*.zip"), key=lambda path: path.stat().st_mtime)
    for path in built[:-KEPT]:
        path.unlink(missing_ok=True)


def _sources() -> dict[str, bytes]:
    """Read our own code once, so that what is named by a hash is what was hashed."""
    return {
        file.relative_to(FUNCTIONS).as_posix(): file.read_bytes()
        for file in sorted(FUNCTIONS.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def _hash(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8) + part)
    return total.hexdigest()[:16]


def main() -> None:
    """Build the bundle, and say where it is and how large."""
    parser = argparse.ArgumentParser(prog="python -m infra.bundle", description=main.__doc__)
    parser.add_argument(
        "--architecture", choices=get_args(Architecture.__value__), default="arm64"
    )
    try:
        path = bundled(parser.parse_args().architecture)
    except BundleError as error:
        sys.exit(f"claude-batch-relay: {error}")
    with zipfile.ZipFile(path) as archive:
        unzipped = sum(entry.file_size for entry in archive.infolist())
    sizes = f"{path.stat().st_size / 1e6:.1f} MB, {unzipped / 1e6:.1f} MB unzipped"
    sys.stdout.write(f"{path.relative_to(ROOT)}: {sizes}\n")


if __name__ == "__main__":
    main()
