"""Anthropic as pure functions: the answer to a request, and the Message Batches after it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from tests.verification.model.states import MessageBatch, State

if TYPE_CHECKING:
    from tests.verification.model.checks import TransitionChecker
    from tests.verification.model.scenarios import Scenario

Answer = tuple[State, list[Any]]
ERROR_STATUSES = {"later": 429, "paused": 402, "error": 500, "busy": 529}
"""Error statuses; after 500 and 529 a batch may have been accepted or not."""
_MESSAGE = {
    "model": "claude-haiku-4-5", "content": [], "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


class _Message(msgspec.Struct):
    content: str


class _Params(msgspec.Struct):
    messages: list[_Message]

    @property
    def behavior(self) -> str:
        """How a row is answered, as its prompt says."""
        return self.messages[0].content


class _Request(msgspec.Struct):
    custom_id: str
    params: _Params


class _Body(msgspec.Struct):
    requests: list[_Request]


def create_batch(
    state: State,
    body: bytes,
    scenario: "Scenario",
    disturbance: str | None,
    checker: "TransitionChecker",
) -> Answer:
    """Answer a create.

    Args:
        state: The current state.
        body: The request body.
        scenario: The API's behavior.
        disturbance: ``lost`` accepts, but its answer is lost; ``hidden`` also keeps the batch
            out of the listings for a while.
        checker: Checks each acceptance.
    """
    if disturbance == "unreached":
        return state, [0, {}, b""]
    if disturbance in ERROR_STATUSES:
        return state, [ERROR_STATUSES[disturbance], {"retry-after": "60"}, b"{}"]
    requests = msgspec.json.decode(body, type=_Body).requests
    if any(request.params.behavior == "refused" for request in requests):
        return state, [413, {}, b"{}"]
    ids = tuple(request.custom_id for request in requests)
    batch = MessageBatch(
        id=f"msgbatch_{len(state.claude) + 1}",
        custom_ids=ids,
        results=b"".join(_result(request) for request in requests),
        created=state.now,
        ends=state.now + scenario.processing_s,
        listed_from=state.now + (scenario.hidden_s if disturbance == "hidden" else 0),
    )
    checker.check_accepted(state, ids)
    after = replace(state, claude=(*state.claude, batch))
    if disturbance in {"lost", "hidden"}:
        return after, [0, {}, b""]
    return after, [200, {}, msgspec.json.encode(batch.to_api(state.now))]


def _result(request: _Request) -> bytes:
    is_first_attempt = request.custom_id.split("-")[2] == "1"
    if request.params.behavior == "expires" and is_first_attempt:
        result: dict[str, Any] = {"type": "expired"}
    else:
        result = {"type": "succeeded", "message": _MESSAGE}
    return msgspec.json.encode({"custom_id": request.custom_id, "result": result}) + b"\n"


def list_batches(state: State, disturbance: str | None) -> Answer:
    """Answer a listing: newest first, all on one page."""
    if disturbance == "busy":
        return state, [529, {}, b"{}"]
    listed = [b.to_api(state.now) for b in reversed(state.claude) if b.listed_from <= state.now]
    return state, [200, {}, msgspec.json.encode({"data": listed, "has_more": False})]


def read_results(state: State, batch_id: str, disturbance: str | None) -> Answer:
    """Answer with a batch's results: all, or all but the last (``cut``)."""
    (batch,) = (batch for batch in state.claude if batch.id == batch_id)
    if disturbance == "absent" or batch.ends > state.now:
        return state, [404, {}, b"{}"]
    body = batch.results
    if batch.canceled:
        canceled_result = {"type": "canceled"}
        lines = [
            {"custom_id": custom_id, "result": canceled_result} for custom_id in batch.custom_ids
        ]
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    if disturbance == "cut":
        body = body[: body.rstrip(b"\n").rfind(b"\n") + 1]
    return state, [200, {}, body]


def cancel_batch(state: State, batch_id: str, disturbance: str | None) -> Answer:
    """Cancel a batch that has not ended; it has ended at the next listing."""
    if disturbance == "busy":
        return state, [529, {}, b"{}"]
    if any(batch.id == batch_id and batch.ends <= state.now for batch in state.claude):
        return state, [400, {}, b"{}"]
    claude = tuple(
        replace(batch, canceled=True, ends=min(batch.ends, state.now + 1))
        if batch.id == batch_id and batch.ends > state.now
        else batch
        for batch in state.claude
    )
    (batch,) = (batch for batch in claude if batch.id == batch_id)
    after = replace(state, claude=claude)
    if disturbance == "deaf":
        return after, [0, {}, b""]
    return after, [200, {}, msgspec.json.encode(batch.to_api(state.now))]
