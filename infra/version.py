"""The version of this clone, which the stack has as an output: `relay doctor` compares both."""

import hashlib
import tomllib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_DEPLOYED = ("functions/**/*.py", "functions/**/*.json", "functions/*.txt", "infra/*.py")
_DIGITS = 8


@cache
def version() -> str:
    """Return the version of pyproject.toml and a hash of what is deployed: ``0.1.0+3f9ac21b``."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return f"{project['version']}+{digest_of(*_DEPLOYED)[:_DIGITS]}"


def digest_of(*patterns: str) -> str:
    """Return the SHA-256 of the files of this clone that match the patterns, as hexadecimal digits."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in patterns for file in _ROOT.glob(pattern)}):
        digest.update(file.relative_to(_ROOT).as_posix().encode() + b"\n" + file.read_bytes())
    return digest.hexdigest()
