"""`cdk synth` needs no credentials, no Docker and no network; what is wrong is one sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.bundle import ROOT, bundled

CDK = ROOT / ".local" / "node" / "node_modules" / ".bin" / "cdk"


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """Give an environment without credentials, where no program finds its way out."""
    closed = "http://127.0.0.1:9"
    return {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "HTTP_PROXY": closed,
        "HTTPS_PROXY": closed,
        "ALL_PROXY": closed,
        "UV_CACHE_DIR": str(tmp_path / "empty"),
        "UV_HTTP_RETRIES": "0",
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_OUTDIR": str(tmp_path / "out"),
        "DOCKER_HOST": "unix:///nonexistent",
    }


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a copy of the project in which nothing was ever built."""
    folder = tmp_path / "clone"
    unbuilt = shutil.ignore_patterns("__pycache__")
    for part in ("infra", "functions"):
        shutil.copytree(ROOT / part, folder / part, ignore=unbuilt)
    shutil.copy(ROOT / "app.py", folder)
    return folder


def run_app(folder: Path, env: dict[str, str], **context: object) -> tuple[int, list[str]]:
    """Run app.py as the CDK does; return its exit code and the lines of its standard error."""
    done = subprocess.run(
        [sys.executable, "app.py"],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=env | {"CDK_CONTEXT_JSON": json.dumps(context)},
    )
    return done.returncode, done.stderr.splitlines()


def test_cdk_synth_needs_no_credentials_no_docker_and_no_network(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    bundle = bundled("arm64")

    done = subprocess.run(  # noqa: S603  # a list made here
        [CDK, "synth", "--quiet", "--no-notices", "--output", str(tmp_path / "assembly")],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=nowhere,
    )

    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()
    assert "running on node" not in done.stderr, "jsii warns of the version of Node.js"
    (asset,) = (tmp_path / "assembly").glob("asset.*.zip")
    assert asset.read_bytes() == bundle.read_bytes()
    template = json.loads((tmp_path / "assembly/claude-batch-relay.template.json").read_bytes())
    assert "NoStub" not in template["Rules"]


def test_a_mistake_in_the_settings_is_one_sentence(nowhere: dict[str, str]) -> None:
    assert run_app(ROOT, nowhere, pollMinutes="often", bundle="stub") == (
        1,
        ["claude-batch-relay: pollMinutes is 'often', but must be a whole number from 1 to 60."],
    )


def test_a_bundle_that_cannot_be_fetched_is_one_sentence(
    clone: Path, nowhere: dict[str, str]
) -> None:
    code, (sentence,) = run_app(clone, nowhere)

    assert code == 1
    assert "its packages could not be fetched" in sentence
    assert "'python -m infra.bundle --architecture arm64'" in sentence


def test_a_stub_is_synthesized_where_nothing_was_built(
    clone: Path, nowhere: dict[str, str]
) -> None:
    assert run_app(clone, nowhere, bundle="stub") == (0, [])
