"""Record each call to Anthropic: a log line and a subsegment, with the id by which Anthropic finds the request."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from aws_lambda_powertools import Logger

from functions.adapters import tracing
from functions.model.create_response import request_id_of

_ALWAYS_LOGGED = frozenset({"create", "cancel"})
"""Calls that change something at Anthropic. Others are logged only if they fail."""
logger = Logger(child=True)


@dataclass
class ApiCall:
    """A call, and what is known of its answer.

    Attributes:
        name: the method of our adapter.
        url: the address, without its query.
        began_at: when it began, in seconds since 1970.
        status: the HTTP status; None without an answer.
        request_id: the answer's header `request-id`.
        problem: the name of the error that ended it.
    """

    name: str
    url: str
    began_at: float = field(default_factory=time.time)
    status: int | None = None
    request_id: str | None = None
    problem: str | None = None

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Record the status and the id of the answer."""
        self.status, self.request_id = status, request_id_of(headers)


@contextmanager
def recorded(name: str, url: str) -> Iterator[ApiCall]:
    """Record a call at its end. Its error propagates."""
    call = ApiCall(name, url)
    try:
        yield call
    except Exception as error:
        call.problem = type(error).__name__
        raise
    finally:
        _log(call)
        tracing.call(
            name, url, began_at=call.began_at, status=call.status, request_id=call.request_id
        )


def _log(call: ApiCall) -> None:
    is_answered = call.status is not None and call.status < HTTPStatus.BAD_REQUEST
    facts = {
        "call": call.name,
        "status": call.status,
        "anthropic_request_id": call.request_id,
        "problem": call.problem,
        "seconds": round(time.time() - call.began_at, 3),
    }
    if call.problem is not None or not is_answered:
        logger.warning("call to Anthropic failed", extra=facts)
    elif call.name in _ALWAYS_LOGGED:
        logger.info("call to Anthropic answered", extra=facts)
