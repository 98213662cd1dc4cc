"""The commands of the command line: up, run, down."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from local import environment as environments
from local.claude import choose_claude
from local.cloud import ACCOUNT, REGION, SECRET
from local.display import Display, pretty
from local.environment import LocalEnvironment
from local.errors import LocalError
from local.estimate import consent, estimate
from local.follow import follow
from local.job import Job, download, upload
from local.subscriber import subscribe
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
    """Process files; return 1 if one of them had no row that could be sent."""
    files: Sequence[Path] = arguments.files or [workspace.root / EXAMPLE]
    _require_files(files)
    claude = choose_claude(workspace, os.environ)
    if claude.is_real:
        consent(console, os.environ, f"This would send {estimate(files)}.")
    with ExitStack() as stack:
        environment = stack.enter_context(
            environments.borrow(workspace, claude, _reporter(console))
        )
        topic = environment.outputs["EventsTopicArn"]
        subscriber = stack.enter_context(subscribe(environment.cloud, topic))
        display = stack.enter_context(Display(console))
        jobs = [
            upload(environment.cloud, environment.outputs["UploadsBucket"], file) for file in files
        ]
        follow(environment, jobs, subscriber, display)
        bucket = environment.outputs["ResultsBucket"]
        folders = [download(environment.cloud, bucket, job, arguments.into) for job in jobs]
    for job, folder in zip(jobs, folders, strict=True):
        console.print(_summary(job, bucket, folder), markup=False, highlight=False, soft_wrap=True)
    return int(any(job.outcome in {"rejected", "failed"} for job in jobs))


def _require_files(files: Sequence[Path]) -> None:
    for file in files:
        if not file.is_file():
            message = f"there is no file {file}: pass the path of a JSONL file of requests"
            raise LocalError(message)


def _reporter(console: Console) -> Callable[[str], None]:
    def report(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return report


def _summary(job: Job, bucket: str, folder: Path) -> str:
    event = job.final_event or {}
    data: Mapping[str, Any] = event.get("data", {})
    counts = ", ".join(f"{count:,} {name}" for name, count in data.get("counts", {}).items())
    return (
        f"Events from SNS: {len(job.events)}. The last one:\n{pretty(event)}\n\n"
        f"{job.name}: {job.outcome}, {data.get('rows', 0):,} rows: {counts}\n"
        f"answers  {data.get('empty_answers', 0):,} empty, {data.get('truncated', 0):,} truncated\n"
        f"in S3    s3://{bucket}/{job.folder}/\n"
        f"here     {_short(folder)}/"
    )


def _short(path: Path) -> Path:
    current = Path.cwd()
    return path.relative_to(current) if path.is_relative_to(current) else path


def _how_to_use(environment: LocalEnvironment) -> str:
    outputs = environment.outputs
    endpoint_option = f"--endpoint-url {environment.endpoint}"
    return f"""\
The local cloud is up; `python -m local down` stops it. Claude is the {environment.claude}.

endpoint   {environment.endpoint}
uploads    s3://{outputs["UploadsBucket"]}
results    s3://{outputs["ResultsBucket"]}
events     {outputs["EventsTopicArn"]}

From another terminal:
  export AWS_ACCESS_KEY_ID={ACCOUNT} AWS_SECRET_ACCESS_KEY={SECRET} AWS_REGION={REGION}
  aws {endpoint_option} s3 cp {EXAMPLE} s3://{outputs["UploadsBucket"]}/questions.jsonl
  aws {endpoint_option} s3 ls --recursive s3://{outputs["ResultsBucket"]}/results/

It polls once a minute; to poll now:
  aws {endpoint_option} lambda invoke --function-name {outputs["PollFunctionName"]} /dev/stdout"""
