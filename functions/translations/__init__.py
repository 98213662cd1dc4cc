"""Translations: turn rows of other batch APIs into requests of the Message Batches API."""
