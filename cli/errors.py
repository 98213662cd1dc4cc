"""The errors of `relay`, and its exit codes. Each message is one sentence that says what to do.

CommandError          exit code 1
├── UsageError        2
└── NotFoundError     3
"""

from enum import IntEnum
from typing import ClassVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as AwsConnectionError

from local.errors import LocalError

DENIED_CODES = frozenset(
    {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403"}
)
"""The codes with which AWS services refuse a call that no policy allows."""
EXPIRED_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestExpired",
        "UnrecognizedClientException",
    }
)
"""The codes with which AWS services refuse unknown or expired credentials."""


WITHOUT_OPTIONS = "without --stack, --region and --profile, `relay` uses the local cloud that `relay local up` starts"
"""How to get what needs no AWS, for the sentences about AWS."""
_SENTENCES: tuple[tuple[type[BotoCoreError] | tuple[type[BotoCoreError], ...], str], ...] = (
    (
        (NoCredentialsError, PartialCredentialsError),
        f"there are no AWS credentials: pass --profile or run `aws configure`; {WITHOUT_OPTIONS}",
    ),
    (
        NoRegionError,
        f"no AWS region is set: pass --region or set AWS_REGION; {WITHOUT_OPTIONS}",
    ),
    (
        (SSOError, TokenRetrievalError),
        "you are not logged in to AWS: run `aws sso login` with the same profile ({error})",
    ),
    (ProfileNotFound, "{error}: `aws configure list-profiles` lists them"),
    ((AwsConnectionError, HTTPClientError), "AWS cannot be reached: {error}"),
    (BotoCoreError, "AWS cannot be called: {error}"),
)
"""Errors before AWS has answered, and their sentences; the first that fits counts."""


class ExitCode(IntEnum):
    """The exit codes of every command; docs/relay.md lists them."""

    OK = 0
    FAILURES = 1
    """The job or the file has failures, or `doctor` found something to do."""
    USAGE = 2
    NOT_FOUND = 3
    """There is no such job, file, stack, or part of a stack."""
    AWS = 4
    """AWS did not answer, or denied the call: credentials, permissions, network."""
    INTERRUPTED = 130


class CommandError(Exception):
    """The command cannot be run; the message is for the user."""

    code: ClassVar[ExitCode] = ExitCode.FAILURES


class UsageError(CommandError):
    """The command line asks for something that cannot be done."""

    code = ExitCode.USAGE


class NotFoundError(CommandError):
    """What the command line names does not exist."""

    code = ExitCode.NOT_FOUND


DESCRIBED = (CommandError, LocalError, BotoCoreError, ClientError, OSError, KeyboardInterrupt)
"""What `describe` can put into a sentence."""


def describe(error: BaseException) -> tuple[str, ExitCode]:
    """Return one of the `DESCRIBED` errors as one sentence, and its exit code."""
    match error:
        case CommandError():
            return str(error), error.code
        case BotoCoreError() | ClientError():
            return _describe_aws(error), ExitCode.AWS
        case KeyboardInterrupt():
            return "interrupted", ExitCode.INTERRUPTED
        case OSError():
            name = error.filename or "the system"
            return f"{name}: {error.strerror or error}", ExitCode.FAILURES
    return str(error), ExitCode.FAILURES


def _describe_aws(error: BotoCoreError | ClientError) -> str:
    if isinstance(error, ClientError):
        return _describe_answer(error)
    sentence = next(text for kinds, text in _SENTENCES if isinstance(error, kinds))
    return sentence.format(error=_one_line(error))


def _describe_answer(error: ClientError) -> str:
    code = error.response.get("Error", {}).get("Code", "")
    if code in DENIED_CODES:
        return (
            f"AWS denied {error.operation_name}; docs/relay.md lists the policies that `relay` needs: "
            f"{_one_line(error)}"
        )
    if code in EXPIRED_CODES:
        return "the AWS credentials are not valid any more: log in again"
    return f"AWS refused {error.operation_name}: {_one_line(error)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
