"""Map the models of other APIs to Claude models."""

from functions.translations.contract import ModelUnmappedError, Policy
from functions.translations.openai.fields import text

_CLAUDE = "claude-"
_ANTHROPIC = "anthropic/"
_ANY_OTHER = "*"


def claude_model(model: object, policy: Policy) -> str:
    """Return the Claude model for the model of a row. Claude's own names stay.

    Raises:
        ModelUnmappedError: the policy maps no such model.
    """
    wanted = "" if model is None else text(model, "model")
    if wanted in policy.models:
        return policy.models[wanted]
    bare = wanted.removeprefix(_ANTHROPIC)
    if bare.startswith(_CLAUDE):
        return bare
    if _ANY_OTHER in policy.models:
        return policy.models[_ANY_OTHER]
    raise ModelUnmappedError(wanted)
