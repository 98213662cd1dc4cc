"""`cdk synth` needs no credentials, Docker or network, and gives what the local cloud deploys; errors are one sentence."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.bundle import ROOT, bundled, duckdb_layer
from infra.synth import synthesize
from infra.template import SOURCES, TEMPLATE, sources_digest
from local import environment
from local.api_endpoint import ApiEndpoint
from local.assembly import host_architecture
from local.workspace import Workspace

CDK = ROOT / ".local" / "node" / "node_modules" / ".bin" / "cdk"


UNPACKED = Path.home() / ".cache" / "aws" / "jsii" / "package-cache"
"""Where jsii unpacks the CDK on Linux: thousands of files, which take 13 s of processor time."""


@pytest.fixture
def isolated_env(tmp_path: Path) -> dict[str, str]:
    """Return an environment without credentials or network; only what jsii has unpacked is kept."""
    closed_port = "http://127.0.0.1:9"
    return {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "HTTP_PROXY": closed_port,
        "HTTPS_PROXY": closed_port,
        "ALL_PROXY": closed_port,
        "UV_CACHE_DIR": str(tmp_path / "empty"),
        "UV_HTTP_RETRIES": "0",
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_OUTDIR": str(tmp_path / "out"),
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(UNPACKED),
        "DOCKER_HOST": "unix:///nonexistent",
    }


@pytest.fixture
def unbuilt_clone(tmp_path: Path) -> Path:
    """Return a copy of the project without any build output."""
    folder = tmp_path / "clone"
    ignore_build = shutil.ignore_patterns("__pycache__")
    for part in ("infra", "functions"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignore_build)
    for file in ("app.py", "requirements.txt"):
        shutil.copy(ROOT / file, folder)
    return folder


def run_app(folder: Path, env: dict[str, str], **context: object) -> tuple[int, list[str]]:
    """Run app.py as the CDK does; return its exit code and the lines of standard error."""
    process = subprocess.run(
        [sys.executable, "app.py"],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=env | {"CDK_CONTEXT_JSON": json.dumps(context)},
    )
    return process.returncode, process.stderr.splitlines()


LOCAL_SETTINGS = {
    "architecture": host_architecture(),
    "repeats": "run",
    "submitConcurrency": 2,
    "resultsConcurrency": 2,
    "baseUrl": "http://127.0.0.1:20000",
    "absentSeconds": 6,
    "skewSeconds": 1,
    "probeSeconds": 2,
    "retrySeconds": 2,
    "incompleteSeconds": 5,
    "createTimeoutSeconds": 60,
}
"""How the local cloud with the simulator differs from cdk.json."""


def without_keys_of_zips(template: dict[str, Any]) -> dict[str, Any]:
    """Remove what the CDK names in its own way: the objects with the code, and its notes for tools."""
    for resource in template["Resources"].values():
        resource.pop("Metadata", None)
        for part in ("Code", "Content"):
            resource.get("Properties", {}).get(part, {}).pop("S3Key", None)
    return template


def test_the_stored_template_is_what_cdk_synth_writes() -> None:
    kept = json.loads(TEMPLATE.read_bytes())

    assert kept == {"Metadata": {"Sources": sources_digest()}, **synthesize()}, "run `make synth`"


def test_cdk_synth_needs_no_credentials_docker_or_network_and_writes_what_the_local_cloud_deploys(
    tmp_path: Path, isolated_env: dict[str, str]
) -> None:
    architecture = host_architecture()
    built = {bundled(architecture).read_bytes(), duckdb_layer(architecture).read_bytes()}
    settings = [f"--context={name}={value}" for name, value in LOCAL_SETTINGS.items()]
    output = ["--output", str(tmp_path / "assembly")]

    process = subprocess.run(  # noqa: S603  # a list made here
        [CDK, "synth", "--quiet", "--no-notices", *settings, *output],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=isolated_env,
    )

    assert process.returncode == 0, process.stderr
    assert "deprecated" not in process.stderr.lower()
    assert "running on node" not in process.stderr, "jsii warns of the version of Node.js"
    assets = (tmp_path / "assembly").glob("asset.*.zip")
    assert {asset.read_bytes() for asset in assets} == built
    template = json.loads((tmp_path / "assembly/claude-batch-relay.template.json").read_bytes())
    assert "NoStub" not in template["Rules"]
    simulator = ApiEndpoint("simulator", str(LOCAL_SETTINGS["baseUrl"]), "sk-local")
    workspace = Workspace(ROOT, tmp_path / "local")
    deployed = environment.build_assembly(workspace, simulator, lambda _line: None)
    assert {path.read_bytes() for path in deployed.zips} == built
    ours = json.loads(deployed.template.read_bytes())
    assert without_keys_of_zips(ours) == without_keys_of_zips(template)


def test_a_missing_library_is_reported_in_one_sentence(isolated_env: dict[str, str]) -> None:
    without_it = "import runpy, sys; sys.modules['aws_cdk'] = None; runpy.run_path('app.py', run_name='__main__')"

    process = subprocess.run(  # noqa: S603  # a list made here
        [sys.executable, "-c", without_it],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=isolated_env,
    )

    assert process.returncode == 1
    [message] = process.stderr.splitlines()
    assert message.startswith("claude-batch-relay: the library of the CDK is not installed: run ")


def test_an_invalid_setting_is_reported_in_one_sentence(isolated_env: dict[str, str]) -> None:
    assert run_app(ROOT, isolated_env, pollMinutes="often", bundle="stub") == (
        1,
        ["claude-batch-relay: pollMinutes is 'often', but must be a whole number from 1 to 60."],
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            '{"context": {"pollMinutes": "often"}}',
            "pollMinutes is 'often', but must be a whole number from 1 to 60.",
        ),
        (
            '{"context": {"pollMinutes": 1,}}',
            "cdk.json is not JSON: Illegal trailing comma before end of object: line 1 column 30 (char 29)",
        ),
    ],
    ids=["setting", "JSON"],
)
def test_make_synth_reports_a_cdk_json_that_cannot_be_used_in_one_sentence(
    unbuilt_clone: Path, isolated_env: dict[str, str], content: str, sentence: str
) -> None:
    (unbuilt_clone / "cdk.json").write_text(content)

    process = subprocess.run(
        [sys.executable, "-m", "infra.synth"],
        check=False,
        capture_output=True,
        text=True,
        cwd=unbuilt_clone,
        env=isolated_env,
    )

    assert process.returncode == 1
    assert process.stderr.splitlines() == [f"claude-batch-relay: {sentence}"]


def test_a_bundle_that_cannot_be_downloaded_is_reported_in_one_sentence(
    unbuilt_clone: Path, isolated_env: dict[str, str]
) -> None:
    code, (message,) = run_app(unbuilt_clone, isolated_env)

    assert code == 1
    assert "its packages could not be fetched" in message
    assert "'python -m infra.bundle --architecture arm64'" in message


def test_a_stub_is_synthesized_without_a_build(
    unbuilt_clone: Path, isolated_env: dict[str, str]
) -> None:
    assert run_app(unbuilt_clone, isolated_env, bundle="stub") == (0, [])


def test_the_template_depends_on_all_that_infra_imports() -> None:
    """A change of any of them makes the kept template stale."""
    trees = [ast.parse(file.read_text("utf-8")) for file in (ROOT / "infra").glob("*.py")]
    imports = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    ]
    modules = {node.module for node in imports if (node.module or "").startswith("functions.")}

    files = {f"{module.replace('.', '/')}.py" for module in modules if module}
    assert len(files) > 2
    assert files <= {*SOURCES}
