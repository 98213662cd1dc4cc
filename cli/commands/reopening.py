"""`relay reassemble` and `recollect`: ask the function results to produce the results of a job again."""

from typing import Any

import msgspec
import typer

from cli import invocation
from cli.errors import CommandError
from cli.invocation import JobName
from cli.jobs import Jobs


def reassemble(context: typer.Context, job: JobName) -> None:
    """Join the results of a job again.

    Its files under work/, kept for a week after its end, must still exist. A job that waits after a failure is retried immediately.
    """
    _request(context, "reassemble", job)


def recollect(context: typer.Context, job: JobName) -> None:
    """Download results that a job lacks and Anthropic still has.

    Anthropic keeps them for 29 days. Then all results are joined again.
    """
    _request(context, "recollect", job)


def _request(context: typer.Context, verb: str, name: str) -> None:
    run = invocation.of(context)
    found_job = Jobs(run.deployment).find(name)
    answer = run.deployment.functions.invoke(
        FunctionName=run.deployment.output("ResultsFunctionName"),
        Payload=msgspec.json.encode({verb: found_job.id}),
    )
    reply: dict[str, Any] | None = msgspec.json.decode(answer["Payload"].read())
    if "FunctionError" in answer or reply is None:
        message = f"the stack cannot {verb} {found_job.name}: it was deployed by an earlier version, or see the log of results"
        raise CommandError(message)
    if not reply["accepted"]:
        message = f"{found_job.name} stays as it is: {reply['message']}"
        raise CommandError(message)
    run.output.show({"job": found_job.id, **reply}, f"{found_job.name}: {reply['message']}")
