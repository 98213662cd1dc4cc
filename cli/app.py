"""The command line: its global options and its commands, one line for each."""

from typing import Annotated

import typer

from cli.commands import local
from cli.group import RelayGroup
from cli.invocation import Invocation
from cli.output import Output

app = typer.Typer(
    cls=RelayGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def relay(
    context: typer.Context,
    *,
    stack: Annotated[
        str | None, typer.Option(help="The stack's name; by default the one in cdk.json.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="The AWS region.")] = None,
    profile: Annotated[str | None, typer.Option(help="The profile of the AWS CLI.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """See and steer claude-batch-relay: the local cloud if one is up, or the stack in AWS that the options name."""
    if context.obj is None:
        context.obj = Invocation(stack, region, profile, Output(as_json=json))


app.add_typer(local.app, name="local")
