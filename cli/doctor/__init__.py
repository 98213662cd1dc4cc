"""Examine a deployed stack: for each part, that it is fine, or what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from cli.doctor import account, activity, drift, wiring
from cli.errors import DENIED_CODES, NotFoundError, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cli.doctor.stack import Diagnosis, Stack

CHECKS: dict[str, Callable[[Stack], Diagnosis]] = {
    "credentials": account.credentials,
    "stack": account.stack_status,
    "version": account.version,
    "functions": wiring.functions,
    "concurrency": account.concurrency,
    "api key": activity.api_key,
    "sending": activity.sending,
    "schedules": wiring.schedules,
    "poll": activity.poll,
    "ledger check": activity.ledger_check,
    "uploads": wiring.notification,
    "triggers": wiring.triggers,
    "queues": activity.queues,
    "dead letters": activity.dead_letters,
    "subscriptions": wiring.subscriptions,
    "alarms": activity.alarms,
    "permissions": drift.permissions,
    "buckets": drift.buckets,
}
"""The checks, in the order in which they are printed."""
_NOT_SEEN = DENIED_CODES | {"InvalidAction", "UnknownOperationException", "NotImplemented", "501"}
"""Codes of AWS, or of an emulator, that say nothing about the stack."""


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        check: its name, a key of `CHECKS`.
        state: ``ok``, ``wrong``, or ``unknown`` if the check could not look.
        text: what is fine, or what is wrong and what to do.
    """

    check: str
    state: str
    text: str


def examine(stack: Stack) -> Iterator[Finding]:
    """Run all checks. One that AWS denies, or that a stack of an earlier version lacks, does not end the others."""
    for name, check in CHECKS.items():
        try:
            fine, problems = check(stack)
        except (BotoCoreError, ClientError, NotFoundError) as error:
            yield Finding(name, "unknown" if _is_unseen(error) else "wrong", describe(error)[0])
            continue
        yield from (Finding(name, "wrong", problem) for problem in problems)
        if not problems:
            yield Finding(name, "ok", fine)


def _is_unseen(error: BotoCoreError | ClientError | NotFoundError) -> bool:
    """Return whether an error is about this command's permissions or the network, not about the stack."""
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"] in _NOT_SEEN
    return isinstance(error, BotoCoreError)
