"""Anthropic as a value: what it answers, and which Message Batches there are after it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from tests.verification.model.states import MessageBatch, State

if TYPE_CHECKING:
    from tests.verification.model.checks import Moves
    from tests.verification.model.scenarios import Scenario

Answer = tuple[State, list[Any]]
REFUSALS = {"later": 429, "paused": 402, "error": 500, "busy": 529}
"""Answers to create that accept nothing; of 500 and 529 nobody can know that."""
_MESSAGE = {
    "model": "claude-haiku-4-5", "content": [], "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


class _Params(msgspec.Struct):
    model: str


class _Request(msgspec.Struct):
    custom_id: str
    params: _Params


class _Body(msgspec.Struct):
    requests: list[_Request]


def accept(state: State, body: bytes, how: "Scenario", said: str | None, moves: "Moves") -> Answer:
    """Answer a create.

    Args:
        state: as it is.
        body: what was sent.
        how: what this world is like.
        said: what to do in place of accepting it: ``lost`` accepts, and nobody hears it; ``hidden`` also
            keeps the batch out of the listings for a while.
        moves: is told of each acceptance.
    """
    if said == "unreached":
        return state, [0, {}, b""]
    if said in REFUSALS:
        return state, [REFUSALS[said], {"retry-after": "60"}, b"{}"]
    requests = msgspec.json.decode(body, type=_Body).requests
    if any(one.params.model == "refused" for one in requests):
        return state, [413, {}, b"{}"]
    ids = tuple(one.custom_id for one in requests)
    batch = MessageBatch(
        id=f"msgbatch_{len(state.claude) + 1}",
        custom_ids=ids,
        results=b"".join(_result(one) for one in requests),
        created=state.now,
        ends=state.now + how.processing_s,
        seen_from=state.now + (how.hidden_s if said == "hidden" else 0),
    )
    moves.accepted(state, ids)
    after = replace(state, claude=(*state.claude, batch))
    if said in {"lost", "hidden"}:
        return after, [0, {}, b""]
    return after, [200, {}, msgspec.json.encode(batch.about(state.now))]


def _result(request: _Request) -> bytes:
    first = request.custom_id.split("-")[2] == "1"
    if request.params.model == "expires" and first:
        result: dict[str, Any] = {"type": "expired"}
    else:
        result = {"type": "succeeded", "message": _MESSAGE}
    return msgspec.json.encode({"custom_id": request.custom_id, "result": result}) + b"\n"


def lists(state: State, said: str | None) -> Answer:
    """Answer a listing: newest first, all on one page."""
    if said == "busy":
        return state, [529, {}, b"{}"]
    shown = [b.about(state.now) for b in reversed(state.claude) if b.seen_from <= state.now]
    return state, [200, {}, msgspec.json.encode({"data": shown, "has_more": False})]


def answers(state: State, batch_id: str, said: str | None) -> Answer:
    """Answer with a batch's results: all, or (cut) all but the last."""
    (batch,) = (one for one in state.claude if one.id == batch_id)
    if said == "absent" or batch.ends > state.now:
        return state, [404, {}, b"{}"]
    body = batch.results
    if batch.canceled:
        end = {"type": "canceled"}
        lines = [{"custom_id": custom_id, "result": end} for custom_id in batch.custom_ids]
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    if said == "cut":
        body = body[: body.rstrip(b"\n").rfind(b"\n") + 1]
    return state, [200, {}, body]


def cancel(state: State, batch_id: str, said: str | None) -> Answer:
    """Cancel a batch that has not ended; it ends at the next look."""
    if said == "busy":
        return state, [529, {}, b"{}"]
    if any(one.id == batch_id and one.ends <= state.now for one in state.claude):
        return state, [400, {}, b"{}"]
    claude = tuple(
        replace(one, canceled=True, ends=min(one.ends, state.now + 1))
        if one.id == batch_id and one.ends > state.now
        else one
        for one in state.claude
    )
    (batch,) = (one for one in claude if one.id == batch_id)
    after = replace(state, claude=claude)
    if said == "deaf":
        return after, [0, {}, b""]
    return after, [200, {}, msgspec.json.encode(batch.about(state.now))]
