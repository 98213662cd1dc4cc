"""What can go wrong on this machine. Each message is one sentence that says what to do."""


class LocalError(Exception):
    """The local cloud cannot do what was asked; the message is for a person."""
