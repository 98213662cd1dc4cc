"""What the SDK repeats by itself, because an answer was lost."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.crash import jobs
from tests.crash.mortal import mortal
from tests.crash.plays import play


def test_what_the_sdk_repeats_after_it_was_done_changes_nothing(tmp_path: Path) -> None:
    """A write that succeeded, and whose answer was lost: its second time fails, or does it once more."""
    with mortal(tmp_path) as relay:
        relay.deploy(requests_per_batch=3)
        undisturbed = play(relay, jobs.march()).ending
        for client in (relay.dynamodb, relay.sns, relay.sqs):
            _repeat(client)

        assert play(relay, jobs.march(), expected=undisturbed).wrong == []


def _repeat(client: Any) -> None:
    call = client._make_api_call  # noqa: SLF001 - the one way that every call goes
    # Transactions carry a token, by which DynamoDB knows a repeated one: moto does not.
    once = {"TransactWriteItems", "ReceiveMessage", "CreateTable"}

    def twice(operation: str, arguments: dict[str, Any]) -> Any:
        if operation in once:
            return call(operation, arguments)
        with suppress(client.exceptions.ClientError):
            call(operation, arguments)
        return call(operation, arguments)

    client._make_api_call = twice  # noqa: SLF001
