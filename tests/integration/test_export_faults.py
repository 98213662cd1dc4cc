"""Exports are best effort: a passing fault does not cost them, and their own failure does not cost the results."""

from collections.abc import Iterator
from contextlib import suppress
from errno import ENOSPC
from subprocess import CalledProcessError
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.errors import UploadLostError
from tests.harness import Harness, every_row_accepted_once
from tests.integration.upload_kinds import KINDS, ROWS

KIND = next(kind for kind in KINDS if "results.csv" in kind.exports)
KEY = f"in/{KIND.key}"
HOUR_S = 3600.0
SLOW_DOWN = ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "PutObject")
ALWAYS = 1000
_UNEXPECTED = (CalledProcessError, OSError, MemoryError)
COMPLETE = {"complete": True, "reason": None}


class KilledError(BaseException):
    """Lambda ends the invocation."""


def run(relay: Harness) -> None:
    relay.upload("in/_relay.toml", KIND.options.encode())
    relay.upload(KEY, KIND.body)
    for _ in range(40):
        with suppress(ClientError, KilledError, UploadLostError, *_UNEXPECTED):
            relay.tick(HOUR_S)


def fail(relay: Harness, method: str, error: BaseException, times: int) -> None:
    """Let a method of S3 fail this many times for files of the export."""
    real, failures = getattr(relay.results.files, method), iter(range(times))

    def failing(key: str, *arguments: Any) -> Any:
        if "results.csv" in key and next(failures, None) is not None:
            raise error
        return real(key, *arguments)

    setattr(relay.results.files, method, failing)


@pytest.mark.parametrize(
    ("method", "error", "times", "exports"),
    [
        ("write", SLOW_DOWN, 3, COMPLETE),
        ("join", SLOW_DOWN, 3, COMPLETE),
        ("write", SLOW_DOWN, ALWAYS, {"complete": False, "reason": "ClientError"}),
        ("join", SLOW_DOWN, ALWAYS, {"complete": False, "reason": "ClientError"}),
        ("write", ValueError(), 1, {"complete": False, "reason": "ValueError"}),
        ("join", ValueError(), 1, {"complete": False, "reason": "ValueError"}),
        ("write", KilledError(), ALWAYS, {"complete": False, "reason": "not written in 4 tries"}),
        ("join", KilledError(), ALWAYS, {"complete": False, "reason": "not joined in 4 tries"}),
    ],
)
def test_only_a_failure_that_stays_costs_the_exports(
    relay: Harness, method: str, error: BaseException, times: int, exports: dict[str, Any]
) -> None:
    fail(relay, method, error, times)

    run(relay)

    manifest = relay.manifest(KEY)
    assert manifest["exports"] == exports
    assert manifest["counts"] == {"succeeded": ROWS - 1, "errored": 1}
    assert ("results.csv" in manifest["files"]) is (exports == COMPLETE)
    assert every_row_accepted_once(relay)


def test_failed_downloads_do_not_cost_the_exports(relay: Harness) -> None:
    relay.simulator.arm("server_error", times=6, endpoint="results")

    run(relay)

    assert relay.manifest(KEY)["exports"] == COMPLETE


def test_failed_downloads_do_not_cost_the_retry_file(relay: Harness) -> None:
    """The upload cannot be read for a moment, after six downloads that failed."""
    relay.simulator.arm("server_error", times=6, endpoint="results")
    real, failures = relay.results.files.read, iter(range(2))

    def failing(source: Any, *arguments: Any) -> Any:
        if source.bucket == "uploads" and next(failures, None) is not None:
            raise SLOW_DOWN
        return real(source, *arguments)

    relay.results.files.read = failing  # type: ignore[method-assign,assignment]
    run(relay)

    assert relay.manifest(KEY)["retry"]["complete"]


@pytest.mark.parametrize(
    "error", [KilledError(), CalledProcessError(1, "reader"), OSError(ENOSPC, ""), MemoryError()]
)
def test_a_retry_file_that_always_fails_costs_no_answer(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def failing(*_: Any) -> Iterator[bytes]:
        raise error
        yield b""

    monkeypatch.setattr("functions.readers.delimited.retry_rows", failing)
    run(relay)

    manifest = relay.manifest(KEY)
    assert manifest["counts"] == {"succeeded": ROWS - 1, "errored": 1}
    assert manifest["retry"]["reason"] == "not written in 4 tries"
