"""What the command line can ask for: up, run, down."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from local import environment as clouds
from local.claude import chosen
from local.cloud import ACCOUNT, REGION, SECRET
from local.display import Display, pretty
from local.environment import Running
from local.errors import LocalError
from local.estimate import consent, estimate
from local.follow import follow
from local.job import Job, download, upload
from local.subscriber import subscribed
from local.workspace import Home

EXAMPLE = Path("examples") / "questions.jsonl"


def up(asked: argparse.Namespace, home: Home, console: Console) -> int:
    """Start the local cloud and leave it running, or bring one that runs up to date."""
    say = _sayer(console)
    claude = chosen(home, os.environ)
    running = clouds.found(home)
    if running is None:
        if claude.real:
            consent(console, os.environ, "Every file uploaded to it will go to the real API.")
        running = clouds.start(home, claude, "up", say, asked.port)
    else:
        running = clouds.refreshed(home, running, claude, say)
    clouds.handed_over(home, running)
    console.print(_how_to_use(running), markup=False, highlight=False, soft_wrap=True)
    return 0


def down(_asked: argparse.Namespace, home: Home, console: Console) -> int:
    """Stop the local cloud."""
    clouds.found(home)
    stopped = clouds.stop(home)
    console.print("stopped" if stopped else "nothing was running")
    return 0


def run(asked: argparse.Namespace, home: Home, console: Console) -> int:
    """Send files through the relay; 1 if one of them had nothing that could be sent."""
    files: Sequence[Path] = asked.files or [home.root / EXAMPLE]
    _check(files)
    claude = chosen(home, os.environ)
    if claude.real:
        consent(console, os.environ, f"This would send {estimate(files)}.")
    with ExitStack() as stack:
        running = stack.enter_context(clouds.lent(home, claude, _sayer(console)))
        topic = running.outputs["EventsTopicArn"]
        subscriber = stack.enter_context(subscribed(running.cloud, topic))
        display = stack.enter_context(Display(console))
        jobs = [upload(running.cloud, running.outputs["UploadsBucket"], file) for file in files]
        follow(running, jobs, subscriber, display)
        bucket = running.outputs["ResultsBucket"]
        folders = [download(running.cloud, bucket, job, asked.into) for job in jobs]
    for job, folder in zip(jobs, folders, strict=True):
        console.print(_report(job, bucket, folder), markup=False, highlight=False, soft_wrap=True)
    return int(any(job.outcome in {"rejected", "failed"} for job in jobs))


def _check(files: Sequence[Path]) -> None:
    for file in files:
        if not file.is_file():
            message = f"there is no file {file}: give the path of a JSONL file of requests"
            raise LocalError(message)


def _sayer(console: Console) -> Callable[[str], None]:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return say


def _report(job: Job, bucket: str, folder: Path) -> str:
    event = job.last or {}
    data: Mapping[str, Any] = event.get("data", {})
    counts = ", ".join(f"{count:,} {name}" for name, count in data.get("counts", {}).items())
    return (
        f"SNS said ({len(job.events)} events in all; this is the last):\n{pretty(event)}\n\n"
        f"{job.name}: {job.outcome}, {data.get('rows', 0):,} rows: {counts}\n"
        f"in S3    s3://{bucket}/{job.folder}/\n"
        f"here     {_short(folder)}/"
    )


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _how_to_use(running: Running) -> str:
    outputs = running.outputs
    where = f"--endpoint-url {running.endpoint}"
    return f"""\
The local cloud is up; `python -m local down` stops it. Claude is the {running.claude}.

endpoint   {running.endpoint}
uploads    s3://{outputs["UploadsBucket"]}
results    s3://{outputs["ResultsBucket"]}
events     {outputs["EventsTopicArn"]}

From another terminal:
  export AWS_ACCESS_KEY_ID={ACCOUNT} AWS_SECRET_ACCESS_KEY={SECRET} AWS_REGION={REGION}
  aws {where} s3 cp {EXAMPLE} s3://{outputs["UploadsBucket"]}/questions.jsonl
  aws {where} s3 ls --recursive s3://{outputs["ResultsBucket"]}/results/

Its schedule looks once a minute; to have it look now:
  aws {where} lambda invoke --function-name {outputs["PollFunctionName"]} /dev/stdout"""
