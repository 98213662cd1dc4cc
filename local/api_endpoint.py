"""Choose what serves the Message Batches API: the simulator, or the real API on request."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from local import interruption
from local.errors import LocalError
from local.processes import Program
from local.workspace import LOOPBACK, Workspace

SIMULATED_KEY = "sk-local"
REAL_URL = "https://api.anthropic.com"
READY_S = 15.0
# Long enough for the progress display to show something.
PROCESSING_S = "1"
FATES = "expired=0.03,overloaded_error=0.03"


@dataclass(frozen=True)
class ApiEndpoint:
    """An endpoint of the Message Batches API, and its key.

    Attributes:
        name: ``simulator`` or ``real``.
        base_url: the base URL of the API.
        key: the API key; never printed or written to a file.
    """

    name: str
    base_url: str
    key: str = field(repr=False)

    @property
    def is_real(self) -> bool:
        """Whether requests cost money."""
        return self.name == "real"

    def variables(self) -> dict[str, str]:
        """Return variables of functions that send here; delays are short for the simulator."""
        if self.is_real:
            return {"BASE_URL": self.base_url}
        return {
            "BASE_URL": self.base_url,
            "ABSENT_S": "6",
            "SKEW_S": "1",
            "PROBE_S": "2",
            "RETRY_S": "2",
            "INCOMPLETE_S": "5",
            "CREATE_TIMEOUT_S": "60",
        }


def with_free_port(workspace: Workspace, claude: ApiEndpoint) -> ApiEndpoint:
    """Move the simulator to a free port if its own is in use; leave the real API unchanged."""
    if claude.is_real:
        return claude
    port = workspace.port("simulator", must_be_free=True)
    return replace(claude, base_url=f"http://{LOOPBACK}:{port}")


def choose_claude(workspace: Workspace, env: Mapping[str, str]) -> ApiEndpoint:
    """Choose the real API for ``CLAUDE=real`` with a key, otherwise the simulator.

    Raises:
        LocalError: CLAUDE has another value, or is ``real`` without a key.
    """
    choice = env.get("CLAUDE", "") or "simulator"
    if choice == "simulator":
        return ApiEndpoint(
            "simulator", f"http://{LOOPBACK}:{workspace.port('simulator')}", SIMULATED_KEY
        )
    if choice != "real":
        message = f"CLAUDE is {choice!r}: set CLAUDE=real, or unset it for the simulator"
        raise LocalError(message)
    key = env.get("ANTHROPIC_API_KEY", "").strip()
    if not key:
        message = "CLAUDE=real needs a key: set ANTHROPIC_API_KEY"
        raise LocalError(message)
    return ApiEndpoint("real", REAL_URL, key)


def start_simulator(workspace: Workspace, claude: ApiEndpoint) -> Program:
    """Start the simulator at the base URL of ``claude``, and wait until it answers.

    Raises:
        LocalError: it does not start; the message ends with its log.
    """
    folder = workspace.folder / "cloud" / "simulator"
    ready = folder.with_suffix(".port")
    ready.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    port = claude.base_url.rpartition(":")[2]
    options = {
        "--port": port,
        "--folder": str(folder),
        "--processing-seconds": PROCESSING_S,
        "--fates": FATES,
        "--port-file": str(ready),
    }
    arguments = [argument for option in options.items() for argument in option]
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    program = Program.start(
        [sys.executable, "-m", "local.simulator", *arguments],
        env=env | {"PYTHONPATH": str(workspace.root)},
        log=workspace.folder / "cloud" / "simulator.log",
    )
    try:
        _wait_until_ready(program, ready)
    except BaseException:
        program.stop()
        raise
    return program


def _wait_until_ready(program: Program, ready: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not ready.exists():
        if not program.is_running() or time.monotonic() > deadline:
            message = (
                f"the simulator did not start; {program.log} ends with:\n{program.log_tail()}"
            )
            raise LocalError(message)
        interruption.pause(0.05)
