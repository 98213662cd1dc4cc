"""`make deploy` without credentials says so before it builds anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("environment", "code", "says"),
    [
        ({}, 1, "there are no AWS credentials: set AWS_PROFILE"),
        ({"AWS_PROFILE": "gone"}, 1, "The config profile (gone) could not be found"),
        ({"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}, 0, ""),
    ],
)
def test_missing_credentials_are_one_sentence(
    tmp_path: Path, environment: dict[str, str], code: int, says: str
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "infra.credentials"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == code
    assert says in process.stderr
    assert len(process.stderr.splitlines()) == code


def test_deploy_asks_for_credentials_before_it_bundles() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ndeploy:")[2]

    assert 0 < recipe.index("-m infra.credentials") < recipe.index("-m infra.bundle")
