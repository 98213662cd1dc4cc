"""`relay local up`, `run`, `env` and `down`: the stack on this machine, as `python -m local` runs it."""

from pathlib import Path
from typing import Annotated

import typer

from cli import invocation
from cli.errors import UsageError
from local.command_line import main

app = typer.Typer(no_args_is_help=True)


@app.callback()
def local(context: typer.Context) -> None:
    """Run the stack on this machine."""
    if invocation.of(context).output.as_json:
        message = "`relay local` prints no JSON: leave out --json"
        raise UsageError(message)


@app.command()
def up(
    port: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=65535, help="Port of the emulated AWS.")
    ] = None,
) -> None:
    """Start it, leave it running, and print how to use it."""
    _run("up", *([f"--port={port}"] if port else []))


@app.command()
def run(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="What docs/formats.md names: JSON Lines, CSV, Excel and others; by default the example.",
        ),
    ] = None,
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Where results go.")] = Path(
        "results"
    ),
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print every event as SNS sends it.")
    ] = False,
) -> None:
    """Process files, or the example, and wait for their results."""
    options = [f"--into={into}", *(["--verbose"] if verbose else [])]
    _run("run", *options, "--", *map(str, files or ()))


@app.command()
def env() -> None:
    """Print what AWS clients read: eval "$(relay local env)"."""
    _run("env")


@app.command()
def down() -> None:
    """Stop what `up` left running."""
    _run("down")


def _run(*arguments: str) -> None:
    raise typer.Exit(main(arguments))
