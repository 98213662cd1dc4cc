"""Record what a translation drops and changes, for the counts in the manifest."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from functions.translations.contract import NotTranslatableError

_UNKNOWN = "unknown"
"""Counts all members of unknown name: their names could be anything, so they are not counted one by one."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST_NAMES = 10


class Changes:
    """The fields that one row loses, and those that are changed for it."""

    def __init__(self) -> None:
        self._noted: set[str] = set()
        self._dropped: set[str] = set()
        self._unknown: set[str] = set()

    def note(self, change: str) -> None:
        """Record a change that loses nothing."""
        self._noted.add(change)

    def drop(self, field: str) -> None:
        """Record a field, or one of its values, that has no counterpart."""
        self._dropped.add(field)

    def drop_members(
        self,
        body: Mapping[str, Any],
        read: Collection[str],
        dropped: Mapping[str, tuple[object, ...]],
    ) -> None:
        """Record the members of a body that nothing reads.

        Args:
            body: the body of the row.
            read: the names of the members that are read.
            dropped: member without counterpart → its values that request nothing, as null does. They are not recorded.
        """
        for name in body.keys() - read:
            if body[name] is not None and body[name] not in dropped.get(name, ()):
                (self._dropped if name in dropped else self._unknown).add(name)

    def names(self) -> tuple[str, ...]:
        """Return all changes, sorted."""
        unknown = {_UNKNOWN} if self._unknown else set[str]()
        return tuple(sorted(self._noted | self._dropped | unknown))

    def reject_drops(self) -> None:
        """Reject the row if it lost anything."""
        lost = sorted(self._dropped) + sorted(filter(_PLAIN_NAME.fullmatch, self._unknown))
        if not lost and not self._unknown:
            return
        fields = ", ".join(f'"{name}"' for name in lost[:_MOST_NAMES]) or "unknown members"
        more = f" and {len(lost) - _MOST_NAMES} more" if len(lost) > _MOST_NAMES else ""
        sentence = (
            f"Anthropic has no counterpart for {fields}{more}; remove what is named, or write "
            'on_unsupported = "drop" in _relay.toml'
        )
        raise NotTranslatableError(code="unsupported_field", sentence=sentence)
