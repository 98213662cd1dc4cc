"""What requests may use before they are answered: their number, their bytes and the tokens that they allow."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, NamedTuple

import msgspec

from functions.errors import UNREADABLE_JSON

MAX_MODELS = 20
"""Models whose demand an item keeps. Requests of all others count as those of `OTHER_MODELS`."""
MAX_NAME_CHARS = 100
"""A longer name is none of a model. It would not fit into an item."""
OTHER_MODELS = "other"
"""A name that no price list has, so the cost of these requests is unknown."""
_MAX_COUNT = 10**18
"""The largest sum that is kept. No plausible upload reaches it, and DynamoDB stores 38 digits."""


class Demand(msgspec.Struct, frozen=True, array_like=True):
    """What the requests of one model may use.

    Attributes:
        requests: their number.
        params_bytes: the length of their params.
        max_tokens: the sum of their `max_tokens`.
        extra_bytes: what their surcharges may cost, in bytes of params at the plain input price.
        extra_tokens: likewise, in output tokens at the plain price.
        searches: the web searches that they may make.
        unbounded: how many of them may cost more than anyone knows.
        tokens_beyond_bytes: their input tokens at most, minus `params_bytes`; negative if media have fewer tokens than bytes.
        media_requests: how many of them have images or documents that are not text.
    """

    requests: int = 0
    params_bytes: int = 0
    max_tokens: int = 0
    extra_bytes: int = 0
    extra_tokens: int = 0
    searches: int = 0
    unbounded: int = 0
    tokens_beyond_bytes: int = 0
    media_requests: int = 0


class Surcharge(NamedTuple):
    """What one request may cost beyond the plain price of its tokens.

    Attributes:
        input: the highest price of its input, as a share of the plain one.
        output: likewise of its output.
        searches: how many web searches it may make.
        is_bounded: False if it may cost more than anyone knows.
        tokens_beyond_bytes: its input tokens at most, minus its bytes; negative if its media have fewer tokens than bytes.
        has_media: whether it has images or documents that are not text.
    """

    input: float = 1.0
    output: float = 1.0
    searches: int = 0
    is_bounded: bool = True
    tokens_beyond_bytes: int = 0
    has_media: bool = False


NO_SURCHARGE = Surcharge()
"""No surcharge."""


class _ParamsLimits(msgspec.Struct, gc=False):
    model: str
    max_tokens: Annotated[int, msgspec.Meta(ge=0)]


_limits = msgspec.json.Decoder(_ParamsLimits)
Demands = Mapping[str, Demand]
"""Model → what its requests may use."""
RequestDemand = tuple[str, int, int, Surcharge]
"""A request's model, the length of its params in bytes, its `max_tokens`, and its surcharge."""


def name_of(model: str, known: Collection[str]) -> str:
    """Return the name under which a model counts among known ones."""
    fits = 0 < len(model) <= MAX_NAME_CHARS and len(known) < MAX_MODELS
    return model if model in known or fits else OTHER_MODELS


def add(demands: Iterable[Demands]) -> dict[str, Demand]:
    """Return the sum of several demands."""
    total: dict[str, Demand] = {}
    for demand in demands:
        for model, more in demand.items():
            name = name_of(model, total)
            sums = zip(_counts(total.get(name, Demand())), _counts(more), strict=True)
            total[name] = Demand(*(min(known + added, _MAX_COUNT) for known, added in sums))
    return total


def _counts(demand: Demand) -> tuple[int, ...]:
    return msgspec.structs.astuple(demand)


def of_requests(requests: Iterable[RequestDemand]) -> dict[str, Demand]:
    """Return the demand of requests."""
    counts: dict[str, list[int]] = {}
    for model, params_bytes, max_tokens, surcharge in requests:
        count = counts.setdefault(model, [0] * len(Demand.__struct_fields__))
        count[0] += 1
        count[1] += params_bytes
        count[2] += max_tokens
        if surcharge is not NO_SURCHARGE:
            count[3] += _extra(params_bytes + surcharge.tokens_beyond_bytes, surcharge.input)
            count[4] += _extra(max_tokens, surcharge.output)
            count[5] += surcharge.searches
            count[6] += not surcharge.is_bounded
            count[7] += surcharge.tokens_beyond_bytes
            count[8] += surcharge.has_media
    return add([{model: Demand(*count)} for model, count in counts.items()])


def _extra(number: int, share: float) -> int:
    return math.ceil(round(number * (share - 1.0), 6))  # 1.1 - 1.0 is a little more than 0.1


def limits_of(params: bytes) -> tuple[str, int]:
    """Return the model and the `max_tokens` of a request. One that the API will refuse counts for `OTHER_MODELS`."""
    try:
        limits = _limits.decode(params)
    except UNREADABLE_JSON:
        return OTHER_MODELS, 0
    return limits.model, limits.max_tokens
