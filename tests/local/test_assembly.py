import json
from pathlib import Path
from typing import Any

import pytest

from infra import template as kept
from infra.errors import BundleError
from infra.template import read_template
from local import assembly
from local.assembly import Assembly, assemble
from local.errors import LocalError
from local.workspace import Workspace

ZIPS = {"bundled": Path("functions-1.zip"), "duckdb_layer": Path("duckdb-1.zip")}


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use zips that nobody has to build."""
    for build, path in ZIPS.items():
        monkeypatch.setattr(assembly, build, lambda _architecture, path=path: path)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(root=Workspace.of_this_clone().root, folder=tmp_path)


def silent(_line: str) -> None:
    """Report nothing."""


def resources_of(assembled: Assembly, kind: str) -> list[dict[str, Any]]:
    """Return the properties of the resources of a type."""
    resources = json.loads(assembled.template.read_bytes())["Resources"].values()
    return [part["Properties"] for part in resources if part["Type"] == f"AWS::{kind}"]


def test_the_functions_get_this_machines_code_and_the_settings_that_they_have(
    workspace: Workspace,
) -> None:
    settings = {"RETRY_S": "2", "REPEATS": "run"}

    assembled = assemble(workspace, "simulator", settings, concurrency=2, report=silent)

    functions = resources_of(assembled, "Lambda::Function")
    architecture = [assembly.host_architecture()]
    assert {function["Code"]["S3Key"] for function in functions} == {"functions-1.zip"}
    assert all(function["Architectures"] == architecture for function in functions)
    variables = [function["Environment"]["Variables"] for function in functions]
    assert [values["RETRY_S"] for values in variables] == ["2", "2", "2"]
    assert [values["REPEATS"] for values in variables if "REPEATS" in values] == ["run"]
    [layer] = resources_of(assembled, "Lambda::LayerVersion")
    assert layer["Content"]["S3Key"] == "duckdb-1.zip"
    assert layer["CompatibleArchitectures"] == architecture
    sources = resources_of(assembled, "Lambda::EventSourceMapping")
    assert [source["ScalingConfig"]["MaximumConcurrency"] for source in sources] == [2, 2]
    assert (assembled.stack, assembled.zips) == ("claude-batch-relay", (*ZIPS.values(),))


def test_the_stack_has_its_usual_name_if_cdk_json_sets_none(tmp_path: Path) -> None:
    (tmp_path / "cdk.json").write_text('{"context": {"pollMinutes": 1}}')

    assembled = assemble(Workspace(root=tmp_path, folder=tmp_path), "real", {}, report=silent)

    assert assembled.stack == "claude-batch-relay"


def test_everything_else_is_as_in_the_repository(workspace: Workspace) -> None:
    assembled = assemble(workspace, "simulator", {}, report=silent)

    ours, kept = json.loads(assembled.template.read_bytes()), read_template()
    for template in (ours, kept):
        for resource in template["Resources"].values():
            if resource["Type"].startswith("AWS::Lambda::"):
                for changed in ("Architectures", "Code", "CompatibleArchitectures", "Content"):
                    resource["Properties"].pop(changed, None)
        del template["Outputs"]["Version"]
    del kept["Parameters"]["Bundle"], kept["Rules"]["NoStub"]
    assert ours == kept


def test_a_change_of_code_or_settings_changes_the_digest(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = assemble(workspace, "simulator", {}, report=silent).digest
    again = assemble(workspace, "simulator", {}, report=silent).digest
    slower = assemble(workspace, "simulator", {"RETRY_S": "3"}, report=silent).digest
    monkeypatch.setattr(assembly, "bundled", lambda _architecture: Path("functions-2.zip"))
    changed = assemble(workspace, "simulator", {}, report=silent).digest

    assert first == again
    assert len({first, slower, changed}) == 3


def test_a_stale_template_is_not_deployed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = json.loads(kept.TEMPLATE.read_bytes())
    content["Metadata"]["Sources"] = "of an earlier cdk.json"
    stale = tmp_path / "template.json"
    stale.write_text(json.dumps(content))
    monkeypatch.setattr(kept, "TEMPLATE", stale)

    with pytest.raises(LocalError, match=r"has changed since .*: run `make synth`"):
        assemble(workspace, "simulator", {}, report=silent)


def test_a_bundle_that_cannot_be_built_is_reported(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_architecture: str) -> Path:
        message = "its packages could not be fetched"
        raise BundleError(message)

    monkeypatch.setattr(assembly, "bundled", fail)

    with pytest.raises(LocalError, match="could not be fetched"):
        assemble(workspace, "simulator", {}, report=silent)


def test_an_unknown_processor_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    with pytest.raises(LocalError, match="no wheels are built for riscv64"):
        assembly.host_architecture()
