"""Fill in the template that the repository keeps, so that the local cloud can deploy it without the CDK.

tests/infra/test_synth.py compares the result with what ``cdk synth`` writes for the same settings.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.bundle import bundled, duckdb_layer
from infra.errors import DeploymentError
from infra.settings import Architecture, StackSettings
from infra.template import read_template
from infra.version import version
from local.errors import LocalError
from local.workspace import Workspace

ARCHITECTURES: dict[str, Architecture] = {
    "arm64": "arm64",
    "aarch64": "arm64",
    "x86_64": "x86_64",
    "amd64": "x86_64",
}


@dataclass(frozen=True)
class Assembly:
    """A stack that can be deployed.

    Attributes:
        stack: its name.
        template: the file with its template.
        zips: the code of its functions and layers; the template refers to each by its file name.
    """

    stack: str
    template: Path
    zips: tuple[Path, ...] = ()

    @property
    def digest(self) -> str:
        """Return the hash of the template, which changes with every zip."""
        return hashlib.sha256(self.template.read_bytes()).hexdigest()


def assemble(
    workspace: Workspace,
    name: str,
    variables: Mapping[str, str],
    *,
    concurrency: int | None = None,
    report: Callable[[str], None] = print,
) -> Assembly:
    """Build the zips if they are not built, and fill in the template for this machine.

    Args:
        workspace: the clone, and where to put the template.
        name: identifies these settings, so that several can coexist.
        variables: settings that differ from cdk.json, as variables of the functions: ``{"RETRY_S": "2"}``.
        concurrency: how many invocations each of submit and results may run at once; None for cdk.json's settings.
        report: prints progress.

    Raises:
        LocalError: the template is stale, or a zip cannot be built.
    """
    architecture = host_architecture()
    report("preparing the bundle")
    try:
        template = read_template()
        code, layer = bundled(architecture), duckdb_layer(architecture)
    except DeploymentError as error:
        raise LocalError(str(error)) from error
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::Lambda::Function":
                properties["Code"]["S3Key"] = code.name
                properties["Architectures"] = [architecture]
                _set_variables(properties["Environment"]["Variables"], variables)
            case "AWS::Lambda::LayerVersion":
                properties["Content"]["S3Key"] = layer.name
                properties["CompatibleArchitectures"] = [architecture]
            case "AWS::Lambda::EventSourceMapping" if concurrency:
                properties["ScalingConfig"]["MaximumConcurrency"] = concurrency
    template["Outputs"]["Version"]["Value"] = version()
    del (
        template["Parameters"]["Bundle"],
        template["Rules"]["NoStub"],
    )  # they reject a stack without code
    path = workspace.folder / "assembly" / f"{name}.template.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(template), encoding="utf-8")
    return Assembly(stack=_stack(workspace), template=path, zips=(code, layer))


def host_architecture() -> Architecture:
    """Return Lambda's name for this machine's processor; the bundle's wheels must match it."""
    machine = platform.machine().lower()
    if machine not in ARCHITECTURES:
        message = f"no wheels are built for {machine}: the local cloud needs arm64 or x86_64"
        raise LocalError(message)
    return ARCHITECTURES[machine]


def _set_variables(of_function: dict[str, Any], variables: Mapping[str, str]) -> None:
    """Change the variables that the function already has."""
    of_function.update({name: variables[name] for name in of_function.keys() & variables.keys()})


def _stack(workspace: Workspace) -> str:
    settings = json.loads((workspace.root / "cdk.json").read_bytes())["context"]
    return str(settings.get("stackName", StackSettings.stack_name))
