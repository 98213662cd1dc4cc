"""Install each baseline into its own virtual environment, as its documentation says."""

import subprocess
import sys
from pathlib import Path

from benchmarks.processes import ROOT, BenchmarkError

SDK = ("anthropic==2.12.0", "boto3==1.43.106")
BATCHWIZARD = ("batchwizard==0.5.0",)


def install_baseline(*packages: str) -> Path:
    """Return the Python of an environment with these packages; install it if missing.

    Raises:
        BenchmarkError: they could not be installed.
    """
    folder = ROOT / ".local" / "baselines" / packages[0]
    python, marker = folder / "bin" / "python", folder / "installed.txt"
    if not marker.exists() or marker.read_text(encoding="utf-8").split() != [*packages]:
        uv = str(Path(sys.executable).with_name("uv"))
        commands = (
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *packages],
        )  # fmt: skip
        for command in commands:
            process = subprocess.run(command, capture_output=True, text=True, check=False)
            if process.returncode:
                message = f"{packages[0]} could not be installed: {process.stderr.strip()[-600:]}"
                raise BenchmarkError(message)
        marker.write_text("\n".join(packages), encoding="utf-8")
    return python
