"""Prove that the current key lists the workspace of an earlier key: absence then counts for the earlier key, too."""

from collections.abc import Mapping

from functions.model.create_response import MessageBatch
from functions.model.items.batch import BatchStatus
from functions.model.unfinished import Unfinished
from functions.polling.phases import Phases
from functions.services import Services
from functions.settings import PollSettings

MAX_OWNERS_READ = 20
"""Owners of listed Message Batches that one poll reads to find one that an earlier key created."""


def keys_of_workspace(
    services: Services[PollSettings],
    unfinished: Unfinished,
    listed: Mapping[str, MessageBatch],
    phases: Phases,
) -> set[str]:
    """Return the fingerprints of the keys that belong to the workspace that was listed.

    A listing contains one workspace. So if it shows a Message Batch that we created with an earlier key, that key
    belongs to the same workspace. Finished batches are found by their owner records, the oldest first.

    Args:
        services: the services of poll.
        unfinished: the unfinished items.
        listed: the Message Batches at Anthropic, by id.
        phases: the phases of this poll.
    """
    open_batches = {
        batch.batch_id: batch for batch in unfinished.batches if batch.batch_id in listed
    }
    keys = {services.claude.fingerprint}
    keys |= {batch.fingerprint for batch in open_batches.values() if batch.fingerprint}
    absent = [
        *unfinished.of(BatchStatus.UNCONFIRMED, BatchStatus.IN_PROGRESS),
        *unfinished.not_found,
    ]
    if {batch.fingerprint for batch in absent if batch.batch_id not in listed} <= keys:
        return keys
    others = [
        (message_batch.created_at, batch_id)
        for batch_id, message_batch in listed.items()
        if batch_id not in open_batches
    ]

    def read_key(age_and_id: tuple[str, str]) -> None:
        _, batch_id = age_and_id
        job, _, item = (services.ownership.owner_of(batch_id) or "").partition("/")
        batch = services.items.batch(job, item) if item else None
        if batch is not None and batch.batch_id == batch_id and batch.fingerprint is not None:
            keys.add(batch.fingerprint)

    phases.each("keys", sorted(others)[:MAX_OWNERS_READ], " ".join, read_key)
    return keys
