"""The root of the command line: global options anywhere, and one sentence for each error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from cli import errors
from cli.output import Output

if TYPE_CHECKING:
    from typer._click import Context

WITH_VALUE = ("--stack", "--region", "--profile")
FLAGS = ("--json",)


class RootCommand(TyperGroup):
    """Accepts the global options before and after the command, as the AWS CLI does."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the command line with its global options moved to the front."""
        return super().parse_args(ctx, global_options_first(args))

    def invoke(self, ctx: Context) -> Any:  # noqa: ANN401 - as typer declares it
        """Run the command; print an error as one sentence, and exit with its code."""
        try:
            return super().invoke(ctx)
        except errors.DESCRIBED as error:
            if isinstance(error, BrokenPipeError):
                raise  # `relay ls | head`: typer ends quietly
            message, code = errors.describe(error)
            Output().note(f"relay: {message}")
            raise typer.Exit(code) from error


def global_options_first(args: list[str]) -> list[str]:
    """Move the global options to the front of the arguments; what follows ``--`` stays."""
    end = args.index("--") if "--" in args else len(args)
    front: list[str] = []
    rest: list[str] = []
    words = iter(args[:end])
    for word in words:
        if word in WITH_VALUE:
            front += [word, *[value for value in [next(words, None)] if value is not None]]
        elif word in FLAGS or word.startswith(tuple(f"{option}=" for option in WITH_VALUE)):
            front.append(word)
        else:
            rest.append(word)
    return front + rest + args[end:]
