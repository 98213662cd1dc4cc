"""What `cdk deploy` would deploy: synthesized by the real CLI, once for each state of the source."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.errors import LocalError
from local.workspace import Home

SOURCES = ("app.py", "cdk.json", "requirements.txt", "infra", "functions")
ARCHITECTURES = {"arm64": "arm64", "aarch64": "arm64", "x86_64": "x86_64", "amd64": "x86_64"}


@dataclass(frozen=True)
class Asset:
    """A file that a stack needs in the bootstrap bucket."""

    path: Path
    bucket: str
    key: str


@dataclass(frozen=True)
class Assembly:
    """One stack of a cloud assembly, as ``cdk synth`` leaves it in its folder.

    Attributes:
        stack: the stack's name.
        template_object: where its template lies once the assets are put: ``bucket/key``.
        assets: what it needs in the bootstrap bucket, its template too.
    """

    stack: str
    template_object: str
    assets: tuple[Asset, ...]

    @property
    def digest(self) -> str:
        """Name what would be deployed: the template's key is the hash of what it says."""
        return self.template_object.rpartition("/")[2]

    @classmethod
    def read(cls, folder: Path) -> "Assembly":
        """Read a folder that ``cdk synth`` has written; it holds one stack.

        Raises:
            LocalError: it holds none, or several, or a kind of asset that is no file.
        """
        artifacts = json.loads((folder / "manifest.json").read_bytes())["artifacts"]
        stacks = {
            name: one
            for name, one in artifacts.items()
            if one["type"] == "aws:cloudformation:stack"
        }
        if len(stacks) != 1:
            message = (
                f"{folder} holds {len(stacks)} stacks, and the local cloud deploys exactly one"
            )
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
                message = f"{asset['source']['path']} is no file: bundle it into one zip"
                raise LocalError(message)
            for place in asset["destinations"].values():
                path = folder / asset["source"]["path"]
                yield Asset(path=path, bucket=place["bucketName"], key=place["objectKey"])


def synthesize(
    home: Home, name: str, context: Mapping[str, str], say: Callable[[str], None] = print
) -> Assembly:
    """Synthesize the app into ``.local/assembly/<name>``, unless nothing has changed since.

    Args:
        home: the clone, and where to put it.
        name: names this set of settings, so that several can be kept side by side.
        context: settings that differ from ``cdk.json``.
        say: is told what takes a while.

    Raises:
        LocalError: the bundle or the synth failed; the message ends with what it said.
    """
    folder = home.folder / "assembly" / name
    key, kept = _key(home.root, context), folder.with_suffix(".key")
    if not (kept.exists() and kept.read_text(encoding="utf-8") == key):
        kept.unlink(missing_ok=True)
        say("building the bundle and synthesizing the stack")
        options = [word for pair in context.items() for word in ("--context", "=".join(pair))]
        command = [*cdk(home), "synth", "--quiet", "--output", str(folder), *options]
        run(command, home.root)
        kept.write_text(key, encoding="utf-8")
    return Assembly.read(folder)


def host_architecture() -> str:
    """Give Lambda's name for this machine's processor: the bundle's wheels must be its own."""
    machine = platform.machine().lower()
    if machine not in ARCHITECTURES:
        message = f"no wheels are built for {machine}: the local cloud needs arm64 or x86_64"
        raise LocalError(message)
    return ARCHITECTURES[machine]


def cdk(home: Home) -> list[str]:
    """Give the command of the pinned CDK CLI."""
    program = home.folder / "node" / "node_modules" / ".bin" / "cdk"
    if not program.exists():
        message = "the CDK CLI is not in .local/node: run `make demo`, which installs it"
        raise LocalError(message)
    return [str(program), "--no-notices"]


def run(command: list[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end, and give what it printed.

    Raises:
        LocalError: it failed; the message ends with the last it said.
    """
    clean = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    node = Home.of_clone().folder / "nodejs" / "bin"  # where `make` had to install Node.js
    path = os.pathsep.join([str(node), os.environ.get("PATH", os.defpath)])
    settings = {"CDK_DISABLE_CLI_TELEMETRY": "true", "PATH": path}
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean | settings | dict(env or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        message = f"`{' '.join(Path(word).name for word in command[:3])}` failed:\n{said}"
        raise LocalError(message)
    return done.stdout


def _key(root: Path, context: Mapping[str, str]) -> str:
    """Hash whatever the assembly depends on: sources by content, settings."""
    hashed = hashlib.sha256(json.dumps(context, sort_keys=True).encode())
    for source in SOURCES:
        for path in sorted(
            (root / source).rglob("*") if (root / source).is_dir() else [root / source]
        ):
            if path.is_file() and path.suffix != ".pyc":
                hashed.update(f"{path.relative_to(root)}\0".encode())
                hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()
