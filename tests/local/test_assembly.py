import json
import stat
from pathlib import Path
from typing import Any

import pytest

from local.assembly import Assembly, synthesize
from local.errors import LocalError
from local.workspace import Home

STAND_IN = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
while [ "$1" != "--output" ]; do shift; done
mkdir -p "$2" && cp -r assembly/. "$2"
"""


def write(folder: Path, *, packaging: str = "file", stacks: int = 1) -> None:
    """Write an assembly as `cdk synth` does."""
    place = {"bucketName": "assets-${AWS::AccountId}", "objectKey": "abc.json"}
    file = {
        "source": {"path": "stack.template.json", "packaging": packaging},
        "destinations": {"here": place},
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
def home(tmp_path: Path) -> Home:
    """Make a clone whose CDK CLI only copies an assembly, and counts."""
    for source in ("app.py", "cdk.json", "requirements.txt", "infra/a.py", "functions/b.py"):
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (tmp_path / source).write_text("1")
    write(tmp_path / "assembly")
    cdk = tmp_path / ".local" / "node" / "node_modules" / ".bin" / "cdk"
    cdk.parent.mkdir(parents=True)
    cdk.write_text(STAND_IN)
    cdk.chmod(cdk.stat().st_mode | stat.S_IXUSR)
    return Home(root=tmp_path, folder=tmp_path / ".local")


def calls(home: Home) -> list[str]:
    return (home.folder / "node/node_modules/.bin/calls").read_text().splitlines()


def test_an_assembly_says_what_to_put_where(tmp_path: Path) -> None:
    write(tmp_path)

    assembly = Assembly.read(tmp_path)

    [asset] = assembly.assets
    assert (assembly.stack, assembly.digest) == ("relay", "abc.json")
    assert asset.path == tmp_path / "stack.template.json"
    assert (asset.bucket, asset.key) == ("assets-${AWS::AccountId}", "abc.json")


def test_an_assembly_of_two_stacks_is_not_guessed_at(tmp_path: Path) -> None:
    write(tmp_path, stacks=2)

    with pytest.raises(LocalError, match="2 stacks"):
        Assembly.read(tmp_path)


def test_an_asset_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, packaging="zip")

    with pytest.raises(LocalError, match="bundle it into one zip"):
        Assembly.read(tmp_path)


def test_nothing_is_synthesized_twice(home: Home) -> None:
    for _ in range(2):
        synthesize(home, "simulator", {"architecture": "arm64"}, lambda _line: None)

    [call] = calls(home)
    assert "--context architecture=arm64" in call


@pytest.mark.parametrize("source", ["app.py", "infra/a.py", "functions/b.py", "functions/new.py"])
def test_a_change_of_any_source_is_synthesized(home: Home, source: str) -> None:
    synthesize(home, "simulator", {}, lambda _line: None)
    (home.root / source).write_text("2")

    synthesize(home, "simulator", {}, lambda _line: None)

    assert len(calls(home)) == 2


def test_other_settings_are_synthesized(home: Home) -> None:
    synthesize(home, "simulator", {"baseUrl": "http://127.0.0.1:1"}, lambda _line: None)
    synthesize(home, "simulator", {"baseUrl": "http://127.0.0.1:2"}, lambda _line: None)

    assert len(calls(home)) == 2


def test_a_synth_that_fails_is_told_and_tried_again(home: Home) -> None:
    cdk = home.folder / "node/node_modules/.bin/cdk"
    works = cdk.read_text()
    cdk.write_text("#!/bin/sh\necho 'pollMinutes is 0' >&2\nexit 1\n")
    with pytest.raises(LocalError, match="pollMinutes is 0"):
        synthesize(home, "simulator", {}, lambda _line: None)

    cdk.write_text(works)

    assert synthesize(home, "simulator", {}, lambda _line: None).stack == "relay"


def test_without_the_cdk_cli_it_is_said_how_to_get_it(home: Home) -> None:
    (home.folder / "node/node_modules/.bin/cdk").unlink()

    with pytest.raises(LocalError, match="make demo"):
        synthesize(home, "simulator", {}, lambda _line: None)
