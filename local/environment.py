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
from local.processes import Program, birth
from local.workspace import Home

type Kind = Literal["up", "run"]
type Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Running:
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
    starter: int
    starter_born: str
    endpoint: str
    claude: str
    programs: tuple[Program, ...] = ()
    digest: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def cloud(self) -> Cloud:
        """The AWS that it is."""
        return Cloud(self.endpoint)

    def complete(self) -> bool:
        """Tell whether it was brought up entirely, and still runs."""
        return bool(self.outputs) and all(program.runs() for program in self.programs)

    def attended(self) -> bool:
        """Tell whether the command that started it still runs."""
        return birth(self.starter) == self.starter_born


def found(home: Home) -> Running | None:
    """Give the local cloud that is up; what an interrupted command left behind is stopped.

    Raises:
        LocalError: another command is using it, and will stop it.
    """
    running = _read(home)
    if running is None:
        _file(home).unlink(missing_ok=True)  # torn, if it is there at all
        return None
    if running.attended() and running.starter != os.getpid():
        message = (
            f"another command (process {running.starter}) is using the local cloud: wait for it, "
            "or run `python -m local up` first, which several can share"
        )
        raise LocalError(message)
    if running.kind == "up" and running.complete():
        return running
    stop(home)
    return None


@contextmanager
def lent(home: Home, claude: Claude, say: Say) -> Iterator[Running]:
    """Lend the local cloud that is up, or one that lives as long as the context.

    Raises:
        LocalError: it cannot be started, or the one that is up has another Claude.
    """
    running = found(home)
    if running is not None:
        _agree(running, claude)
        yield running
        return
    try:
        yield start(home, claude, "run", say)
    finally:
        stop(home)


def start(home: Home, claude: Claude, kind: Kind, say: Say, port: int | None = None) -> Running:
    """Start the local cloud and deploy into it; whatever fails, nothing is left running.

    Raises:
        LocalError: something could not be started or deployed; the message says what.
    """
    python = emulator.install(home, say)
    claude = claudes.placed(home, claude)
    assembly = build_assembly(home, claude, say)
    running = Running(
        kind=kind,
        starter=os.getpid(),
        starter_born=birth(os.getpid()) or "",
        endpoint="",
        claude=claude.name,
    )
    _claim(home, running)
    try:
        return _bring_up(home, claude, running, python, assembly, port)
    except BaseException:
        stop(home)
        raise


def build_assembly(home: Home, claude: Claude, say: Say) -> Assembly:
    """Build the assembly of a stack that sends to this API and can be destroyed."""
    context = {
        "architecture": host_architecture(),
        "removalPolicy": "destroy",
        "repeats": "run",  # the same example is run again and again
        **claude.context(),
    }
    return synthesize(home, claude.name, context, say)


def refreshed(home: Home, running: Running, claude: Claude, say: Say) -> Running:
    """Deploy what has changed into a cloud that is up.

    Raises:
        LocalError: it sends to another Claude.
    """
    _agree(running, claude)
    assembly = build_assembly(home, claude, say)
    if assembly.digest == running.digest:
        return running
    say("deploying what has changed")
    outputs = deploy.deploy(running.cloud, assembly)
    return _write(home, replace(running, digest=assembly.digest, outputs=outputs))


def handed_over(home: Home, running: Running) -> None:
    """Leave it running when this command ends."""
    _write(home, replace(running, starter_born=""))


def stop(home: Home) -> bool:
    """Stop all that runs; False if nothing did."""
    running = _read(home)
    for program in reversed(running.programs if running else ()):
        program.stop()
    shutil.rmtree(home.folder / "cloud" / "tmp", ignore_errors=True)
    shutil.rmtree(home.folder / "cloud" / "simulator", ignore_errors=True)
    _file(home).unlink(missing_ok=True)
    return running is not None


def _bring_up(
    home: Home,
    claude: Claude,
    running: Running,
    python: Path,
    assembly: Assembly,
    port: int | None,
) -> Running:
    if not claude.real:
        program = claudes.simulate(home, claude)
        running = _write(home, replace(running, programs=(program,)))
    began = emulator.start(
        python,
        home.folder / "cloud",
        port=port or home.port("emulator", idle=True),
        tied=running.kind == "run",
    )
    programs = (*running.programs, began.program)
    running = _write(home, replace(running, endpoint=began.cloud.endpoint, programs=programs))
    outputs = deploy.deploy(running.cloud, assembly)
    running.cloud.secrets.put_secret_value(SecretId=outputs["SecretName"], SecretString=claude.key)
    return _write(home, replace(running, digest=assembly.digest, outputs=outputs))


def _claim(home: Home, running: Running) -> None:
    """Be the one command that starts it: of two at once, the second finds the first one's note."""
    draft = _draft(home, running)
    try:
        _file(home).hardlink_to(draft)
    except FileExistsError:
        message = "another command is starting the local cloud: wait for it, then try again"
        raise LocalError(message) from None
    finally:
        draft.unlink()


def _agree(running: Running, claude: Claude) -> None:
    if running.claude != claude.name:
        message = (
            f"the local cloud that is up has Claude as {running.claude}, not as {claude.name}: "
            "run `python -m local down` first"
        )
        raise LocalError(message)


def _file(home: Home) -> Path:
    return home.folder / "cloud" / "running.json"


def _write(home: Home, running: Running) -> Running:
    _draft(home, running).replace(_file(home))
    return running


def _draft(home: Home, running: Running) -> Path:
    draft = _file(home).with_suffix(f".{os.getpid()}")
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(json.dumps(asdict(running), default=str, indent=1), encoding="utf-8")
    return draft


def _read(home: Home) -> Running | None:
    try:
        kept: dict[str, Any] = json.loads(_file(home).read_bytes())
        programs = tuple(
            Program(pid=one["pid"], born=one["born"], log=Path(one["log"]))
            for one in kept.pop("programs")
        )
        return Running(programs=programs, **kept)
    except (OSError, ValueError, TypeError, KeyError):
        return None
