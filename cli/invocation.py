"""One run of `relay`: where it prints, and the deployed stack, which is looked up on first use."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import typer

from cli.deployment import Deployment
from cli.output import Output

JobName = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="The job's id or its beginning, its name, or the key of its upload."
    ),
]
"""The argument of all commands that are about one job."""


@dataclass(frozen=True)
class Invocation:
    """One run of `relay`.

    Attributes:
        find: finds the deployed stack that the options name.
        output: where it prints.
    """

    find: Callable[[], Deployment]
    output: Output

    @cached_property
    def deployment(self) -> Deployment:
        """The deployed stack."""
        return self.find()


def of(context: typer.Context) -> Invocation:
    """Return the run of `relay` that a command belongs to."""
    invocation = context.find_object(Invocation)
    assert invocation is not None  # noqa: S101 - the callback of the app creates it
    return invocation
