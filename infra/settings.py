"""What a user may set: the context of cdk.json or ``cdk deploy -c key=value``, read and checked.

A field's name is its key in snake case (`poll_minutes` is ``pollMinutes``). What comes after ``-c``
is always text, so ``"5"`` is a number here and ``"true"`` a truth.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal, Self, cast

from infra.errors import ContextError

_LONG_ROW = 32_000_000

type Architecture = Literal["arm64", "x86_64"]

# Keys that the CDK's own tools write without the ":" or "/" that most of theirs have.
_CDKS_OWN = {
    "acknowledged-issue-numbers",
    "acknowledgements",
    "cli-telemetry",
    "notices",
    "tree-metadata",
}


def _whole(default: int, low: int, high: int) -> Any:  # noqa: ANN401  # as dataclasses.field
    def read(value: object) -> int | None:
        written = not isinstance(value, bool) and re.fullmatch(r"-?[0-9]{1,9}", str(value))
        return int(str(value)) if written and low <= int(str(value)) <= high else None

    return _setting(default, read, f"a whole number from {low} to {high}")


def _text(default: str | None, pattern: str, wanted: str) -> Any:  # noqa: ANN401  # as field
    def read(value: object) -> str | None:
        fits = isinstance(value, str) and re.fullmatch(pattern, value)
        return str(value).rstrip("/") if fits else None

    return _setting(default, read, wanted)


def _one_of(default: str, *words: str) -> Any:  # noqa: ANN401  # as dataclasses.field
    return _text(default, "|".join(map(re.escape, words)), " or ".join(map(repr, words)))


def _truth(*, default: bool) -> Any:  # noqa: ANN401  # as dataclasses.field
    def read(value: object) -> bool | None:
        return {"true": True, "false": False}.get(str(value).lower())

    return _setting(default, read, "true or false")


def _setting(default: object, read: Callable[[object], object], wanted: str) -> Any:  # noqa: ANN401  # as dataclasses.field
    """A field that knows how to read its value, giving None for one that will not do."""
    return field(default=default, metadata={"read": read, "wanted": wanted})


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """Everything that may be set, with its default; docs/deploy.md says what each is for."""

    stack_name: str = _text(
        "claude-batch-relay",
        r"[A-Za-z][A-Za-z0-9-]{0,39}",
        "1 to 40 letters, digits and hyphens, a letter first",
    )
    poll_minutes: int = _whole(1, 1, 60)
    requests_per_batch: int = _whole(10_000, 1, 100_000)
    row_bytes: int = _whole(32_000_000, 1000, 64_000_000)  # several times this is held in memory
    open_batches: int = _whole(1000, 1, 10_000)
    queued_requests: int = _whole(200_000, 1, 100_000_000)
    attempts: int = _whole(3, 1, 9)
    api_version: str = _text(
        "2026-10-21", r"20\d\d-\d\d-\d\d", "a version of the API such as '2026-10-21'"
    )
    base_url: str = _text(
        "https://api.anthropic.com",
        r"https://[^\s/?#@]+(/[^\s?#]*)?|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/[^\s?#]*)?",
        "an https:// address, or the API key would travel in the clear "
        "(http:// is for this machine itself alone)",
    )
    retention_days: int = _whole(90, 30, 3653)
    removal_policy: Literal["retain", "destroy"] = _one_of("retain", "retain", "destroy")
    alarm_email: str | None = _text(None, r"[^@\s]+@[^@\s]+\.[^@\s]+", "one e-mail address")
    secret_name: str | None = _text(
        None, r"[A-Za-z0-9/_+=.@-]{1,512}", "the name of a secret in Secrets Manager, not its ARN"
    )
    architecture: Literal["arm64", "x86_64"] = _one_of("arm64", "arm64", "x86_64")
    tracing: bool = _truth(default=False)
    absent_seconds: int = _whole(600, 0, 86_400)
    absent_listings: int = _whole(3, 1, 100)
    skew_seconds: int = _whole(300, 0, 3600)
    probe_seconds: int = _whole(300, 0, 86_400)
    retry_seconds: int = _whole(60, 1, 3600)
    fetches: int = _whole(5, 1, 100)
    fetch_seconds: int = _whole(21_600, 0, 864_000)
    submit_concurrency: int = _whole(4, 2, 1000)
    results_concurrency: int = _whole(4, 2, 1000)
    results_disk_mib: int = _whole(4096, 512, 10_240)
    create_timeout_seconds: int = _whole(600, 1, 840)  # submit itself has 900
    reconcile_pages: int = _whole(
        100, 0, 10_000
    )  # a page of a thousand versions takes half a second
    repeats: Literal["skip", "run"] = _one_of("skip", "skip", "run")
    bundle: Literal["real", "stub"] = _one_of("real", "real", "stub")

    @classmethod
    def from_context(cls, context: Mapping[str, object]) -> Self:
        """Read the settings from the CDK's context, `node.get_all_context()`.

        Raises:
            ContextError: a key is unknown, or its value cannot be used.
        """
        ours = {key(one): one for one in fields(cls)}
        for name in context:
            if name not in ours and _looks_like_ours(name):
                raise ContextError(_unknown(name, ours))
        settings = cls(
            **{
                one.name: cast("Any", _read(name, one, context[name]))
                for name, one in ours.items()
                if context.get(name) is not None and context[name] != ""
            }
        )
        return settings._fitting_together()

    @property
    def stage_memory_mb(self) -> int:
        """Give the memory of submit and of results, in MB.

        The least is the cheapest: they wait for the network most of the time (docs/scale.md). Of a row, plan holds
        several times its length at once.
        """
        return 512 if self.row_bytes <= _LONG_ROW else 1024

    def _fitting_together(self) -> Self:
        if self.queued_requests < self.requests_per_batch:
            message = (
                f"queuedRequests is {self.queued_requests}, less than one batch of "
                f"requestsPerBatch, so that nothing would ever be sent: "
                f"put {self.requests_per_batch} or more."
            )
            raise ContextError(message)
        return self


def key(one: "Field[Any]") -> str:
    """Give a field's key in the context: ``pollMinutes`` for ``poll_minutes``."""
    first, *rest = one.name.split("_")
    return first + "".join(word.title() for word in rest)


def _read(name: str, one: "Field[Any]", value: object) -> object:
    read = one.metadata["read"](value)
    if read is None:
        message = f"{name} is {value!r}, but must be {one.metadata['wanted']}."
        raise ContextError(message)
    return cast("object", read)


def _looks_like_ours(name: str) -> bool:
    return not re.search(r"[:/@]", name) and name not in _CDKS_OWN


def _unknown(name: str, ours: Mapping[str, object]) -> str:
    near = get_close_matches(name.replace("-", "").replace("_", ""), ours, n=1, cutoff=0.6)
    meant = f"did you mean {near[0]}?" if near else f"put one of {', '.join(sorted(ours))}."
    shown = name if name.isprintable() else repr(name)
    return f"{shown} is no setting of claude-batch-relay: {meant}"
