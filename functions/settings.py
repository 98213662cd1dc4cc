"""What a function is told when it is deployed: infra writes it, the function reads it.

Each setting is said once, here. `Settings.to_env` gives the environment of a Lambda function,
`Settings.from_env` reads it back; waiting times are settings too, so that nobody need wait in a test.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

from functions.errors import SettingError

PROCESS = {"MALLOC_ARENA_MAX": "1"}
"""For the C library of each function: it would give every thread a heap of its own, though threads of Python's take turns."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every stage needs: where things lie, how to reach Claude, how long to wait after a failure.

    While sending is paused, a batch is let through every `probe_s` seconds; what failed is tried again after
    `retry_s`, and after ever longer pauses.
    """

    table_name: str
    uploads_bucket: str
    results_bucket: str
    topic_arn: str
    secret_name: str
    base_url: str = "https://api.anthropic.com"
    api_version: str = "2026-10-21"
    retention_days: int = 90
    probe_s: int = 300
    retry_s: int = 60

    def to_env(self) -> dict[str, str]:
        """Give the settings as environment variables: ``TABLE_NAME`` for ``table_name``."""
        return {field.name.upper(): str(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings from environment variables.

        Raises:
            SettingError: one is missing or is not of its type; the message names it.
        """
        given: dict[str, Any] = {}
        for field in fields(cls):
            text = env.get(field.name.upper())
            if text is not None:
                given[field.name] = _whole(field.name, text) if field.type is int else text
            elif field.default is MISSING:
                message = f"the setting {field.name.upper()} is missing from the environment"
                raise SettingError(message)
        return cls(**given)


_SHOWN = 40
"""Characters of a mistake that are shown: a sentence stays one."""


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        message = f"the setting {name.upper()} is no whole number: {text[:_SHOWN]!r}"
        raise SettingError(message) from error


@dataclass(frozen=True, kw_only=True)
class SubmitSettings(Settings):
    """For submit: its queue, what is frozen onto a job at its claim, how long a create may take, which poll to invoke.

    `repeats` says what becomes of an upload whose bytes a job has already: ``skip`` or ``run``.
    """

    queue_url: str
    requests_per_batch: int = 10_000
    attempts: int = 3
    batch_bytes: int = 250_000_000
    row_bytes: int = 32_000_000
    create_timeout_s: int = 600
    repeats: str = "skip"
    poll_function_name: str = ""


@dataclass(frozen=True, kw_only=True)
class PollSettings(Settings):
    """For poll: whom to wake, how much may be open at once, and what counts as proof of absence.

    `lease_s` is longer than poll may run (120 s), so that no two are at work at once. A request to cancel is kept for
    `cancellation_window_s`: events may come out of order, and an upload's hours late.
    """

    submit_queue_url: str
    results_queue_url: str
    open_batches: int = 1_000
    queued_requests: int = 200_000
    absent_listings: int = 3
    absent_s: int = 600
    skew_s: int = 300
    lease_s: int = 130
    cancellation_window_s: int = 86_400


@dataclass(frozen=True, kw_only=True)
class ResultsSettings(Settings):
    """For results: its queue; how often, and over how long, missing results are asked for; the disk; which poll to invoke.

    Results that lack rows, or that are not found, are given up after `fetches` downloads over `fetch_s` at the least.
    """

    queue_url: str
    fetches: int = 5
    fetch_s: int = 21_600
    disk_bytes: int = 4 << 30
    poll_function_name: str = ""
