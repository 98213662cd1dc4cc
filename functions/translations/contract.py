"""The contract of a translation: what planning requires of a module that understands rows of another API."""

import re
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from functions.model.capabilities import Capabilities, capabilities_of, list_of, takes_sampling

DEFAULT_MAX_TOKENS = 16_384
"""`max_tokens` of a translated row that names none. Unused tokens cost nothing."""
THINKING_HEADROOM = 4_096
"""Tokens added to `max_tokens` where a model's thinking, which counts toward it, cannot be turned off."""
_PLAIN_NAME = re.compile(r"[\w.:/@-]{1,100}", re.ASCII)
"""Names of models that sentences and examples may quote."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows of one upload are translated.

    Attributes:
        models: the other API's model → Claude model; ``*`` matches every other name.
        api_version: the job's `anthropic-version`, which decides which parameters the API takes.
        reject_unsupported: True to reject a row that has a field without counterpart; False to drop the
            field and count it.
        default_max_tokens: `max_tokens` of a row that names none.
        thinking_headroom: tokens added to `max_tokens` where thinking cannot be turned off.
        capability_list: the version of the list that says what each model accepts; None for the newest.
    """

    models: Mapping[str, str] = {}
    api_version: str = "2026-10-21"
    reject_unsupported: bool = False
    default_max_tokens: int = DEFAULT_MAX_TOKENS
    thinking_headroom: int = THINKING_HEADROOM
    capability_list: str | None = None

    def capabilities_of(self, model: str) -> Capabilities | None:
        """Return what a model accepts; None for an unknown model."""
        return capabilities_of(model, self.capability_list)

    @property
    def unknown_model(self) -> Capabilities:
        """Return what to assume of an unknown model."""
        return list_of(self.capability_list).unknown

    def takes_sampling(self, model: str) -> bool:
        """Return whether a model accepts sampling parameters."""
        capabilities = self.capabilities_of(model) or self.unknown_model
        return takes_sampling(capabilities, self.api_version, self.capability_list)


class Translated(msgspec.Struct, frozen=True, kw_only=True):
    """A row as a request of the Message Batches API.

    Attributes:
        custom_id: the row's own id, a string or a number; None if it has none.
        params: the params of the request.
        betas: the values of `anthropic-beta` that the request needs. Rows with different ones are sent in
            different batches.
        changes: what was dropped or changed, by field: ``temperature``, ``tool_choice.required``. Names come
            from a fixed list or are top-level members of the row, never its content.
    """

    custom_id: str | int | float | None
    params: dict[str, Any]
    betas: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


class NotTranslatableError(Exception):
    """A row has no counterpart at Anthropic.

    Args:
        code: the rejection code, for programs: ``endpoint_unsupported``.
        sentence: what is wrong and what to do, for people. It never quotes prompts.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class ModelUnmappedError(NotTranslatableError):
    """No Claude model is known for a row. The option `models` can name it.

    Attributes:
        model: the model that the row names, if it looks like the name of a model; None otherwise.
    """

    def __init__(self, model: str | None) -> None:
        """Build the sentence. It quotes the name only if it looks like one."""
        self.model = model if model is not None and _PLAIN_NAME.fullmatch(model) else None
        named = "this row" if self.model is None else f'the model "{self.model}"'
        sentence = (
            f'no Claude model is known for {named}; add it to the option "models", such as '
            'models = { "*" = "claude-sonnet-5-5" } in _relay.toml (or its name in place of "*")'
        )
        super().__init__(code="model_unmapped", sentence=sentence)


class Translation(Protocol):
    """Understands the rows of one other batch API."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row looks like one of this API, by the names of its members."""

    def translate(self, row: Mapping[str, Any], policy: Policy) -> Translated:
        """Translate a row.

        Args:
            row: the row, parsed.
            policy: how to translate.

        Raises:
            NotTranslatableError: the row has no counterpart.
        """
