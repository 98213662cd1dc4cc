"""The error of local commands. Each message is one sentence that says what to do."""


class LocalError(Exception):
    """The local cloud cannot run the command; the message is for the user."""
