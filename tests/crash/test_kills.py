"""A stage may die just before or just after any call it makes: every row is still answered, and paid once."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.crash import jobs
from tests.crash.campaigns import STRIKES
from tests.crash.figures import Figures
from tests.crash.mortal import mortal
from tests.crash.plays import play
from tests.crash.runner import added, run


def test_struck_at_any_call_a_job_ends_whole(
    record_property: Callable[[str, object], None],
) -> None:
    """Killed at every single call; twice, in recovery, by errors and by freezes at a sample of them."""
    found = added([*run(STRIKES, full=False)])

    for one in found:
        record_property(one.campaign, f"{one.calls} calls, {one.tried} tried, {one.seconds:.0f} s")
    assert [wrong for one in found for wrong in one.broken] == []
    assert [(one.tried, one.rows_lost, one.paid_twice) for one in found] == [
        (one.recovered, 0, 0) for one in found
    ]
    assert _of(found, "killed at every call").tried == 2 * _of(found, "killed at every call").calls


def _of(found: list[Figures], campaign: str) -> Figures:
    return next(one for one in found if one.campaign == campaign)


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
