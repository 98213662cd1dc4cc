"""Select the Node.js that jsii runs: the one in ``.local/nodejs`` if ``make`` installed it."""

import os
from pathlib import Path

_INSTALLED = Path(__file__).parent.parent / ".local" / "nodejs" / "bin"


def prefer_installed_node() -> None:
    """Put the Node.js that ``make`` installed first on PATH, if there is one.

    Call this before importing `aws_cdk`, which starts ``node``.
    """
    path = os.environ.get("PATH", os.defpath)
    if _INSTALLED.exists() and path.split(os.pathsep)[0] != str(_INSTALLED):
        os.environ["PATH"] = f"{_INSTALLED}{os.pathsep}{path}"
