"""`relay events`: print the events as they come."""

import math
import signal
from contextlib import suppress
from time import monotonic
from types import FrameType
from typing import Annotated, NoReturn

import typer

from cli import invocation
from cli.jobs import Jobs
from cli.output import Output
from functions.model import timestamps
from local.started_job import event_type
from local.subscriber import Delivery, subscribe

WAIT_S = 5


def events(
    context: typer.Context,
    *,
    follow: Annotated[  # noqa: ARG001 - events are not stored, so there is nothing else to print
        bool,
        typer.Option("--follow", show_default=False, help="Always on: events are not stored."),
    ] = True,
    job: Annotated[
        str | None, typer.Option(metavar="JOB", help="Print the events of this job only.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="N", min=0, help="End after this many seconds; by default at Ctrl-C."
        ),
    ] = None,
) -> None:
    """Print events as they arrive, until Ctrl-C.

    A temporary queue receives them; it is removed at the end.
    """
    run = invocation.of(context)
    subject = None if job is None else Jobs(run.deployment).find(job).id
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's job ignores SIGINT
        signal.signal(number, _interrupt)
    with suppress(KeyboardInterrupt), subscribe(run.deployment, run.deployment.topic) as queue:
        run.output.note(f"events, {'until Ctrl-C' if seconds is None else f'for {seconds:g} s'}:")
        ends_at = math.inf if seconds is None else monotonic() + seconds
        while (left := ends_at - monotonic()) > 0:
            for delivery in queue.receive(math.ceil(min(left, WAIT_S))):
                if subject in {None, delivery.event.get("subject")}:
                    _print(delivery, run.output)


def _print(delivery: Delivery, output: Output) -> None:
    event = delivery.event
    time = timestamps.text(timestamps.parse(event["time"]))  # events have microseconds, or none
    text = f"{time}  {event_type(event):<18}  {delivery.subject}"
    output.line(event, text)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
