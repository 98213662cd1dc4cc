"""The commands of the command line: up, run, env, down."""

import argparse
import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.local_files import check_name, check_not_empty
from local import environment as environments
from local.api_endpoint import choose_claude
from local.consent import consent, estimate
from local.display import Display
from local.environment import LocalEnvironment
from local.errors import LocalError
from local.follow import follow
from local.open_batches import offer_to_cancel
from local.started_job import StartedJob, cancel, download, key_of, upload
from local.subscriber import subscribe
from local.summary import summary
from local.workspace import Workspace

EXAMPLE = Path("examples") / "questions.jsonl"


def up(arguments: argparse.Namespace, workspace: Workspace, console: Console) -> int:
    """Start the local cloud and leave it running, or redeploy into the running one."""
    report = _reporter(console)
    claude = choose_claude(workspace, os.environ)
    environment = environments.find_running(workspace)
    if environment is None:
        if claude.is_real:
            consent(console, os.environ, "Every file uploaded to it will be sent to the real API.")
        environment = environments.start(workspace, claude, "up", report, arguments.port)
    else:
        environment = environments.redeploy(workspace, environment, claude, report)
    environments.leave_running(workspace, environment)
    console.print(_how_to_use(environment), markup=False, highlight=False, soft_wrap=True)
    return 0


def down(_arguments: argparse.Namespace, workspace: Workspace, console: Console) -> int:
    """Stop the local cloud."""
    environments.find_running(workspace)
    stopped = environments.stop(workspace)
    console.print("stopped" if stopped else "nothing was running")
    return 0


def run(arguments: argparse.Namespace, workspace: Workspace, console: Console) -> int:
    """Process files with the options beside them.

    Returns:
        The exit code: 1 if a file had no row that could be sent, or waits for options.
    """
    files: Sequence[Path] = arguments.files or [workspace.root / EXAMPLE]
    check_files(files)
    claude = choose_claude(workspace, os.environ)
    if claude.is_real:
        consent(console, os.environ, f"This would send to the real API:\n{estimate(files)}")
    with ExitStack() as stack:
        display = stack.enter_context(Display(console))
        environment = stack.enter_context(environments.borrow(workspace, claude, display.begin))
        jobs: list[StartedJob] = []
        try:
            _process(environment, files, jobs, display)
        except KeyboardInterrupt:
            display.stop()
            if claude.is_real:
                offer_to_cancel(console, claude, environment, jobs)
            if environment.kind == "up" and (lines := what_continues(jobs)):
                raise KeyboardInterrupt(lines) from None
            raise
        display.begin("downloading the results")
        reports = [_end(environment, job, arguments) for job in jobs]
        display.stop()
        for report in reports:  # before everything is stopped, which takes a second
            console.print(report, markup=False, highlight=False, soft_wrap=True)
    return int(any(job.waiting_event or job.outcome in {"rejected", "failed"} for job in jobs))


def _process(
    environment: LocalEnvironment, files: Sequence[Path], jobs: list[StartedJob], display: Display
) -> None:
    """Upload files, add their jobs to `jobs`, and follow them to their ends."""
    with subscribe(environment.cloud, environment.outputs["EventsTopicArn"]) as subscriber:
        for file in files:
            display.begin(f"uploading {file.name}")
            jobs.append(upload(environment.cloud, environment.outputs["UploadsBucket"], file))
        follow(environment, jobs, subscriber, display)


def env(_arguments: argparse.Namespace, workspace: Workspace, _console: Console) -> int:
    """Print what a shell evaluates, so that AWS clients find the running local cloud.

    Raises:
        LocalError: none is running.
    """
    environment = environments.peek(workspace)
    if environment is None:
        message = "the local cloud is not up: start it with `make up`"
        raise LocalError(message)
    print("unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN")
    for name, value in environment.cloud.env().items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def check_files(files: Sequence[Path]) -> None:
    """Check the names of files, and that none is empty, before anything is started.

    Raises:
        CommandError: one is not read.
        LocalError: two would have the same key.
    """
    paths: dict[str, Path] = {}
    for file in files:
        check_name(file)
        check_not_empty(file)
        if paths.setdefault(key_of(file), file.resolve()) != file.resolve():
            message = (
                f"two files would be uploaded as {key_of(file)}: run them one after the other"
            )
            raise LocalError(message)


def _end(environment: LocalEnvironment, job: StartedJob, arguments: argparse.Namespace) -> str:
    """Download the results of a job, or cancel one that waits. Return what to print about it."""
    if job.final_event is None:
        cancel(environment.cloud, environment.outputs["UploadsBucket"], job)
        return _what_is_lacking(job)
    bucket = environment.outputs["ResultsBucket"]
    folder = download(environment.cloud, bucket, job, arguments.into)
    events = map(pretty, job.events.values()) if arguments.verbose else ()
    return "\n".join((*events, summary(environment, job, folder)))


def what_continues(jobs: Sequence[StartedJob]) -> str:
    """Return which jobs an interrupted command leaves in the cloud of `make up`; empty if all have ended."""
    return "\n".join(
        f"interrupted; {job.name} continues in the local cloud: "
        f"to cancel it, run `./relay cancel {shlex.quote(job.key)}`"
        for job in jobs
        if job.final_event is None
    )


def _reporter(console: Console) -> Callable[[str], None]:
    def report(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return report


def _what_is_lacking(job: StartedJob) -> str:
    """Describe why a job waits, and what to do."""
    data: Mapping[str, Any] = (job.waiting_event or {})["data"]
    if "example" not in data:
        return f"{job.file.name} was not run: {data['message']}"
    return (
        f"{job.file.name} was not run: the rows are not requests, and no template says what to send for them.\n\n"
        f"An example. Save it beside the file as {job.file.name}.relay.toml, and run the file again:\n\n"
        f"{data['example'].rstrip()}"
    )


def pretty(event: Mapping[str, Any]) -> str:
    """Format an event for people."""
    return json.dumps(event, indent=2, ensure_ascii=False)


def _how_to_use(environment: LocalEnvironment) -> str:
    outputs = environment.outputs
    return f"""\
The local cloud is up; `make down` stops it. Claude is the {environment.claude}.

endpoint   {environment.endpoint}
uploads    s3://{outputs["UploadsBucket"]}
results    s3://{outputs["ResultsBucket"]}
events     {outputs["EventsTopicArn"]}

Send a file, and wait for its answers:
  ./relay send {EXAMPLE} --wait

Or with any AWS client:
  eval "$(./relay local env)"
  aws s3 cp {EXAMPLE} s3://{outputs["UploadsBucket"]}/questions.jsonl
  aws s3 ls --recursive s3://{outputs["ResultsBucket"]}/results/

It polls once a minute, and all the time while `relay` follows a job; to poll now:
  aws lambda invoke --function-name {outputs["PollFunctionName"]} /dev/stdout"""
