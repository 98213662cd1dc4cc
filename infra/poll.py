"""Poll: every minute, note which batches have ended, and wake whatever can go on."""

from pathlib import Path

from aws_cdk import Duration
from constructs import Construct

from functions.model.items import UNFINISHED
from functions.settings import PollSettings
from infra.grants import allow, of_every_stage
from infra.schedule import Schedule, wake_on_schedule
from infra.settings import StackSettings
from infra.stage import Stage, shared
from infra.storage import Storage, dead_letters

# A tick that fails is not retried, the next one does its work. One that is throttled waits: in an
# account with few invocations to spare, the next would be throttled as well.
MAX_AGE = Duration.minutes(5)


class Poll(Stage):
    """Woken by a schedule, and by a stage that has made something ready; needs nothing from its event."""

    def __init__(
        self, scope: Construct, *, settings: StackSettings, storage: Storage, bundle: Path
    ) -> None:
        # A failed tick holds nothing of value: it stays long enough for the alarm to be seen.
        self.failed_polls = dead_letters(storage, "PollMissed", retention=Duration.hours(1))
        super().__init__(
            scope,
            "Poll",
            settings=settings,
            function_settings=PollSettings(
                **shared(storage, settings),
                submit_queue_url=storage.submit_queue.queue_url,
                results_queue_url=storage.results_queue.queue_url,
                open_batches=settings.open_batches,
                queued_requests=settings.queued_requests,
                absent_listings=settings.absent_listings,
                absent_s=settings.absent_seconds,
                skew_s=settings.skew_seconds,
            ),
            bundle=bundle,
            timeout=Duration.minutes(2),
            memory_mb=512,
            grants=[
                *of_every_stage(storage),
                allow(["dynamodb:Query"], f"{storage.table.table_arn}/index/{UNFINISHED}"),
                allow(["s3:PutObject"], storage.results.arn_for_objects("results/*/status.json")),
                allow(
                    ["sqs:SendMessage"],
                    storage.submit_queue.queue_arn,
                    storage.results_queue.queue_arn,
                    self.failed_polls.queue_arn,
                ),
            ],
        )
        self._acknowledge_wildcards(storage.results, "results/*/status.json")
        wake_on_schedule(
            self, _every(settings.poll_minutes), function=self.function, failures=self.failed_polls
        )


def _every(minutes: int) -> Schedule:
    return Schedule(
        description="Wakes claude-batch-relay's poll",
        rate=f"{minutes} {'minute' if minutes == 1 else 'minutes'}",
        payload="{}",
        max_age=MAX_AGE,
        retries=0,
    )
