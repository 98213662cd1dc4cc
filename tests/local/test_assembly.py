import json
import stat
from pathlib import Path
from typing import Any

import pytest

from local.assembly import Assembly, synthesize
from local.errors import LocalError
from local.workspace import Workspace

FAKE_CDK = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
while [ "$1" != "--output" ]; do shift; done
mkdir -p "$2" && cp -r assembly/. "$2"
"""


def write_assembly(folder: Path, *, packaging: str = "file", stacks: int = 1) -> None:
    """Write an assembly as `cdk synth` does."""
    destination = {"bucketName": "assets-${AWS::AccountId}", "objectKey": "abc.json"}
    file = {
        "source": {"path": "stack.template.json", "packaging": packaging},
        "destinations": {"here": destination},
    }
    artifacts: dict[str, Any] = {
        f"stack{number}": {
            "type": "aws:cloudformation:stack",
            "properties": {
                "stackName": "relay",
                "templateFile": "stack.template.json",
                "stackTemplateAssetObjectUrl": "s3://assets-${AWS::AccountId}/abc.json",
            },
        }
        for number in range(stacks)
    }
    artifacts["assets"] = {"type": "cdk:asset-manifest", "properties": {"file": "assets.json"}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"artifacts": artifacts}))
    (folder / "assets.json").write_text(json.dumps({"files": {"abc": file}}))
    (folder / "stack.template.json").write_text("{}")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Create a clone whose CDK CLI copies an assembly and logs its calls."""
    for source in ("app.py", "cdk.json", "requirements.txt", "infra/a.py", "functions/b.py"):
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (tmp_path / source).write_text("1")
    write_assembly(tmp_path / "assembly")
    cdk = tmp_path / ".local" / "node" / "node_modules" / ".bin" / "cdk"
    cdk.parent.mkdir(parents=True)
    cdk.write_text(FAKE_CDK)
    cdk.chmod(cdk.stat().st_mode | stat.S_IXUSR)
    return Workspace(root=tmp_path, folder=tmp_path / ".local")


def calls(workspace: Workspace) -> list[str]:
    return (workspace.folder / "node/node_modules/.bin/calls").read_text().splitlines()


def test_an_assembly_lists_each_asset_with_its_bucket_and_key(tmp_path: Path) -> None:
    write_assembly(tmp_path)

    assembly = Assembly.read(tmp_path)

    [asset] = assembly.assets
    assert (assembly.stack, assembly.digest) == ("relay", "abc.json")
    assert asset.path == tmp_path / "stack.template.json"
    assert (asset.bucket, asset.key) == ("assets-${AWS::AccountId}", "abc.json")


def test_an_assembly_of_two_stacks_is_an_error(tmp_path: Path) -> None:
    write_assembly(tmp_path, stacks=2)

    with pytest.raises(LocalError, match="2 stacks"):
        Assembly.read(tmp_path)


def test_an_asset_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    write_assembly(tmp_path, packaging="zip")

    with pytest.raises(LocalError, match="bundle it into one zip"):
        Assembly.read(tmp_path)


def test_unchanged_sources_are_synthesized_once(workspace: Workspace) -> None:
    for _ in range(2):
        synthesize(workspace, "simulator", {"architecture": "arm64"}, lambda _line: None)

    [call] = calls(workspace)
    assert "--context architecture=arm64" in call


@pytest.mark.parametrize("source", ["app.py", "infra/a.py", "functions/b.py", "functions/new.py"])
def test_a_changed_source_is_synthesized_again(workspace: Workspace, source: str) -> None:
    synthesize(workspace, "simulator", {}, lambda _line: None)
    (workspace.root / source).write_text("2")

    synthesize(workspace, "simulator", {}, lambda _line: None)

    assert len(calls(workspace)) == 2


def test_changed_settings_are_synthesized_again(workspace: Workspace) -> None:
    synthesize(workspace, "simulator", {"baseUrl": "http://127.0.0.1:1"}, lambda _line: None)
    synthesize(workspace, "simulator", {"baseUrl": "http://127.0.0.1:2"}, lambda _line: None)

    assert len(calls(workspace)) == 2


def test_a_failed_synth_raises_its_error_and_is_retried(workspace: Workspace) -> None:
    cdk = workspace.folder / "node/node_modules/.bin/cdk"
    working_script = cdk.read_text()
    cdk.write_text("#!/bin/sh\necho 'pollMinutes is 0' >&2\nexit 1\n")
    with pytest.raises(LocalError, match="pollMinutes is 0"):
        synthesize(workspace, "simulator", {}, lambda _line: None)

    cdk.write_text(working_script)

    assert synthesize(workspace, "simulator", {}, lambda _line: None).stack == "relay"


def test_a_missing_cdk_cli_raises_an_error_that_says_how_to_install_it(
    workspace: Workspace,
) -> None:
    (workspace.folder / "node/node_modules/.bin/cdk").unlink()

    with pytest.raises(LocalError, match="make demo"):
        synthesize(workspace, "simulator", {}, lambda _line: None)
