"""The message that asks a stage to look at an item."""

import msgspec


class WorkMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A queue message: look at this item, which may wait for this step."""

    schema: int
    job: str
    item: str
    next_step: str
