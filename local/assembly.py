"""Synthesize what `cdk deploy` would deploy, whenever the sources change. The CDK CLI is not needed for that."""

import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.errors import LocalError
from local.processes import run_program
from local.workspace import Workspace

SOURCES = ("app.py", "cdk.json", "requirements.txt", "infra", "functions")
CLI_CONTEXT = {
    "aws:cdk:enable-asset-metadata": True,
    "aws:cdk:enable-path-metadata": True,
    "aws:cdk:version-reporting": False,
}
"""What the CDK CLI adds to the context of `cdk.json`."""
ARCHITECTURES = {"arm64": "arm64", "aarch64": "arm64", "x86_64": "x86_64", "amd64": "x86_64"}


@dataclass(frozen=True)
class Asset:
    """A file that a stack needs in the bootstrap bucket."""

    path: Path
    bucket: str
    key: str


@dataclass(frozen=True)
class Assembly:
    """One stack of a cloud assembly that the app has written.

    Attributes:
        stack: the stack's name.
        template_object: where its template is after the upload of its assets: ``bucket/key``.
        assets: the files that it needs in the bootstrap bucket, including its template.
    """

    stack: str
    template_object: str
    assets: tuple[Asset, ...]

    @property
    def digest(self) -> str:
        """Return the hash of the template, which is its key."""
        return self.template_object.rpartition("/")[2]

    @classmethod
    def read(cls, folder: Path) -> "Assembly":
        """Read an assembly that holds one stack.

        Raises:
            LocalError: the folder holds no stack, several stacks, or an asset that is not a file.
        """
        artifacts = json.loads((folder / "manifest.json").read_bytes())["artifacts"]
        stacks = {
            name: artifact
            for name, artifact in artifacts.items()
            if artifact["type"] == "aws:cloudformation:stack"
        }
        if len(stacks) != 1:
            message = f"{folder} holds {len(stacks)} stacks; the local cloud deploys exactly one"
            raise LocalError(message)
        [(name, stack)] = stacks.items()
        properties = stack["properties"]
        return cls(
            stack=properties.get("stackName", name),
            template_object=properties["stackTemplateAssetObjectUrl"].removeprefix("s3://"),
            assets=tuple(_assets(folder, artifacts)),
        )


def _assets(folder: Path, artifacts: Mapping[str, Any]) -> Iterator[Asset]:
    for artifact in artifacts.values():
        if artifact["type"] != "cdk:asset-manifest":
            continue
        manifest = json.loads((folder / artifact["properties"]["file"]).read_bytes())
        for asset in manifest.get("files", {}).values():
            if asset["source"]["packaging"] != "file":
                message = f"{asset['source']['path']} is not a file: bundle it into one zip"
                raise LocalError(message)
            for destination in asset["destinations"].values():
                path = folder / asset["source"]["path"]
                yield Asset(
                    path=path, bucket=destination["bucketName"], key=destination["objectKey"]
                )


def synthesize(
    workspace: Workspace,
    name: str,
    context: Mapping[str, str],
    report: Callable[[str], None] = print,
) -> Assembly:
    """Synthesize the app into ``.local/assembly/<name>`` if anything has changed.

    Args:
        workspace: the clone, and where to put the assembly.
        name: identifies this set of settings, so that several can coexist.
        context: settings that differ from ``cdk.json``.
        report: prints progress.

    Raises:
        LocalError: the bundle or the synth failed; the message ends with its output.
    """
    folder = workspace.folder / "assembly" / name
    key, key_file = _source_digest(workspace.root, context), folder.with_suffix(".key")
    if not (key_file.exists() and key_file.read_text(encoding="utf-8") == key):
        key_file.unlink(missing_ok=True)
        report("building the bundle and synthesizing the stack")
        shutil.rmtree(folder, ignore_errors=True)  # the app leaves earlier assets in place
        settings = json.loads((workspace.root / "cdk.json").read_bytes())["context"]
        env = {
            "CDK_CONTEXT_JSON": json.dumps({**settings, **CLI_CONTEXT, **context}),
            "CDK_OUTDIR": str(folder),
        }
        run([sys.executable, "app.py"], workspace.root, env)
        key_file.write_text(key, encoding="utf-8")
    return Assembly.read(folder)


def host_architecture() -> str:
    """Return Lambda's name for this machine's processor; the bundle's wheels must match it."""
    machine = platform.machine().lower()
    if machine not in ARCHITECTURES:
        message = f"no wheels are built for {machine}: the local cloud needs arm64 or x86_64"
        raise LocalError(message)
    return ARCHITECTURES[machine]


def run(command: list[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program and return its output.

    Raises:
        LocalError: it failed; the message ends with its last output.
    """
    clean_env = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    # `make` installs Node.js there if the machine has none.
    node = Workspace.of_this_clone().folder / "nodejs" / "bin"
    path = os.pathsep.join([str(node), os.environ.get("PATH", os.defpath)])
    node_settings = {"CDK_DISABLE_CLI_TELEMETRY": "true", "PATH": path}
    process = run_program(command, folder, clean_env | node_settings | dict(env or {}))
    if process.returncode:
        output = (process.stderr.strip() or process.stdout.strip())[-1500:]
        message = f"`{' '.join(Path(word).name for word in command[:3])}` failed:\n{output}"
        raise LocalError(message)
    return process.stdout


def _source_digest(root: Path, context: Mapping[str, str]) -> str:
    """Hash everything that the assembly depends on: the sources and the settings."""
    digest = hashlib.sha256(json.dumps(context, sort_keys=True).encode())
    for source in SOURCES:
        for path in sorted(
            (root / source).rglob("*") if (root / source).is_dir() else [root / source]
        ):
            if "__pycache__" not in path.parts and path.is_file():
                digest.update(f"{path.relative_to(root)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
