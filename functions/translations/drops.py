"""Fields of a row that have no counterpart at Anthropic."""

from functions.translations.contract import NotTranslatableError, Policy


class Drops:
    """Fields of one row that have no counterpart: dropped and counted, or a reason to reject the row.

    Attributes:
        names: the fields dropped, each once, in order.
    """

    def __init__(self, policy: Policy) -> None:
        self._reject = policy.reject_unsupported
        self.names: tuple[str, ...] = ()

    def add(self, name: str) -> None:
        """Record a field as dropped.

        Raises:
            NotTranslatableError: the policy rejects rows that have such a field.
        """
        if self._reject:
            sentence = (
                f'"{name}" has no counterpart at Anthropic; remove it, or set '
                'on_unsupported = "drop" in _relay.toml'
            )
            raise NotTranslatableError(code="unsupported_field", sentence=sentence)
        if name not in self.names:
            self.names += (name,)
