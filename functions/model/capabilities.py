"""What each Claude model accepts. capabilities/ has one file for each version of the list.

A request that its model refuses fails only when the batch ends. Translations read this list to avoid that.
Model names belong in the list, never in code.
"""

import re
from collections.abc import Collection
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

LONG_OUTPUT_TOKENS = 300_000
"""Largest `max_tokens` of any model under `LONG_OUTPUT_BETA`."""
LONG_OUTPUT_BETA = "output-300k-"
SAMPLING = ("temperature", "top_p", "top_k")
"""The sampling parameters."""
_DATED = re.compile(r"-\d{8}$")
_LATEST = "-latest"


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What one model accepts. The defaults are the strictest of the newest models.

    Attributes:
        max_output_tokens: the largest `max_tokens`.
        thinks_by_default: True if the model thinks when a request has no `thinking`.
        thinking_off: the value of `thinking` that turns it off; None if nothing does, or if it is off anyway.
        thinking_off_efforts: the effort levels at which `thinking_off` is accepted.
        adaptive: True if `thinking` may be adaptive; False if it needs a budget of tokens.
        efforts: the values of `output_config.effort`, rising; empty if the model has no effort levels.
        default_effort: the effort level of a request that names none.
        forced_tool_choice: True if `tool_choice` may be `any` or `tool`.
        prefill: True if the last message may be the assistant's.
        sampling: True if the model accepts the parameters in `SAMPLING`, under API versions that do.
        least_cacheable_tokens: the shortest prefix of a prompt that is cached.
        lifecycle: the stage on Anthropic's page of model deprecations.
        retires: the day from which requests fail, in ISO 8601; None if none is set.
    """

    max_output_tokens: int
    thinks_by_default: bool = False
    thinking_off: dict[str, str] | None = None
    thinking_off_efforts: tuple[str, ...] = ()
    adaptive: bool = True
    efforts: tuple[str, ...] = ()
    default_effort: str = "high"
    forced_tool_choice: bool = False
    prefill: bool = False
    sampling: bool = False
    least_cacheable_tokens: int = 512
    lifecycle: Literal["active", "deprecated", "retired"] = "active"
    retires: str | None = None

    def max_tokens_with(self, betas: Collection[str]) -> int:
        """Return the largest `max_tokens` of a request with these values of `anthropic-beta`."""
        if any(beta.startswith(LONG_OUTPUT_BETA) for beta in betas):
            return max(self.max_output_tokens, LONG_OUTPUT_TOKENS)
        return self.max_output_tokens


class CapabilityList(msgspec.Struct, frozen=True):
    """The capabilities of all models on one day.

    Attributes:
        version: the name of its file.
        day: the day on which the sources were read, in ISO 8601.
        sources: where the facts are from.
        no_sampling_since: the API version from which no model accepts sampling parameters.
        unknown: what to assume of a model that is not in the list.
        models: the capabilities by model.
    """

    version: str
    day: str
    sources: tuple[str, ...]
    no_sampling_since: str
    unknown: Capabilities
    models: dict[str, Capabilities]


@cache
def _lists() -> dict[str, CapabilityList]:
    """Return each deployed list by its version, the newest last."""
    files = resources.files("functions.model").joinpath("capabilities").iterdir()
    texts = {file.name: file.read_bytes() for file in files if file.name.endswith(".json")}
    lists = (msgspec.json.decode(texts[name], type=CapabilityList) for name in sorted(texts))
    return {one.version: one for one in lists}


def newest_list() -> CapabilityList:
    """Return the newest deployed list."""
    return [*_lists().values()][-1]


def list_of(version: str | None) -> CapabilityList:
    """Return the list of this version; the newest if there is no version, or if it is not deployed any more."""
    return _lists().get(version or "") or newest_list()


def capabilities_of(model: str, version: str | None = None) -> Capabilities | None:
    """Return what a model accepts, including under dated names and ``-latest``; None for an unknown model.

    Args:
        model: the model's name.
        version: the version of the list; see `list_of`.
    """
    return list_of(version).models.get(_DATED.sub("", model).removesuffix(_LATEST))


def sampling_exists(api_version: str, version: str | None) -> bool:
    """Return whether any model accepts sampling parameters under an API version."""
    return api_version < list_of(version).no_sampling_since


def takes_sampling(
    capabilities: Capabilities, api_version: str, version: str | None = None
) -> bool:
    """Return whether a model accepts sampling parameters under an API version."""
    return capabilities.sampling and sampling_exists(api_version, version)
