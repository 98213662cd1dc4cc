"""Cancel batches at Anthropic: those of canceled jobs, and duplicates."""

from collections.abc import Mapping

from aws_lambda_powertools import Logger

from functions.adapters.anthropic_api import Claude
from functions.errors import RelayError
from functions.model.create_response import MAX_BATCH_AGE, MessageBatch
from functions.model.items.batch import BatchStatus
from functions.model.records import Owner
from functions.model.unfinished import Unfinished
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

logger = Logger(child=True)


def cancel_batches(
    services: Services[PollSettings],
    unfinished: Unfinished,
    listed: Mapping[str, MessageBatch],
    phases: Phases,
) -> None:
    """Cancel the listed batches of canceled jobs and all duplicates; duplicates first, as they cost twice.

    The table does not record whether a cancel arrived. Each poll repeats it until the listing shows it.
    """
    phases.each(
        "cancel duplicate",
        unfinished.duplicates,
        place,
        lambda duplicate: _end_duplicate(services, duplicate, listed),
    )
    running = [
        batch
        for batch in unfinished.of(BatchStatus.IN_PROGRESS)
        if batch.job in unfinished.canceled
        and (message_batch := listed.get(batch.batch_id or "")) is not None
        and message_batch.running
    ]
    phases.each(
        "cancel",
        running,
        place,
        lambda batch: _try_cancel(services.claude, batch.batch_id or ""),
    )


def _end_duplicate(
    services: Services[PollSettings], duplicate: Owner, listed: Mapping[str, MessageBatch]
) -> None:
    """Cancel a duplicate. Resolve it once it is canceling, has ended, or must have ended by now."""
    message_batch = listed.get(duplicate.job)
    if (
        (message_batch is not None and not message_batch.running)
        or _try_cancel(services.claude, duplicate.job)
        or services.now() - duplicate.flagged_at > MAX_BATCH_AGE
    ):
        services.ownership.resolve_duplicate(duplicate)


def _try_cancel(claude: Claude, batch_id: str) -> bool:
    """Request a cancel. Return False unless the answer confirms it."""
    try:
        return claude.cancel(batch_id)
    except RelayError as error:
        facts = {"batch_id": batch_id, "problem": type(error).__name__}
        logger.warning("cancel not confirmed", extra=facts)
        return False
