"""What decides whose batches are sent first: the priority of a job and the share of its folder."""

import msgspec

NORMAL = "normal"
"""The priority of jobs whose options name none."""


class Share(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much the uploads below one top-level folder may have in flight at Anthropic; None for no limit.

    Attributes:
        folder: the top-level folder of their keys.
        open_batches: Message Batches.
        requests: requests in them.
    """

    folder: str
    open_batches: int | None = None
    requests: int | None = None
