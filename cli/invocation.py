"""What every command gets: where to print, and the deployment, which is looked up on first use."""

from dataclasses import dataclass, field
from functools import cached_property

import typer

from cli import deployment
from cli.deployment import Deployment
from cli.output import Output


@dataclass(frozen=True)
class Invocation:
    """One run of `relay`.

    Attributes:
        stack: the option ``--stack``; the others are named like their options, too.
        output: where it prints.
    """

    stack: str | None = None
    region: str | None = None
    profile: str | None = None
    output: Output = field(default_factory=Output)

    @cached_property
    def deployment(self) -> Deployment:
        """The deployed stack that the options name."""
        return deployment.find(self.stack, self.region, self.profile)


def of(context: typer.Context) -> Invocation:
    """Return the run of `relay` that a command belongs to."""
    invocation = context.find_object(Invocation)
    assert invocation is not None  # noqa: S101 - the callback of the app creates it
    return invocation
