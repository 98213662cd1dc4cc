"""The commands of the command line: up, run, down."""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from functions.readers import SUFFIXES, suffix_of
from local import environment as environments
from local.claude import choose_claude
from local.cloud import ACCOUNT, REGION, SECRET
from local.display import Display, pretty
from local.environment import LocalEnvironment
from local.errors import LocalError
from local.estimate import consent, estimate
from local.follow import follow
from local.job import Job, cancel, download, key_of, upload
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
    """Process files with the options beside them.

    Returns:
        The exit code: 1 if a file had no row that could be sent, or waits for options.
    """
    files: Sequence[Path] = arguments.files or [workspace.root / EXAMPLE]
    _check_files(files)
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
        uploads = environment.outputs["UploadsBucket"]
        jobs = [upload(environment.cloud, uploads, file) for file in files]
        follow(environment, jobs, subscriber, display)
        reports = [_end(environment, job, arguments.into) for job in jobs]
    for report in reports:
        console.print(report, markup=False, highlight=False, soft_wrap=True)
    return int(any(job.waiting_event or job.outcome in {"rejected", "failed"} for job in jobs))


def _check_files(files: Sequence[Path]) -> None:
    paths: dict[str, Path] = {}
    for file in files:
        if not file.is_file():
            message = (
                f"there is no file {file}: pass the path of a file that docs/formats.md names"
            )
            raise LocalError(message)
        if suffix_of(file.name) is None:
            message = f"{file} is not read: pass a file that ends in {', '.join(SUFFIXES)}"
            raise LocalError(message)
        if paths.setdefault(key_of(file), file.resolve()) != file.resolve():
            message = (
                f"two files would be uploaded as {key_of(file)}: run them one after the other"
            )
            raise LocalError(message)


def _end(environment: LocalEnvironment, job: Job, into: Path) -> str:
    """Download the results of a job, or cancel one that waits. Return what to print about it."""
    if job.final_event is None:
        cancel(environment.cloud, environment.outputs["UploadsBucket"], job)
        return _what_is_lacking(job)
    bucket = environment.outputs["ResultsBucket"]
    return _summary(job, bucket, download(environment.cloud, bucket, job, into))


def _reporter(console: Console) -> Callable[[str], None]:
    def report(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return report


def _summary(job: Job, bucket: str, folder: Path) -> str:
    event = job.final_event or {}
    data: Mapping[str, Any] = event.get("data", {})
    counts = _counted(data.get("counts", {})) or "nothing was read"
    lines = (
        f"Events from SNS: {len(job.events)}. The last one:\n{pretty(event)}\n",
        f"{job.name}: {job.outcome}, {data.get('rows', 0):,} rows: {counts}",
        *_explanations(data, json.loads((folder / "manifest.json").read_bytes())),
        f"answers  {data.get('empty_answers', 0):,} empty, {data.get('truncated', 0):,} truncated",
        f"in S3    s3://{bucket}/{job.folder}/",
        f"here     {_short(folder)}/",
        f"files    {', '.join(_files_in(folder))}",
    )
    return "\n".join(lines)


def _explanations(data: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield why rows or the whole job did not succeed, and what to know about the answers."""
    if data.get("reason"):
        yield f"reason   {data['reason']}"
    if manifest["errors"]:
        yield f"errors   {_counted(manifest['errors'])}; errors.jsonl says why for each row"
    for notice in manifest["format"].get("notices", ()):
        yield f"notice   {notice}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _files_in(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _what_is_lacking(job: Job) -> str:
    """Describe why a job waits, and what to do."""
    data: Mapping[str, Any] = (job.waiting_event or {})["data"]
    if "example" not in data:
        return f"{job.file.name} was not run: {data['message']}"
    return (
        f"{job.file.name} was not run: the rows are not requests, and no template says what to send for them.\n\n"
        f"An example. Save it beside the file as {job.file.name}.relay.toml, and run the file again:\n\n"
        f"{data['example'].rstrip()}"
    )


def _short(path: Path) -> Path:
    current = Path.cwd()
    return path.relative_to(current) if path.is_relative_to(current) else path


def _how_to_use(environment: LocalEnvironment) -> str:
    outputs = environment.outputs
    endpoint_option = f"--endpoint-url {environment.endpoint}"
    return f"""\
The local cloud is up; `make down` stops it. Claude is the {environment.claude}.

endpoint   {environment.endpoint}
uploads    s3://{outputs["UploadsBucket"]}
results    s3://{outputs["ResultsBucket"]}
events     {outputs["EventsTopicArn"]}

From another terminal:
  export AWS_ACCESS_KEY_ID={ACCOUNT} AWS_SECRET_ACCESS_KEY={SECRET} AWS_DEFAULT_REGION={REGION}
  aws {endpoint_option} s3 cp {EXAMPLE} s3://{outputs["UploadsBucket"]}/questions.jsonl
  aws {endpoint_option} s3 ls --recursive s3://{outputs["ResultsBucket"]}/results/

It polls once a minute; to poll now:
  aws {endpoint_option} lambda invoke --function-name {outputs["PollFunctionName"]} /dev/stdout"""
