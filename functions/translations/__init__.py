"""Translations: turn rows of other batch APIs into requests of the Message Batches API.

To add an API, add a module that implements `contract.Translation` and a line to `TRANSLATIONS`.
"""

from functions.translations import bedrock, openai, vertex
from functions.translations.contract import Translation

TRANSLATIONS: dict[str, Translation] = {
    "openai": openai,
    "bedrock": bedrock,
    "vertex": vertex,
}
"""The other batch APIs, by name. The first one that matches a row translates it."""
