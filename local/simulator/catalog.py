"""Every fault that can be armed, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

type Option = str | int | float
type Moment = Literal["body", "refuse", "accepted", "answer", "collect", "rows", "stream"]

# Filters of every fault; they select the calls that it strikes.
FILTERS: Mapping[str, Option] = MappingProxyType(
    {
        "after": 0,  # skip this many matching calls
        "batch_id": "",  # only calls about this batch
        "workspace": "",  # only calls with this workspace's keys
        "contains": "",  # only creates with this text in a custom_id or params
        "more_than": 0,  # only creates (or results) with more requests than this
        "queue_over": 0,  # only creates after which more requests than this would be processing
        "calls_over": 0,  # only calls beyond this many per minute, across all keys
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args:
        endpoint: the calls it strikes: create, retrieve, list, results, cancel, delete, or any.
            Faults of the moments refuse and answer have an option ``endpoint`` to change it.
        moment: when it strikes: while the body is read (body); instead of the action (refuse);
            after the batch was stored (accepted); instead of the answer (answer); before
            results are opened (collect); in their rows; in their stream.
        description: what happens, in a sentence.
        options: its own options and their defaults.
    """

    endpoint: str
    moment: Moment
    description: str
    options: Mapping[str, Option] = field(default_factory=dict)


def _refusal(status: int, kind: str, description: str, **options: Option) -> Fault:
    fault_options = {
        "status": status,
        "kind": kind,
        "message": description,
        "endpoint": "create",
        **options,
    }
    return Fault(
        "create",
        "refuse",
        f"{status} {kind}, and the action does not happen: {description}",
        fault_options,
    )


def _account_error(message: str, error_code: str = "") -> Fault:
    """Build a 400 that is caused by the account, not by a request."""
    return _refusal(400, "invalid_request_error", message, error_code=error_code)


def _error_after_accept(status: int, kind: str, message: str) -> Fault:
    fault_options: Mapping[str, Option] = {
        "status": status, "kind": kind, "message": message, "endpoint": "create",
    }  # fmt: skip
    return Fault(
        "create",
        "answer",
        f"The action succeeds, and the answer is {status} {kind}.",
        fault_options,
    )


_REGAIN_ACCESS = "You will regain access on 2027-01-01 at 00:00 UTC."
_MONTHLY_LIMIT = (
    "You have reached your API usage limits: your organization has crossed its monthly API usage "
    f"threshold, set based on your organization's API tier. {_REGAIN_ACCESS}"
)
_FRAMING: Mapping[str, Option] = {"framing": "length", "rows": -1}

FAULTS: Mapping[str, Fault] = {
    # Faults of the answer, after the action succeeded.
    "lost_answer": Fault(
        "create", "answer", "The action succeeds, and the connection closes without an answer.",
        {"endpoint": "create"},
    ),
    "bad_gateway_after_accept": Fault(
        "create", "answer", "The action succeeds, and a proxy answers 502 in HTML.", {"endpoint": "create"}
    ),
    "server_error_after_accept": _error_after_accept(500, "api_error", "Internal server error"),
    "gateway_timeout_after_accept": _error_after_accept(504, "timeout_error", "Request timeout"),
    "overloaded_after_accept": _error_after_accept(529, "overloaded_error", "Overloaded"),
    "slow_answer": Fault(
        "create", "answer", "The action succeeds, and the answer is delayed by delay_s seconds.",
        {"endpoint": "create", "delay_s": 1.0},
    ),
    # Refusals: the action does not happen.
    "bad_request": _refusal(400, "invalid_request_error", "This request is refused."),
    "refuse_matching": _refusal(
        400, "invalid_request_error",
        "A create holding a request that contains the text is refused; the message names it.",
        contains="refuse-me",
    ),
    # Account errors with status 400. Limits set in the Console and disabled organizations have public reports
    # (claude-code#2127, #38038, #19028, #72457). SDK 2.14 lists the four with a code for create.
    "usage_limit": _account_error(f"You have reached your specified API usage limits. {_REGAIN_ACCESS}"),
    "workspace_usage_limit": _account_error(
        f"You have reached your specified workspace API usage limits. {_REGAIN_ACCESS}"
    ),
    "organization_disabled": _account_error("This organization has been disabled."),
    "credit_balance": _account_error(
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing "
        "to upgrade or purchase credits."
    ),
    "organization_on_hold": _account_error("This organization is on hold.", "organization_on_hold"),
    "cmek_key_disabled": _account_error(
        "The workspace's customer-managed encryption key is disabled.", "cmek_key_disabled"
    ),
    "workspace_human_review_disabled": _account_error(
        "This operation is not available in a workspace with Human Review turned off.",
        "workspace_human_review_disabled",
    ),
    "claude_code_key_creator_not_member": _account_error(
        "The user who created this API key is no longer a member.",
        "claude_code_key_creator_not_member",
    ),
    "unauthorized": _refusal(401, "authentication_error", "invalid x-api-key"),
    "billing": _refusal(
        402, "billing_error", "Your credit balance is too low to access the Anthropic API."
    ),
    "linked_spend_limit": _refusal(
        402, "billing_error", "The linked organization has reached its spend limit.",
        error_code="linked_organization_spend_limit_reached",
    ),
    "forbidden": _refusal(
        403, "permission_error", "Your API key may not use the specified resource."
    ),
    "not_found": _refusal(404, "not_found_error", "Not found"),
    "conflict": _refusal(409, "conflict_error", "The request conflicts with another."),
    "too_large": _refusal(
        413, "request_too_large", "Request exceeds the maximum allowed number of bytes."
    ),
    "rate_limited": _refusal(
        429, "rate_limit_error", "This request would exceed your rate limit.", retry_after=1
    ),
    "rate_limited_without_retry_after": _refusal(
        429, "rate_limit_error", "This request would exceed your rate limit."
    ),
    # The limits of the lowest tier; options change them to those of another tier.
    "request_limit": _refusal(
        429, "rate_limit_error", "This request would exceed your organization's rate limit.",
        endpoint="any", calls_over=1000, retry_after=30,
    ),
    "queue_limit": _refusal(
        429, "rate_limit_error", "Too many batch requests are waiting in the processing queue.",
        queue_over=200_000, retry_after=60,
    ),
    "ramp_limit": _refusal(
        429, "rate_limit_error", "This request would exceed your organization's ramp limit.",
        error_code="ramp_limit_exceeded", retry_after=60,
    ),
    # Without retry-after: waiting a minute does not help.
    "spend_limit": _refusal(
        429, "rate_limit_error", _MONTHLY_LIMIT, error_code="enforced_spend_limit_reached"
    ),
    "contract_spend_limit": _refusal(
        429, "rate_limit_error", "Your organization has reached the spend limit of its contract.",
        error_code="contract_spend_limit_reached",
    ),
    "spend_limit_without_code": _refusal(429, "rate_limit_error", _MONTHLY_LIMIT),
    "server_error": _refusal(500, "api_error", "Internal server error"),
    "service_unavailable": _refusal(503, "api_error", "Service unavailable"),
    "gateway_timeout": _refusal(504, "timeout_error", "Request timeout"),
    "overloaded": _refusal(529, "overloaded_error", "Overloaded"),
    "retrieve_not_found": _refusal(
        404, "not_found_error", "An existing batch is not found.", endpoint="retrieve"
    ),
    "results_not_found": _refusal(
        404, "not_found_error", "Existing results are not found.", endpoint="results"
    ),
    # The body of a create.
    "reset_in_body": Fault(
        "create", "body", "The connection is reset after this many bytes of the request's body.",
        {"bytes": 1},
    ),
    # Faults of an accepted batch.
    "hidden_from_list": Fault(
        "create", "accepted", "The new batch is missing from this many list calls.",
        {"listings": 1},
    ),
    "foreign_batch": Fault(
        "create", "accepted",
        "A foreign batch is created at the same time (count 0: the same number of requests).",
        {"count": 0},
    ),
    "canceled_in_console": Fault(
        "create", "accepted", "Another user cancels the new batch when this share of it has finished.",
        {"done": 0.5},
    ),
    "deleted_before_collection": Fault(
        "results", "collect", "The batch is deleted just before its results are fetched."
    ),
    "archived_before_collection": Fault(
        "results", "collect", "The batch is archived just before its results are fetched."
    ),
    # Faults in the rows of one download; the next download is correct.
    "row_missing": Fault("results", "rows", "This many rows are missing.", {"rows": 1}),
    "row_doubled": Fault("results", "rows", "This many rows are duplicated.", {"rows": 1}),
    "row_foreign": Fault("results", "rows", "This many rows of another batch come first.", {"rows": 1}),
    "row_unreadable": Fault("results", "rows", "This many rows are not JSON.", {"rows": 1}),
    "unknown_result_type": Fault(
        "results", "rows", "This many rows have an unknown result type.", {"rows": 1}
    ),
    "unknown_error_type": Fault(
        "results", "rows", "This many rows are errored with an unknown error type.",
        {"rows": 1},
    ),
    # Faults in the stream of one download. framing: length, chunked or close; rows: complete rows
    # before the cut (-1: half of them).
    "cut_at_line": Fault(
        "results", "stream", "The download stops between two lines.", _FRAMING
    ),
    "cut_inside_line": Fault(
        "results", "stream", "The download stops in the middle of a line.", _FRAMING
    ),
}  # fmt: skip
