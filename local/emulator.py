"""Install the emulator of AWS into its own virtual environment, start it, stop it."""

import os
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.error import URLError

from local import interruption
from local.cloud import REGION, Cloud
from local.errors import LocalError
from local.processes import Program, run_program
from local.workspace import LOOPBACK, Workspace, port_in_use

# ministack pins its own botocore, so it gets its own virtual environment. It changes quickly, so it
# is pinned. A custom resource hangs without boto3.
PINS = ("ministack==1.5.33", "boto3==1.43.106")
LAUNCHER = Path(__file__).parent / "emulator_patches.py"
READY_S = 30.0


@dataclass(frozen=True)
class Emulator:
    """A running emulator.

    Attributes:
        program: its process.
        cloud: the clients of its services.
    """

    program: Program
    cloud: Cloud


def install(workspace: Workspace, report: Callable[[str], None] = print) -> Path:
    """Install the emulator if it is not installed.

    Returns:
        the path of its Python.

    Raises:
        LocalError: it cannot be installed.
    """
    folder = workspace.folder / "ministack"
    installed = folder / "installed.txt"
    if not (installed.exists() and installed.read_text(encoding="utf-8").split() == list(PINS)):
        report("installing the emulator of AWS into .local/ministack")
        uv = str(Path(sys.executable).parent / "uv")
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        python = str(folder / "bin" / "python")
        _run(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *PINS)
        installed.write_text("\n".join(PINS), encoding="utf-8")
    return folder / "bin" / "python"


def start(
    python: Path, folder: Path, *, port: int, strict: bool = False, stop_with_parent: bool = True
) -> Emulator:
    """Start the emulator on loopback, and wait until it answers.

    Args:
        python: the path that `install` returned.
        folder: receives its log and its temporary files.
        port: where it listens.
        strict: use TLS and enforce IAM, as AWS does.
        stop_with_parent: stop when this process ends, even if it is killed.

    Raises:
        LocalError: the port is in use, or it does not start; the message ends with its log.
    """
    if port_in_use(port):
        message = f"port {port} is in use: stop that program, or choose another port with --port"
        raise LocalError(message)
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    env = _process_env(port=port, temporary=temporary, strict=strict)
    env |= {"UNPACKED": str(folder / "unpacked")}  # kept for the next start
    env |= {"STOP_WITH_PARENT": str(os.getpid())} if stop_with_parent else {}
    program = Program.start([python, "-P", LAUNCHER], env=env, log=folder / "emulator.log")
    certificate = temporary / "ministack-tls" / "server.crt" if strict else None
    scheme = "https" if strict else "http"
    emulator = Emulator(program, Cloud(f"{scheme}://{LOOPBACK}:{port}", certificate))
    try:
        _wait_until_ready(emulator)
    except BaseException:
        program.stop()
        raise
    return emulator


def _process_env(*, port: int, temporary: Path, strict: bool) -> dict[str, str]:
    """Build a clean environment: ours would leak into the functions."""
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent",
        "LOG_LEVEL": "INFO",
    }
    return env | ({"AUTH": "true", "USE_SSL": "1"} if strict else {})


def _wait_until_ready(emulator: Emulator) -> None:
    deadline = time.monotonic() + READY_S
    while not _healthy(emulator.cloud):
        if not emulator.program.is_running():
            raise LocalError(_failure_message(emulator, "exited immediately"))
        if time.monotonic() > deadline:
            raise LocalError(_failure_message(emulator, f"did not answer within {READY_S:.0f} s"))
        interruption.pause(0.05)


def _failure_message(emulator: Emulator, what_happened: str) -> str:
    log = emulator.program.log
    return f"the emulator {what_happened}; its log {log} ends with:\n{emulator.program.log_tail()}"


def _healthy(cloud: Cloud) -> bool:
    """Call the health check, without a proxy."""
    try:
        tls_context = ssl.create_default_context(cafile=cloud.certificate)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls_context)
        )
        with opener.open(f"{cloud.endpoint}/_ministack/health", timeout=2) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (URLError, OSError):
        return False


def _run(*command: str) -> None:
    process = run_program(command)
    if process.returncode:
        message = f"the emulator could not be installed: {process.stderr.strip()[-600:]}"
        raise LocalError(message)
