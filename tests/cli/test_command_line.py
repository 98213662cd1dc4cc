"""What all commands share: global options, errors and exit codes, and finding the stack."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    SSOTokenLoadError,
)
from botocore.stub import Stubber
from typer.testing import CliRunner

from cli import deployment, errors
from cli.app import app
from cli.errors import ExitCode, NotFoundError, UsageError
from cli.root_command import global_options_first
from infra.version import version
from local import environment
from local.environment import LocalEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.config import Config

    from tests.cli.conftest import CommandLine

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("ls --json", "--json ls"),
        ("ls --stack s --running", "--stack s ls --running"),
        ("ls --region=eu-west-1", "--region=eu-west-1 ls"),
        ("send --as k --profile p f", "--profile p send --as k f"),
        ("send -- --json", "send -- --json"),
        ("ls --stack", "--stack ls"),
    ],
)
def test_global_options_are_accepted_anywhere(arguments: str, expected: str) -> None:
    assert " ".join(global_options_first(arguments.split())) == expected


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "No."}}, "GetItem")


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UsageError("x"), 2, "x"),
        (NotFoundError("x"), 3, "x"),
        (NoCredentialsError(), 4, "there are no AWS credentials: pass --profile"),
        (
            NoRegionError(),
            4,
            "without --stack, --region and --profile, `relay` uses the local cloud",
        ),
        (EndpointConnectionError(endpoint_url="https://x"), 4, "AWS cannot be reached"),
        (client_error("AccessDeniedException"), 4, "AWS denied GetItem; docs/relay.md lists"),
        (client_error("ExpiredToken"), 4, "not valid any more: log in again"),
        (client_error("UnrecognizedClientException"), 4, "not valid any more: log in again"),
        (SSOTokenLoadError(error_msg="no token"), 4, "run `aws sso login` with the same profile"),
        (
            InvalidRegionError(region_name="us east"),
            4,
            "AWS cannot be called: Provided region_name",
        ),
        (client_error("Throttled"), 4, "AWS refused GetItem"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "f"), 1, "f: Permission denied"),
    ],
)
def test_an_error_is_a_sentence_with_an_exit_code(
    error: BaseException, code: int, sentence: str
) -> None:
    message, exit_code = errors.describe(error)

    assert exit_code == code
    assert sentence in message
    assert "\n" not in message


def test_docs_list_each_exit_code() -> None:
    page = (ROOT / "docs" / "relay.md").read_text(encoding="utf-8")

    assert all(f"| {code.value} |" in page for code in ExitCode)


def test_docs_name_each_command() -> None:
    page = (ROOT / "docs" / "relay.md").read_text(encoding="utf-8")
    names = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]

    assert not {name for name in names if f"`relay {name}" not in page}


def test_an_unexpected_error_is_a_sentence() -> None:
    code = (
        "import cli.commands.send as s\n"
        "s.check_upload = lambda _file: 1 / 0\n"
        "from cli.__main__ import main\nmain()\n"
    )
    process = subprocess.run(  # noqa: S603 - a list made here
        [sys.executable, "-c", code, "send", "f.jsonl"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 1
    assert process.stderr.strip() == (
        "relay: unexpected ZeroDivisionError: please report it with what RELAY_TRACEBACK=1 prints"
    )


INTERRUPTED_IN_AN_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background inherits that it is ignored
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "cli.checking":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from cli.__main__ import main
main()
"""


def test_ctrl_c_before_the_command_begins_is_a_sentence() -> None:
    process = subprocess.run(  # noqa: S603 - a list made here
        [sys.executable, "-c", INTERRUPTED_IN_AN_IMPORT, "ls"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (process.returncode, process.stderr) == (130, "relay: interrupted\n")


def test_the_list_of_commands_has_whole_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    listed = CliRunner().invoke(app, ["--help"]).stdout.partition("Commands:")[2]

    assert all(line.endswith(".") and "..." not in line for line in listed.split("\n") if line)


def test_the_version_is_the_one_that_doctor_compares() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"relay {version()}\n"


def test_output_that_is_piped_has_no_colors(relay: CommandLine) -> None:
    assert "\x1b" not in relay("ls").stdout


# -- finding the stack


@pytest.fixture
def cloudformation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """CloudFormation in AWS, while no local cloud is up."""
    monkeypatch.setattr(environment, "peek", lambda _workspace: None)
    client = boto3.client(
        "cloudformation",
        region_name="eu-central-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    monkeypatch.setattr(boto3.Session, "client", lambda *_arguments, **_options: client)
    with Stubber(client) as stubber:
        yield stubber


def add_stack(cloudformation: Stubber, name: str) -> None:
    """Let CloudFormation describe one stack, once."""
    outputs = [{"OutputKey": "TableName", "OutputValue": "a-table"}]
    stack = {"StackName": name, "CreationTime": datetime.now(UTC), "StackStatus": "CREATE_COMPLETE", "Outputs": outputs}  # fmt: skip
    cloudformation.add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": name})


def test_a_stack_is_found_by_its_outputs(cloudformation: Stubber) -> None:
    add_stack(cloudformation, "mine")

    found = deployment.find("mine", "eu-central-1", None)

    assert (found.name, found.table) == ("mine", "a-table")
    with pytest.raises(NotFoundError, match="has no output ResultsBucket: it was deployed by"):
        _ = found.results


def test_the_default_is_the_stack_of_cdk_json(cloudformation: Stubber) -> None:
    add_stack(cloudformation, "claude-batch-relay")

    assert deployment.find(None, "eu-central-1", None).name == "claude-batch-relay"


@pytest.mark.parametrize(
    ("option", "environment_variables", "region"),
    [
        ("eu-west-1", {"AWS_REGION": "eu-north-1"}, "eu-west-1"),
        (None, {"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-north-1"),
        (None, {"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
    ],
)
def test_the_region_is_the_one_that_the_aws_cli_would_use(
    option: str | None,
    environment_variables: dict[str, str],
    region: str,
    cloudformation: Stubber,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """boto3 itself does not read AWS_REGION."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment_variables.items():
        monkeypatch.setenv(name, value)
    cloudformation.add_client_error("describe_stacks", "ValidationError", "it does not exist")

    with pytest.raises(NotFoundError, match=f"there is no stack mine in {region}: "):
        deployment.find("mine", option, None)


def test_an_invocation_is_awaited_as_long_as_it_may_run(
    cloudformation: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invocation that is repeated while it still runs would answer that there is nothing to do."""
    add_stack(cloudformation, "mine")
    found = deployment.find("mine", "eu-central-1", None)
    configs: dict[str, Config] = {}
    monkeypatch.setattr(
        boto3.Session, "client", lambda _, service, config: configs.update({service: config})
    )

    _ = found.functions, found.s3

    assert configs["lambda"].read_timeout > 900  # type: ignore[attr-defined]
    assert configs["s3"].read_timeout == 60  # type: ignore[attr-defined]


def test_a_missing_stack_is_reported(cloudformation: Stubber) -> None:
    message = "Stack with id none does not exist"
    cloudformation.add_client_error("describe_stacks", "ValidationError", message)

    result = CliRunner().invoke(app, ["ls", "--stack", "none", "--region", "eu-central-1"])

    assert result.exit_code == ExitCode.NOT_FOUND
    assert (
        "there is no stack none in eu-central-1: --stack, --region and --profile name another"
        in result.stderr
    )


def test_the_local_cloud_is_used_unless_an_option_names_another(
    cloudformation: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalEnvironment(
        kind="up", owner_pid=1, owner_started_at="", endpoint="http://127.0.0.1:1",
        claude="simulator", outputs={"TableName": "local-table"},
    )  # fmt: skip
    monkeypatch.setattr(environment, "peek", lambda _workspace: local)
    add_stack(cloudformation, "claude-batch-relay")

    assert deployment.find(None, None, None).table == "local-table"
    assert deployment.find(None, "eu-central-1", None).table == "a-table"


# -- the local cloud


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "nowhere.jsonl"], 3, "there is no file nowhere.jsonl"),
        (["up", "--port", "0"], 2, "Invalid value for '--port'"),
        (["env", "--json"], 2, "prints no JSON: leave out --json"),
    ],
)
def test_local_commands_are_those_of_the_local_cloud(
    arguments: list[str], code: int, sentence: str
) -> None:
    process = subprocess.run(  # noqa: S603 - a list made here
        [str(ROOT / "relay"), "local", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == code
    assert sentence in process.stderr
