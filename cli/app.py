"""The command line: its global options and its commands, one line for each."""

from functools import partial
from typing import Annotated

import typer

from cli import deployment
from cli.commands import (
    check,
    control,
    cost,
    diagram,
    doctor,
    events,
    get,
    local,
    ls,
    redrive,
    reopening,
    send,
    watch,
    why,
)
from cli.invocation import Invocation
from cli.output import Output
from cli.root_command import RootCommand
from infra.version import version

app = typer.Typer(
    cls=RootCommand,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer passes it so
    if value:
        typer.echo(f"relay {version()}")
        raise typer.Exit


@app.callback()
def relay(
    context: typer.Context,
    *,
    stack: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The stack; by default the one in cdk.json."),
    ] = None,
    region: Annotated[str | None, typer.Option(metavar="REGION", help="The AWS region.")] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="The profile of the AWS CLI.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Manage the jobs of claude-batch-relay, in the local cloud if one is up, otherwise in the stack in AWS.

    The first four options may also come after the command. docs/relay.md describes all commands.
    """
    known: deployment.Deployment | None = context.obj  # tests pass one
    find = partial(deployment.find, stack, region, profile)
    context.obj = Invocation(find if known is None else lambda: known, Output(as_json=json))


app.command()(check.check)
app.command()(send.send)
app.command()(ls.ls)
app.command()(watch.watch)
app.command()(why.why)
app.command()(get.get)
app.command()(control.cancel)
app.command()(control.go)
app.command()(control.retry)
app.command()(reopening.reassemble)
app.command()(reopening.recollect)
app.command()(cost.cost)
app.command()(events.events)
app.command()(redrive.redrive)
app.command()(diagram.diagram)
app.command()(doctor.doctor)
app.add_typer(local.app, name="local")
