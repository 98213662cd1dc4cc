"""The local cloud as a whole: started, found again by a later command, stopped."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from local import claude as claudes
from local import deploy, emulator
from local.assembly import Assembly, host_architecture, synthesize
from local.claude import Claude
from local.cloud import Cloud
from local.errors import LocalError
from local.processes import Program, start_time
from local.workspace import Workspace

type Kind = Literal["up", "run"]
type Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class LocalEnvironment:
    """A local cloud that runs, as it is written down for later commands.

    Attributes:
        kind: ``up`` stays until ``down``; ``run`` ends with the command that started it.
        starter: that command, and when it started.
        endpoint: where the emulator answers.
        programs: what was started, and is to be stopped.
        claude: who answers: ``simulator`` or ``real``.
        digest: of what is deployed.
        outputs: of the stack.
    """

    kind: Kind
    owner_pid: int
    owner_started_at: str
    endpoint: str
    claude: str
    programs: tuple[Program, ...] = ()
    digest: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def cloud(self) -> Cloud:
        """The AWS that it is."""
        return Cloud(self.endpoint)

    def is_complete(self) -> bool:
        """Tell whether it was brought up entirely, and still runs."""
        return bool(self.outputs) and all(program.is_running() for program in self.programs)

    def owner_is_running(self) -> bool:
        """Tell whether the command that started it still runs."""
        return start_time(self.owner_pid) == self.owner_started_at


def find_running(workspace: Workspace) -> LocalEnvironment | None:
    """Give the local cloud that is up; what an interrupted command left behind is stopped.

    Raises:
        LocalError: another command is using it, and will stop it.
    """
    environment = _read(workspace)
    if environment is None:
        _file(workspace).unlink(missing_ok=True)  # torn, if it is there at all
        return None
    if environment.owner_is_running() and environment.owner_pid != os.getpid():
        message = (
            f"another command (process {environment.owner_pid}) is using the local cloud: "
            "wait for it, or run `python -m local up` first, which several can share"
        )
        raise LocalError(message)
    if environment.kind == "up" and environment.is_complete():
        return environment
    stop(workspace)
    return None


@contextmanager
def borrow(workspace: Workspace, claude: Claude, report: Report) -> Iterator[LocalEnvironment]:
    """Lend the local cloud that is up, or one that lives as long as the context.

    Raises:
        LocalError: it cannot be started, or the one that is up has another Claude.
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
    workspace: Workspace, claude: Claude, kind: Kind, report: Report, port: int | None = None
) -> LocalEnvironment:
    """Start the local cloud and deploy into it; whatever fails, nothing is left running.

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
        return _bring_up(workspace, claude, environment, python, assembly, port)
    except BaseException:
        stop(workspace)
        raise


def build_assembly(workspace: Workspace, claude: Claude, report: Report) -> Assembly:
    """Build the assembly of a stack that sends to this API and can be destroyed."""
    context = {
        "architecture": host_architecture(),
        "removalPolicy": "destroy",
        "repeats": "run",  # the same example is run again and again
        **claude.context(),
    }
    return synthesize(workspace, claude.name, context, report)


def redeploy(
    workspace: Workspace, environment: LocalEnvironment, claude: Claude, report: Report
) -> LocalEnvironment:
    """Deploy what has changed into a cloud that is up.

    Raises:
        LocalError: it sends to another Claude.
    """
    _check_same_claude(environment, claude)
    assembly = build_assembly(workspace, claude, report)
    if assembly.digest == environment.digest:
        return environment
    report("deploying what has changed")
    outputs = deploy.deploy(environment.cloud, assembly)
    return _write(workspace, replace(environment, digest=assembly.digest, outputs=outputs))


def leave_running(workspace: Workspace, environment: LocalEnvironment) -> None:
    """Leave it running when this command ends."""
    _write(workspace, replace(environment, owner_started_at=""))


def stop(workspace: Workspace) -> bool:
    """Stop all that runs; False if nothing did."""
    environment = _read(workspace)
    for program in reversed(environment.programs if environment else ()):
        program.stop()
    shutil.rmtree(workspace.folder / "cloud" / "tmp", ignore_errors=True)
    shutil.rmtree(workspace.folder / "cloud" / "simulator", ignore_errors=True)
    _file(workspace).unlink(missing_ok=True)
    return environment is not None


def _bring_up(
    workspace: Workspace,
    claude: Claude,
    environment: LocalEnvironment,
    python: Path,
    assembly: Assembly,
    port: int | None,
) -> LocalEnvironment:
    if not claude.is_real:
        program = claudes.start_simulator(workspace, claude)
        environment = _write(workspace, replace(environment, programs=(program,)))
    started = emulator.start(
        python,
        workspace.folder / "cloud",
        port=port or workspace.port("emulator", must_be_free=True),
        stop_with_parent=environment.kind == "run",
    )
    programs = (*environment.programs, started.program)
    environment = _write(
        workspace, replace(environment, endpoint=started.cloud.endpoint, programs=programs)
    )
    outputs = deploy.deploy(environment.cloud, assembly)
    environment.cloud.secrets.put_secret_value(
        SecretId=outputs["SecretName"], SecretString=claude.key
    )
    return _write(workspace, replace(environment, digest=assembly.digest, outputs=outputs))


def _claim(workspace: Workspace, environment: LocalEnvironment) -> None:
    """Be the one command that starts it: of two at once, the second finds the first one's note."""
    draft = _draft(workspace, environment)
    try:
        _file(workspace).hardlink_to(draft)
    except FileExistsError:
        message = "another command is starting the local cloud: wait for it, then try again"
        raise LocalError(message) from None
    finally:
        draft.unlink()


def _check_same_claude(environment: LocalEnvironment, claude: Claude) -> None:
    if environment.claude != claude.name:
        message = (
            f"the local cloud that is up has Claude as {environment.claude}, not as {claude.name}: "
            "run `python -m local down` first"
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
