"""Run a program of this package in a process of its own, whose memory and crashes are not the function's."""

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path


def printed_lines(program: Path, *arguments: str) -> Generator[bytes, None, int]:
    """Yield the lines that a program prints, and return its exit code. The process ends with the reading.

    What it prints on stderr is discarded: a message of a crash may quote a cell.

    Args:
        program: a Python file.
        arguments: its arguments.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "RUST_BACKTRACE": "0"}
    command = [sys.executable, "-P", str(program), *arguments]
    with subprocess.Popen(  # noqa: S603 - our own file
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            yield from process.stdout or ()
            return process.wait()
        finally:
            process.kill()
