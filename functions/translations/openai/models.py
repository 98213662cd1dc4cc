"""Map the models of other APIs to Claude models."""

import re

from functions.translations.contract import NotTranslatableError, Policy
from functions.translations.openai.fields import text

_CLAUDE = "claude-"
_ANTHROPIC = "anthropic/"
_ANY_OTHER = "*"
_PLAIN_NAME = re.compile(r"[\w.:/@-]{1,100}", re.ASCII)


def claude_model(model: object, policy: Policy) -> str:
    """Return the Claude model for the model of a row. Claude's own names stay.

    Raises:
        NotTranslatableError: the policy maps no such model.
    """
    wanted = "" if model is None else text(model, "model")
    if wanted in policy.models:
        return policy.models[wanted]
    bare = wanted.removeprefix(_ANTHROPIC)
    if bare.startswith(_CLAUDE):
        return bare
    if _ANY_OTHER in policy.models:
        return policy.models[_ANY_OTHER]
    named = f'"{wanted}"' if _PLAIN_NAME.fullmatch(wanted) else "of this row"
    sentence = f'the option "models" has no Claude model for the model {named}; add it, or "*" for every other model'
    raise NotTranslatableError(code="model_unmapped", sentence=sentence)
