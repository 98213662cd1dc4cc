"""What a job is expected to use and cost, from what its requests allow and what earlier ones used."""

import math
from collections.abc import Mapping

import msgspec

from functions.model.demand import Demand, Demands

BYTES_PER_TOKEN = 3.0
"""Length of params per input token, for requests whose tokens were not counted. English text has about four bytes per
token, other text and JSON fewer, so the result is rather too high."""
_MILLI = 1_000


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """Requests of one model whose input tokens were counted.

    Attributes:
        requests: their number.
        params_bytes: the length of their params.
        input_tokens: their input tokens.
        media_requests: how many of them have images or documents that are not text; their bytes say nothing about tokens.
    """

    requests: int = 0
    params_bytes: int = 0
    input_tokens: int = 0
    media_requests: int = 0


class PastUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What earlier requests of a folder to one model used.

    Attributes:
        answers: how many were answered.
        output_tokens: the output tokens of all these answers.
        least_millitokens: the smallest mean of one job, in thousandths of a token per answer.
    """

    answers: int
    output_tokens: int
    least_millitokens: int


class ExpectedTokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens that the requests of one model are expected to use.

    Attributes:
        requests: their number.
        input: their input tokens.
        output_low: their output tokens if they take as few as those of any earlier job; None if there was none.
        output_expected: their output tokens if they take as many as earlier ones on average.
        output_worst: the sum of their `max_tokens`.
        extra_input: what their surcharges may cost, in input tokens at the plain price.
        extra_output: likewise, in output tokens.
        searches: the web searches that they may make.
        unbounded: how many of them may cost more than anyone knows.
        input_worst: their input tokens at most; the same as `input` if tokens of such requests were counted.
    """

    requests: int
    input: int
    output_low: int | None
    output_expected: int | None
    output_worst: int
    extra_input: int = 0
    extra_output: int = 0
    searches: int = 0
    unbounded: int = 0
    input_worst: int = 0


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is expected to use.

    Attributes:
        counted_rows: rows whose input tokens the API counted; 0 if the length of the params alone is the basis.
        models: what the requests of each model are expected to use.
        second_requests: what they use in addition in the worst case, because each is sent once more with a larger `max_tokens`.
    """

    counted_rows: int
    models: dict[str, ExpectedTokens]
    second_requests: dict[str, ExpectedTokens] = {}


def estimate(
    demands: Demands,
    samples: Mapping[str, Sample],
    past_usage: Mapping[str, PastUsage],
    second_demands: Demands | None = None,
) -> Estimate:
    """Estimate what requests will use.

    Args:
        demands: what they may use, by model.
        samples: what was counted, by model. Models without a sample are scaled like all others together.
        past_usage: what earlier requests used, by model.
        second_demands: what those may use that may be sent once more with a larger `max_tokens`.
    """
    everything = _total(samples)

    def expected(model: str, demand: Demand, past: PastUsage | None) -> ExpectedTokens:
        own = samples.get(model)
        return _expected(demand, own or everything, past, is_counted=_is_counted(demand, own))

    return Estimate(
        counted_rows=everything.requests,
        models={
            model: expected(model, demand, past_usage.get(model))
            for model, demand in demands.items()
        },
        second_requests={
            model: expected(model, demand, None)
            for model, demand in (second_demands or {}).items()
        },
    )


def _total(samples: Mapping[str, Sample]) -> Sample:
    counts = [msgspec.structs.astuple(sample) for sample in samples.values()]
    return Sample(*map(sum, zip(*counts, strict=True))) if counts else Sample()


def _is_counted(demand: Demand, sample: Sample | None) -> bool:
    """Return whether requests like these were counted, so that their length says how many tokens they have."""
    return sample is not None and not (demand.media_requests or sample.media_requests)


def _expected(
    demand: Demand, sample: Sample, past: PastUsage | None, *, is_counted: bool
) -> ExpectedTokens:
    if sample.params_bytes:
        tokens_per_byte = sample.input_tokens / sample.params_bytes
    else:
        tokens_per_byte = 1 / BYTES_PER_TOKEN
    scaled = round(demand.params_bytes * tokens_per_byte)
    worst = scaled if is_counted else demand.params_bytes + demand.tokens_beyond_bytes
    low = expected = None
    if past is not None:
        low = min(round(demand.requests * past.least_millitokens / _MILLI), demand.max_tokens)
        mean = past.output_tokens / past.answers
        expected = min(round(demand.requests * mean), demand.max_tokens)
    return ExpectedTokens(
        requests=demand.requests,
        input=scaled if demand.unbounded else min(scaled, worst),
        output_low=low,
        output_expected=expected,
        output_worst=demand.max_tokens,
        extra_input=math.ceil(demand.extra_bytes * (tokens_per_byte if is_counted else 1.0)),
        extra_output=demand.extra_tokens,
        searches=demand.searches,
        unbounded=demand.unbounded,
        input_worst=worst,
    )


def learn(past: PastUsage | None, answers: int, output_tokens: int) -> PastUsage:
    """Return the usage after one more job."""
    mean = output_tokens * _MILLI // answers
    if past is None:
        return PastUsage(answers=answers, output_tokens=output_tokens, least_millitokens=mean)
    return PastUsage(
        answers=past.answers + answers,
        output_tokens=past.output_tokens + output_tokens,
        least_millitokens=min(past.least_millitokens, mean),
    )
