"""Run `./relay` as in docs/hour.md, and write what it prints into that page."""

import json
import os
import re
import shlex
import subprocess
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from functions.model.ids import JOB_DIGITS
from local.environment import LocalEnvironment, peek
from local.polling import Polling
from local.workspace import Workspace

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "hour.md"
WRITTEN = ROOT / ".local" / "hour.md"
"""Where the page is written as this run printed it."""
COLUMNS = 96
"""The width of the page. The commands print wide lines, which are wrapped after what is random in them is replaced."""
TIMEOUT_S = 240
STEP = re.compile(
    r"(<!-- run by: tests/e2e/test_hour\.py::(\w+) -->\n```console\n)(.*?)(^```$)",
    re.MULTILINE | re.DOTALL,
)
FIGURES = re.compile(
    r"(<!-- written by make hour -->\n)(.*?)(<!-- end of make hour -->)", re.DOTALL
)
PLAIN = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "2026-11-27T10:00:00.000Z"),
    (r"(?<=Z) {3,}(?=2026)", "  "),
    (r"\.+:*#+=+ *$", "....::::####===="),
    (r"\b\d+ (s|min)\b *$", "5 s"),
    (r"\b\d+ (s|min)(?=\))", "5 s"),
    (r"AGE +UPLOAD", "AGE  UPLOAD"),
    (r"\b\d+ (s|min) +(?=\S+/)", "5 s  "),
    (r"\b\d{4}-\d\d(?=$|\s)", "2026-11"),
    (r"0\.1\.\d+\+[0-9a-f]{8}", "0.1.0+3f9ac21b"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:4566"),
    (r"(claude-batch-relay-[a-zA-Z]+?)[0-9A-Fa-f]{8}-[0-9a-fA-F]{12,13}", r"\1"),
    (r"msgbatch_\w+", "msgbatch_01…"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "3f9ac21b-0000-4000-8000-000000000000"),
    (r"\d+ of \d+ concurrent executions", "1,000 of 1,000 concurrent executions"),
)
"""What differs from run to run, and what the page has instead: times, ids, ports."""


OTHERS = re.compile(r"AWS_|CLAUDE$|YES$|FORCE_COLOR$|NO_COLOR$")
"""Variables that would name another stack or change what is printed. Those of uv and of proxies are kept."""


@dataclass
class Hour:
    """The commands of one run, and what they printed.

    Attributes:
        folder: the current directory of the commands.
        blocks: step → its commands and what they printed.
        jobs: key → the id of its job.
        figures: what was expected and measured, in the order of the page.
        mends: what puts back the parts of the stack that a step broke.
        step: the step that runs.
    """

    folder: Path
    blocks: dict[str, list[str]] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    figures: list[tuple[str, str, float]] = field(default_factory=list)
    mends: list[Callable[[], object]] = field(default_factory=list)
    step: str = ""

    def play(self, steps: Sequence[Callable[["Hour"], None]]) -> None:
        """Run steps in the order of the page."""
        for step in steps:
            self.step = step.__name__
            print(f"{time.strftime('%H:%M:%S')} {self.step}", flush=True)  # noqa: T201 - the log of a long run
            step(self)

    def __call__(self, command: str, *, code: int = 0, keep: str = "") -> str:
        """Run a command of the page; poll meanwhile if it follows a job. Return what it prints.

        Args:
            command: as a person writes it.
            code: its exit code.
            keep: a pattern of the lines to keep on the page, if their number differs from run to run.
        """
        process = self.start(command)
        if command.startswith("relay watch"):
            self.poll_until(lambda: process.poll() is not None, command)
        return self.end(process, command, code=code, keep=keep)

    def end(
        self, process: subprocess.Popen[str], command: str, *, code: int = 0, keep: str = ""
    ) -> str:
        """Wait for the end of a command, and record it."""
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == code, f"{command}: {process.returncode}\n{output}"
        lines = [line.rstrip() for line in output.rstrip().splitlines()]
        kept = [line for line in lines if re.search(keep, line)] if keep else lines
        block = "\n".join([f"$ {command}", *kept])
        print(block, flush=True)  # noqa: T201 - likewise
        self.blocks.setdefault(self.step, []).append(block)
        return output

    def json(self, command: str) -> Any:
        """Return what a command prints as JSON; empty for an error. The page does not have it."""
        output, _ = self.start(f"{command} --json").communicate(timeout=TIMEOUT_S)
        return {} if output.startswith("relay: ") else json.loads(output)

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command of the page."""
        program, *arguments = shlex.split(command)
        env = {name: value for name, value in os.environ.items() if not OTHERS.match(name)}
        return subprocess.Popen(  # noqa: S603 - the commands of the page
            [str(ROOT / "relay") if program == "relay" else program, *arguments],
            cwd=self.folder,
            env=env | {"COLUMNS": "1000", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def environment(self) -> LocalEnvironment:
        """The local cloud that `relay local up` started."""
        environment = peek(Workspace.of_this_clone())
        assert environment is not None
        return environment

    @property
    def outputs(self) -> dict[str, str]:
        return dict(self.environment.outputs)

    def poll_until(self, condition: Callable[[], Any], description: str) -> None:
        """Poll until a condition holds."""
        deadline = time.monotonic() + TIMEOUT_S
        with Polling(self.environment.cloud, self.outputs) as polling:
            while not condition():
                assert time.monotonic() < deadline, f"waited {TIMEOUT_S} s for {description}"
                polling.tick()
                time.sleep(0.2)

    def document(self, key: str, name: str) -> dict[str, Any]:
        """Return a JSON document beside the results of the job of a key."""
        stem = key.rpartition(".")[0]
        path = f"results/{stem}/{self.jobs[key]}/{name}"
        answer = self.environment.cloud.s3.get_object(
            Bucket=self.outputs["ResultsBucket"], Key=path
        )
        return dict(json.loads(answer["Body"].read()))

    def page(self) -> str:
        """Return docs/hour.md with what this run printed."""
        text = PAGE.read_text(encoding="utf-8")
        text = STEP.sub(lambda block: f"{block[1]}{self._shown(block[2])}\n{block[4]}", text)
        return FIGURES.sub(lambda block: f"{block[1]}{self._table()}\n{block[3]}", text)

    def _shown(self, step: str) -> str:
        text = self._normalized("\n\n".join(self.blocks[step]))
        return "\n".join(map(_wrapped, text.splitlines()))

    def _normalized(self, text: str) -> str:
        names: dict[str, str] = {}
        for key, job in self.jobs.items():
            kept = key
            for other, name in names.items():  # the key of a retry has the id of the job before
                kept = kept.replace(other[:8], name[:8])
            names[job] = sha256(kept.encode()).hexdigest()[:JOB_DIGITS]
        for job, name in names.items():
            text = text.replace(job, name).replace(job[:8], name[:8])
        text = text.replace(str(self.folder), "/home/you/hour")
        for pattern, replacement in PLAIN:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        return text

    def _table(self) -> str:
        head = ["| step | figure | US dollars |", "|---|---|---:|"]
        return "\n".join([*head, *(f"| {a} | {b} | {usd:.6f} |" for a, b, usd in self.figures)])


def _wrapped(line: str) -> str:
    """Wrap a line that is wider than the page; what follows is indented to the last column of a table."""
    column = re.match(r"(?=\S| {1,2}\S).{0,28}  (?=\S)", line)
    indent = " " * len(column[0]) if column else "    "
    wrapped = textwrap.wrap(
        line,
        COLUMNS,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return "\n".join(wrapped)
