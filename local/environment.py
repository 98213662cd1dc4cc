"""Start the local cloud, find it again from a later command, stop it."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from local import api_endpoint as claudes
from local import deploy, emulator, interruption
from local.api_endpoint import ApiEndpoint
from local.assembly import Assembly, assemble
from local.cloud import Cloud
from local.errors import LocalError
from local.processes import Program, start_time
from local.workspace import Workspace

type Kind = Literal["up", "run"]
type Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class LocalEnvironment:
    """A running local cloud, as saved for later commands.

    Attributes:
        kind: ``up`` runs until ``down``; ``run`` stops with the command that started it.
        owner_pid: the process id of that command.
        owner_started_at: when that command started; empty once the cloud runs on its own.
        endpoint: the address of the emulator.
        programs: the programs to stop.
        claude: ``simulator`` or ``real``.
        simulator: the address of the simulator; empty for the real API.
        digest: the hash of the deployed template.
        outputs: the outputs of the stack.
    """

    kind: Kind
    owner_pid: int
    owner_started_at: str
    endpoint: str
    claude: str
    programs: tuple[Program, ...] = ()
    simulator: str = ""
    digest: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def cloud(self) -> Cloud:
        """Clients of its services. Each takes a tenth of a second of processor time to create."""
        return Cloud(self.endpoint)

    def is_complete(self) -> bool:
        """Return whether it was started completely and all its programs run."""
        return bool(self.outputs) and all(program.is_running() for program in self.programs)

    def owner_is_running(self) -> bool:
        """Return whether the command that started it still runs."""
        return start_time(self.owner_pid) == self.owner_started_at


def peek(workspace: Workspace) -> LocalEnvironment | None:
    """Return the local cloud that runs completely, whichever command started it. Stop nothing."""
    environment = _read(workspace)
    return environment if environment is not None and environment.is_complete() else None


def find_running(workspace: Workspace) -> LocalEnvironment | None:
    """Return the running local cloud; stop what an interrupted command left behind.

    Raises:
        LocalError: another command is using it, and will stop it.
    """
    environment = _read(workspace)
    if environment is None:
        _file(workspace).unlink(missing_ok=True)  # missing or incomplete
        return None
    if environment.owner_is_running() and environment.owner_pid != os.getpid():
        message = (
            f"another command (process {environment.owner_pid}) is using the local cloud: "
            "wait for it, or run `make up` first, whose cloud several commands can share"
        )
        raise LocalError(message)
    if environment.kind == "up" and environment.is_complete():
        return environment
    stop(workspace)
    return None


@contextmanager
def borrow(
    workspace: Workspace, claude: ApiEndpoint, report: Report
) -> Iterator[LocalEnvironment]:
    """Yield the running local cloud, or a new one that is stopped at exit.

    Raises:
        LocalError: it cannot be started, or the running one uses another Claude.
    """
    environment = find_running(workspace)
    if environment is not None:
        _check_same_claude(environment, claude)
        yield environment
        return
    try:
        yield start(workspace, claude, "run", report)
    finally:
        stop(workspace)


def start(
    workspace: Workspace, claude: ApiEndpoint, kind: Kind, report: Report, port: int | None = None
) -> LocalEnvironment:
    """Start the local cloud and deploy into it; on failure, stop everything.

    Raises:
        LocalError: something could not be started or deployed; the message says what.
    """
    python = emulator.install(workspace, report)
    claude = claudes.with_free_port(workspace, claude)
    assembly = build_assembly(workspace, claude, report)
    environment = LocalEnvironment(
        kind=kind,
        owner_pid=os.getpid(),
        owner_started_at=start_time(os.getpid()) or "",
        endpoint="",
        claude=claude.name,
    )
    _claim(workspace, environment)
    try:
        environment = _start_programs(workspace, claude, environment, python, report, port)
        report("deploying the stack")
        return _deploy(workspace, claude, environment, assembly)
    except BaseException:
        stop(workspace)
        raise


def build_assembly(workspace: Workspace, claude: ApiEndpoint, report: Report) -> Assembly:
    """Assemble the stack that sends to this API."""
    variables = {"REPEATS": "run", **claude.variables()}  # the same example is run again and again
    # Each container takes seconds of a core to start.
    return assemble(workspace, claude.name, variables, concurrency=2, report=report)


def redeploy(
    workspace: Workspace, environment: LocalEnvironment, claude: ApiEndpoint, report: Report
) -> LocalEnvironment:
    """Deploy changes into the running local cloud.

    Raises:
        LocalError: it uses another Claude.
    """
    _check_same_claude(environment, claude)
    assembly = build_assembly(workspace, claude, report)
    if assembly.digest == environment.digest:
        return environment
    report("deploying changes")
    outputs = deploy.deploy(environment.cloud, assembly)
    return _write(workspace, replace(environment, digest=assembly.digest, outputs=outputs))


def leave_running(workspace: Workspace, environment: LocalEnvironment) -> None:
    """Keep the local cloud running when this command ends."""
    _write(workspace, replace(environment, owner_started_at=""))


def stop(workspace: Workspace) -> bool:
    """Stop everything; return False if nothing was running."""
    with interruption.deferred():
        environment = _read(workspace)
        for program in reversed(environment.programs if environment else ()):
            program.stop()
        shutil.rmtree(workspace.folder / "cloud" / "tmp", ignore_errors=True)
        shutil.rmtree(workspace.folder / "cloud" / "simulator", ignore_errors=True)
        _file(workspace).unlink(missing_ok=True)
    return environment is not None


def _start_programs(
    workspace: Workspace,
    claude: ApiEndpoint,
    environment: LocalEnvironment,
    python: Path,
    report: Report,
    port: int | None,
) -> LocalEnvironment:
    if not claude.is_real:
        report("starting the simulator of Claude")
        program = claudes.start_simulator(workspace, claude)
        environment = _write(
            workspace, replace(environment, programs=(program,), simulator=claude.base_url)
        )
    report("starting the emulator of AWS")
    started = emulator.start(
        python,
        workspace.folder / "cloud",
        port=port or workspace.port("emulator", must_be_free=True),
        stop_with_parent=environment.kind == "run",
    )
    programs = (*environment.programs, started.program)
    return _write(
        workspace, replace(environment, endpoint=started.cloud.endpoint, programs=programs)
    )


def _deploy(
    workspace: Workspace, claude: ApiEndpoint, environment: LocalEnvironment, assembly: Assembly
) -> LocalEnvironment:
    outputs = deploy.deploy(environment.cloud, assembly)
    environment.cloud.secrets.put_secret_value(
        SecretId=outputs["SecretName"], SecretString=claude.key
    )
    return _write(workspace, replace(environment, digest=assembly.digest, outputs=outputs))


def _claim(workspace: Workspace, environment: LocalEnvironment) -> None:
    """Create the file atomically, so that only one of two concurrent commands starts."""
    draft = _draft(workspace, environment)
    try:
        _file(workspace).hardlink_to(draft)
    except FileExistsError:
        message = "another command is starting the local cloud: wait for it, then retry"
        raise LocalError(message) from None
    finally:
        draft.unlink()


def _check_same_claude(environment: LocalEnvironment, claude: ApiEndpoint) -> None:
    if environment.claude != claude.name:
        message = (
            f"the running local cloud uses {environment.claude} as Claude, not {claude.name}: "
            "run `make down` first"
        )
        raise LocalError(message)


def _file(workspace: Workspace) -> Path:
    return workspace.folder / "cloud" / "running.json"


def _write(workspace: Workspace, environment: LocalEnvironment) -> LocalEnvironment:
    _draft(workspace, environment).replace(_file(workspace))
    return environment


def _draft(workspace: Workspace, environment: LocalEnvironment) -> Path:
    draft = _file(workspace).with_suffix(f".{os.getpid()}")
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(json.dumps(asdict(environment), default=str, indent=1), encoding="utf-8")
    return draft


def _read(workspace: Workspace) -> LocalEnvironment | None:
    try:
        saved: dict[str, Any] = json.loads(_file(workspace).read_bytes())
        programs = tuple(
            Program(pid=program["pid"], started_at=program["started_at"], log=Path(program["log"]))
            for program in saved.pop("programs")
        )
        return LocalEnvironment(programs=programs, **saved)
    except (OSError, ValueError, TypeError, KeyError):
        return None
