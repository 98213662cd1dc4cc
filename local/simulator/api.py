"""The endpoints."""

import re
from dataclasses import replace

from local.simulator import downloads
from local.simulator.batches import SimulatedBatch
from local.simulator.errors import ApiError, invalid, not_found
from local.simulator.faults import CallFacts
from local.simulator.http import Call, HangUpError, Reply, json_reply
from local.simulator.reports import cost_report, usage_report
from local.simulator.requests import receive
from local.simulator.simulator import Simulator
from local.simulator.token_counts import MAX_BYTES, count_tokens

VERSIONS = frozenset(("2023-01-01", "2023-06-01", "2026-10-21"))
_PAGE, _MAX_PAGE = 20, 1000
_ROUTES = (
    ("POST", re.compile(r"/v1/messages/batches"), "create"),
    ("GET", re.compile(r"/v1/messages/batches"), "list"),
    ("GET", re.compile(r"/v1/messages/batches/([^/]+)"), "retrieve"),
    ("GET", re.compile(r"/v1/messages/batches/([^/]+)/results"), "results"),
    ("POST", re.compile(r"/v1/messages/batches/([^/]+)/cancel"), "cancel"),
    ("POST", re.compile(r"/v1/messages/count_tokens"), "count_tokens"),
    ("GET", re.compile(r"/v1/models"), "models"),
    ("DELETE", re.compile(r"/v1/messages/batches/([^/]+)"), "delete"),
    ("GET", re.compile(r"/v1/organizations/usage_report/messages"), "usage_report"),
    ("GET", re.compile(r"/v1/organizations/cost_report"), "cost_report"),
)
_REPORTS = {"usage_report": usage_report, "cost_report": cost_report}


class Api:
    """Answers calls to the API.

    Args:
        simulator: holds batches, faults and counters.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._endpoints = {
            "retrieve": self._retrieve,
            "cancel": self._cancel,
            "delete": self._delete,
        }

    def reply(self, call: Call) -> Reply:
        """Answer a call.

        Raises:
            ApiError: the API would answer with this error.
            HangUpError: the connection closes without an answer.
        """
        endpoint, batch_id = _route(call)
        self._simulator.count(endpoint)
        workspace = self._workspace(call, endpoint)
        facts = CallFacts(
            endpoint,
            workspace,
            batch_id,
            queued=self._simulator.queued,
            recent=self._simulator.recent,
        )
        if endpoint == "create":
            reply = self._create(call, facts)
        else:
            self._raise_refusal(facts)
            reply = self._reply(call, facts)
        return self._apply_answer_fault(reply, facts)

    def _reply(self, call: Call, facts: CallFacts) -> Reply:
        if facts.endpoint == "list":
            return self._list(call, facts)
        if report := _REPORTS.get(facts.endpoint):
            return json_reply(report(self._simulator, call))
        if facts.endpoint == "models":
            return json_reply(_models(self._simulator))
        if facts.endpoint == "count_tokens":
            return json_reply(
                {
                    "input_tokens": count_tokens(
                        call.body.read(MAX_BYTES), _version(call), self._simulator.models
                    )
                }
            )
        return self._reply_about_batch(call, facts)

    def _workspace(self, call: Call, endpoint: str) -> str:
        """Return the workspace of the key; empty for a report, which is of the organization.

        Raises:
            ApiError: the key is missing or not for this endpoint, or the version is missing.
        """
        is_report = endpoint in _REPORTS
        bearer = "" if is_report else call.headers.get("authorization", "")
        key = call.headers.get("x-api-key") or bearer.removeprefix("Bearer ").strip()
        if not key:
            message = "x-api-key header is required"
            raise ApiError(401, "authentication_error", message)
        if key not in (self._simulator.admin_keys if is_report else self._simulator.keys):
            message = "invalid x-api-key"
            raise ApiError(401, "authentication_error", message)
        _version(call)
        return "" if is_report else self._simulator.keys[key]

    def _raise_refusal(self, facts: CallFacts) -> None:
        if fault := self._simulator.fault("refuse", facts):
            raise fault.error(facts)

    def _apply_answer_fault(self, reply: Reply, facts: CallFacts) -> Reply:
        """Return the reply, or what an armed fault replaces it with."""
        fault = self._simulator.fault("answer", facts)
        if fault is None:
            return reply
        if fault.name == "lost_answer":
            raise HangUpError
        if fault.name == "slow_answer":
            reply.delay_s = fault.number("delay_s")
            return reply
        if "status" in fault.options:
            raise fault.error(facts)
        return Reply(b"<html><h1>502 Bad Gateway</h1></html>", 502, "text/html")

    def _create(self, call: Call, facts: CallFacts) -> Reply:
        if fault := self._simulator.fault("body", facts):
            call.body.break_off(int(fault.number("bytes")))
        _check_encoding(call)
        requests = receive(call.body, self._simulator.folder)
        facts = replace(facts, requests=len(requests), find=requests.find)
        self._raise_refusal(facts)
        batch = self._simulator.accept(facts.workspace, requests, _version(call))
        for fault in self._simulator.faults("accepted", facts):
            if fault.name == "hidden_from_list":
                batch.listings = int(fault.number("listings"))
            elif fault.name == "canceled_in_console":
                batch.cancel(batch.created_s, fault.number("done"))
            else:
                count = int(fault.number("count")) or len(requests)
                self._simulator.add_foreign(count, facts.workspace)
        return json_reply(self._simulator.to_json(batch, batch.created_s))

    def _reply_about_batch(self, call: Call, facts: CallFacts) -> Reply:
        """Answer a call about one batch."""
        batch = self._simulator.find(facts.workspace, facts.batch_id)
        if batch is None:
            message = f"Message Batch {facts.batch_id} not found"
            raise not_found(message)
        if facts.endpoint == "results":
            return downloads.results(self._simulator, batch, call.headers.get("range"))
        return self._endpoints[facts.endpoint](batch)

    def _retrieve(self, batch: SimulatedBatch) -> Reply:
        return json_reply(self._simulator.to_json(batch))

    def _cancel(self, batch: SimulatedBatch) -> Reply:
        now_s = self._simulator.clock()
        if batch.ended(now_s):
            message = f"Message Batch {batch.id} has ended and cannot be canceled"
            raise invalid(message)
        batch.cancel(now_s)
        return json_reply(self._simulator.to_json(batch, now_s))

    def _delete(self, batch: SimulatedBatch) -> Reply:
        if not batch.ended(self._simulator.clock()):
            message = (
                "In progress batches cannot be deleted. Consider canceling the batch instead."
            )
            raise invalid(message)
        self._simulator.forget(batch)
        return json_reply({"id": batch.id, "type": "message_batch_deleted"})

    def _list(self, call: Call, facts: CallFacts) -> Reply:
        after, before = call.query.get("after_id"), call.query.get("before_id")
        if after and before:
            message = "only one of after_id and before_id may be given"
            raise invalid(message)
        limit = _limit(call.query.get("limit", str(_PAGE)))
        batches = self._simulator.listed(facts.workspace)
        if cursor := after or before:
            position = self._simulator.number(facts.workspace, cursor)
            if position is None:
                message = f"there is no Message Batch {cursor} to page from"
                raise invalid(message)
            batches = [
                b for b in batches if (b.number < position if after else b.number > position)
            ]
        page = batches[-limit:] if before else batches[:limit]
        return json_reply(
            {
                "data": [self._simulator.to_json(batch) for batch in page],
                "has_more": len(batches) > len(page),
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
            }
        )


def _models(simulator: Simulator) -> dict[str, object]:
    """Return all models on one page. Callers only ask whether their key is accepted."""
    models = [
        {"type": "model", "id": name, "display_name": name} for name in sorted(simulator.models)
    ]
    return {"data": models, "has_more": False, "first_id": None, "last_id": None}


def _route(call: Call) -> tuple[str, str]:
    for method, pattern, endpoint in _ROUTES:
        if call.method == method and (match := pattern.fullmatch(call.path)):
            return endpoint, match[1] if match.groups() else ""
    message = f"there is no {call.method} {call.path}"
    raise not_found(message)


def _version(call: Call) -> str:
    version = call.headers.get("anthropic-version")
    if version is None:
        message = "anthropic-version: header is required"
        raise invalid(message)
    if version not in VERSIONS:
        message = f"anthropic-version: {version!r} is not a valid version"
        raise invalid(message)
    return version


def _check_encoding(call: Call) -> None:
    """Reject a compressed body with the 400 of SDK 2.14 (`RequestBodyEncodingUnsupportedError`).

    The SDK lists it for Messages, which accepts gzip in practice. No source says that batches accept any encoding.
    """
    encoding = call.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ApiError(
            400,
            "invalid_request_error",
            f"The request's Content-Encoding {encoding!r} is not supported.",
            details={"error_code": "request_body_encoding_unsupported"},
        )


def _limit(text: str) -> int:
    limit = int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else 0
    if not 1 <= limit <= _MAX_PAGE:
        message = f"limit: Input should be an integer from 1 to {_MAX_PAGE}"
        raise invalid(message)
    return limit
