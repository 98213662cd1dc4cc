"""What requests may use before they are answered: their number, their bytes and the tokens that they allow."""

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated

import msgspec

from functions.errors import UNREADABLE_JSON

MAX_MODELS = 20
"""Models whose demand an item keeps. Requests of all others count as those of `OTHER_MODELS`."""
MAX_NAME_CHARS = 100
"""A longer name is none of a model. It would not fit into an item."""
OTHER_MODELS = "other"
"""A name that no price list has, so the cost of these requests is unknown."""
_MAX_TOKENS = 10**18
"""The largest sum that is kept. No plausible upload reaches it, and DynamoDB stores 38 digits."""


class Demand(msgspec.Struct, frozen=True, array_like=True):
    """What the requests of one model may use.

    Attributes:
        requests: their number.
        params_bytes: the length of their params.
        max_tokens: the sum of their `max_tokens`.
    """

    requests: int = 0
    params_bytes: int = 0
    max_tokens: int = 0


class _Limits(msgspec.Struct, gc=False):
    model: str
    max_tokens: Annotated[int, msgspec.Meta(ge=0)]


_limits = msgspec.json.Decoder(_Limits)
Demands = Mapping[str, Demand]
"""Model → what its requests may use."""
Request = tuple[str, int, int]
"""A request's model, the length of its params in bytes, and its `max_tokens`."""


def name_of(model: str, known: Collection[str]) -> str:
    """Return the name under which a model counts beside known ones."""
    fits = 0 < len(model) <= MAX_NAME_CHARS and len(known) < MAX_MODELS
    return model if model in known or fits else OTHER_MODELS


def add(demands: Iterable[Demands]) -> dict[str, Demand]:
    """Return the sum of several demands."""
    total: dict[str, Demand] = {}
    for demand in demands:
        for model, more in demand.items():
            name = name_of(model, total)
            known = total.get(name, Demand())
            total[name] = Demand(
                known.requests + more.requests,
                known.params_bytes + more.params_bytes,
                min(known.max_tokens + more.max_tokens, _MAX_TOKENS),
            )
    return total


def of_requests(requests: Iterable[Request]) -> dict[str, Demand]:
    """Return the demand of requests."""
    counts: dict[str, list[int]] = {}
    for model, params_bytes, max_tokens in requests:
        count = counts.setdefault(model, [0, 0, 0])
        count[0] += 1
        count[1] += params_bytes
        count[2] += max_tokens
    return add([{model: Demand(*count)} for model, count in counts.items()])


def read_request(params: bytes) -> Request:
    """Read what counts of a request from its params. One that the API will refuse counts for `OTHER_MODELS`."""
    try:
        limits = _limits.decode(params)
    except UNREADABLE_JSON:
        limits = _Limits(OTHER_MODELS, 0)
    return limits.model, len(params), limits.max_tokens
