import json
from pathlib import Path
from typing import Any

import pytest

from local.assembly import Assembly, synthesize
from local.errors import LocalError
from local.workspace import Workspace

APP = """\
import os, shutil
with open(".local/calls", "a") as calls:
    print(os.environ["CDK_CONTEXT_JSON"], file=calls)
shutil.copytree("assembly", os.environ["CDK_OUTDIR"])
"""


def write_assembly(folder: Path, *, packaging: str = "file", stacks: int = 1) -> None:
    """Write an assembly as the app does."""
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
    """Create a clone whose app copies an assembly and logs its context."""
    for source in ("requirements.txt", "infra/a.py", "functions/b.py"):
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (tmp_path / source).write_text("1")
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "cdk.json").write_text('{"context": {"architecture": "x86_64", "attempts": 3}}')
    (tmp_path / ".local").mkdir()
    write_assembly(tmp_path / "assembly")
    return Workspace(root=tmp_path, folder=tmp_path / ".local")


def contexts(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the context of each run of the app."""
    return [json.loads(line) for line in (workspace.folder / "calls").read_text().splitlines()]


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

    [context] = contexts(workspace)
    assert (context["architecture"], context["attempts"]) == ("arm64", 3)


@pytest.mark.parametrize("source", ["app.py", "infra/a.py", "functions/b.py", "functions/new.py"])
def test_a_changed_source_is_synthesized_again(workspace: Workspace, source: str) -> None:
    synthesize(workspace, "simulator", {}, lambda _line: None)
    with (workspace.root / source).open("a") as file:
        file.write("# changed")

    synthesize(workspace, "simulator", {}, lambda _line: None)

    assert len(contexts(workspace)) == 2


def test_changed_settings_are_synthesized_again(workspace: Workspace) -> None:
    synthesize(workspace, "simulator", {"baseUrl": "http://127.0.0.1:1"}, lambda _line: None)
    synthesize(workspace, "simulator", {"baseUrl": "http://127.0.0.1:2"}, lambda _line: None)

    assert len(contexts(workspace)) == 2


def test_a_failed_synth_raises_its_error_and_is_retried(workspace: Workspace) -> None:
    (workspace.root / "app.py").write_text("import sys; sys.exit('pollMinutes is 0')")
    with pytest.raises(LocalError, match="pollMinutes is 0"):
        synthesize(workspace, "simulator", {}, lambda _line: None)

    (workspace.root / "app.py").write_text(APP)

    assert synthesize(workspace, "simulator", {}, lambda _line: None).stack == "relay"


def test_files_of_an_earlier_assembly_are_removed(workspace: Workspace) -> None:
    synthesize(workspace, "simulator", {}, lambda _line: None)
    left = workspace.folder / "assembly" / "simulator" / "asset.old.zip"
    left.write_text("old")

    synthesize(workspace, "simulator", {"attempts": "2"}, lambda _line: None)

    assert not left.exists()
