"""Raise the `max_tokens` of a request whose answer ended there, to send it once more.

All other bytes of its params stay as they are.
"""

import re
from collections.abc import Collection, Iterable

from functions.model import demand
from functions.model.capabilities import capabilities_of, list_of
from functions.model.demand import Demand, RequestDemand
from functions.model.items.job import Job

_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_OPENING, _CLOSING = b"[{", b"]}"
_NAME = b'"max_tokens"'
_NUMBER = re.compile(rb"\s*:\s*(\d+)")


def raised_max_tokens(job: Job, betas: Collection[str], model: str, max_tokens: int) -> int | None:
    """Return the `max_tokens` with which a row is sent once more; None if it cannot be raised.

    Args:
        job: the row's job, with the limits of the option and the list of what each model accepts.
        betas: the values of `anthropic-beta` of the request.
        model: its model.
        max_tokens: its own `max_tokens`.
    """
    increase = job.retry_truncated
    if increase is None:
        return None
    known = capabilities_of(model, job.capability_list) or list_of(job.capability_list).unknown
    raised = min(
        max_tokens * increase.percent // 100, increase.limit, known.max_tokens_with(betas)
    )
    return raised if raised > max_tokens else None


def with_raised_max_tokens(job: Job, betas: Collection[str], params: bytes) -> bytes | None:
    """Return params with a raised `max_tokens`; None if it cannot be raised."""
    model, max_tokens = demand.limits_of(params)
    raised = raised_max_tokens(job, betas, model, max_tokens)
    number = _find_max_tokens(params)
    if raised is None or number is None or int(number[1]) != max_tokens:
        return None
    return b"%b%d%b" % (params[: number.start(1)], raised, params[number.end(1) :])


def _find_max_tokens(params: bytes) -> re.Match[bytes] | None:
    """Return the last number that is a member `max_tokens` of the outermost object, as parsers do."""
    depth, found = 0, None
    for token in _STRING_OR_BRACKET.finditer(params):
        first = params[token.start()]
        if first in _OPENING:
            depth += 1
        elif first in _CLOSING:
            depth -= 1
        elif depth == 1 and params.startswith(_NAME, token.start()):
            found = _NUMBER.match(params, token.end()) or found
    return found


def second_demand(
    job: Job, betas: Collection[str], requests: Iterable[RequestDemand]
) -> dict[str, Demand]:
    """Return what requests may use when they are sent once more. Without the option, this is nothing."""
    if job.retry_truncated is None:
        return {}
    raised = (
        (model, size, raised_max_tokens(job, betas, model, max_tokens), surcharge)
        for model, size, max_tokens, surcharge in requests
    )
    return demand.of_requests(
        (model, size, tokens, surcharge) for model, size, tokens, surcharge in raised if tokens
    )
