"""`relay doctor`: is the deployed stack healthy, and what to do if not."""

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli import invocation
from cli.doctor import Finding, examine
from cli.doctor.stack import Stack
from cli.errors import ExitCode

_SHOWN = {"ok": ("ok", "green"), "wrong": ("TO DO", "bold red"), "unknown": ("?", "yellow")}


def doctor(
    context: typer.Context,
    *,
    call_api: Annotated[
        bool, typer.Option("--call-api", help="Try the API key with a GET of /v1/models.")
    ] = False,
) -> None:
    """Check the stack. Each line is ok or says what to do. Nothing is changed."""
    run = invocation.of(context)
    lines = list(examine(Stack(run.deployment, calls_api=call_api)))
    run.output.show({"checks": [line._asdict() for line in lines]}, _table(lines))
    if any(line.state == "wrong" for line in lines):
        raise typer.Exit(ExitCode.FAILURES)


def _table(lines: Iterable[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        word, style = _SHOWN[line.state]
        table.add_row(line.check, Text(word, style=style), line.text)
    return table
